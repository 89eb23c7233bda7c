"""What the agent reads and what it sends, for people who have to trust it."""

from __future__ import annotations

from fleetwatch_agent import facts
from fleetwatch_agent.readers.context import Subsystem
from fleetwatch_agent.settings import AgentSettings

_SENDS = (
    "who: agent id (a random UUID), host name, host tags from the settings, the token when one is set",
    "facts: operating system, kernel, processor, cores, memory, virtualization, boot time and boot id, own address",
    "numbers: the values of the readers below, float64, with their time",
    "names of: processors, mount points, block devices, interfaces, sensors, services, containers",
    "the 20 top processes every 10 s: pid, name and user (unless process_names is false), cpu, memory, read, write, "
    "threads, start",
    "health: state of the spool, counts of failed readings and lost samples, clock steps",
    "goodbye: why it stops",
)
_RECEIVES = (
    "acknowledgements and refusals of batches",
    "requests for a schema",
    "the interval to sample at",
    "a request to reconnect",
)
_NEVER = (
    "runs a command or opens a shell",
    "reads command lines, environments or contents of files of programs",
    "listens on a port",
)


def text(settings: AgentSettings, table: tuple[Subsystem, ...]) -> str:
    """The explanation, with what the settings switch off marked."""
    lines = ["Reads, by reader (switch one off with readers_off):"]
    for one in table:
        off = " (switched off)" if one.name in settings.readers_off else ""
        lines += [f"  {one.name}{off}", *(f"    {path}" for path in one.reads)]
    lines += ["  agent", "    /proc/self/statm", "  at start", *(f"    {path}" for path in facts.READS)]
    lines += ["    /etc/machine-id, when the state folder cannot be written"]
    lines += ["    at the end: whether /run/nologin or /run/systemd/shutdown/scheduled exists", ""]
    lines += ["Writes:", *(f"  {settings.state}/{name}" for name in ("spool.db", "agent-id", "lock", "ballast")), ""]
    lines += ["Sockets:", f"  TCP to {', '.join(settings.collector) or 'the collector'}", "  netlink, see netstat"]
    lines += ["  name look-ups of the collector's host, by the system's resolver", ""]
    lines += ["Sends:", *(f"  {one}" for one in _SENDS), ""]
    lines += ["Takes from the collector:", *(f"  {one}" for one in _RECEIVES), ""]
    lines += ["Never:", *(f"  {one}" for one in _NEVER)]
    return "\n".join(lines)
