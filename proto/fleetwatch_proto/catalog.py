"""The catalogue: every measurement the agents send, with its tags, fields, units and which direction is bad.

Names follow Telegraf's input plug-ins wherever one exists. Validation, the API, chart units, rule checks and the
documentation are driven by this list; a test holds it against what the readers really emit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a field behaves: a gauge says what is, a counter only rises until its source restarts, text is a name."""

    GAUGE = "gauge"
    COUNTER = "counter"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a measurement.

    `unit` is one of: percent, bytes, seconds, milliseconds, microseconds, count, rpm, celsius, watts, mbit, "" (a plain
    number). `bad` is "high", "low" or "" and says which direction worries an operator. `levels` are the warning and
    critical values used for colour where no rule applies.
    """

    name: str
    unit: str
    kind: Kind
    description: str
    bad: str = ""
    levels: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: `tags` identify a series within a host; `identity` are the tags rules group by at default."""

    name: str
    description: str
    tags: tuple[str, ...]
    fields: tuple[Field, ...]
    identity: tuple[str, ...] = ()

    def field(self, name: str) -> Field | None:
        """The field of that name, or None."""
        return next((one for one in self.fields if one.name == name), None)


def _field(line: str) -> Field:
    """Reads `name unit kind [bad] [warning critical] | description`."""
    head, _, description = line.partition("|")
    name, unit, kind, *rest = head.split()
    levels = (float(rest[1]), float(rest[2])) if len(rest) == 3 else None
    return Field(
        name=name,
        unit="" if unit == "-" else unit,
        kind=Kind(kind),
        description=description.strip(),
        bad=rest[0] if rest else "",
        levels=levels,
    )


def _measurement(name: str, description: str, tags: str, fields: str, identity: str | None = None) -> Measurement:
    lines = [line for line in fields.splitlines() if line.strip()]
    by = tags if identity is None else identity
    return Measurement(name, description, tuple(tags.split()), tuple(map(_field, lines)), tuple(by.split()))


# fmt: off
MEASUREMENTS: tuple[Measurement, ...] = (
    _measurement("cpu", "Share of time per processor state since the last sample", "cpu", """
        usage_user       percent gauge            | running programs, guests left out
        usage_system     percent gauge            | in the kernel
        usage_idle       percent gauge low        | doing nothing
        usage_active     percent gauge high 85 95 | everything but idle, as Telegraf counts it (iowait included)
        usage_nice       percent gauge            | running programs of low priority
        usage_iowait     percent gauge high 20 40 | idle while waiting for a disk
        usage_irq        percent gauge            | hardware interrupts
        usage_softirq    percent gauge            | software interrupts
        usage_steal      percent gauge high 5 10  | taken by the hypervisor for other machines
        usage_guest      percent gauge            | running virtual machines
        usage_guest_nice percent gauge            | running virtual machines of low priority
    """),
    _measurement("mem", "Memory", "", """
        total             bytes   gauge            | installed and usable
        available         bytes   gauge low        | can be given to programs without swapping
        used              bytes   gauge high       | total less free, buffers, cache
        free              bytes   gauge            | not used for anything
        cached            bytes   gauge            | page cache and reclaimable slab
        buffered          bytes   gauge            | block device buffers
        active            bytes   gauge            | used lately
        inactive          bytes   gauge            | not used lately, first to be reclaimed
        shared            bytes   gauge            | tmpfs and shared memory
        slab              bytes   gauge            | kernel data structures
        dirty             bytes   gauge            | waiting to be written to disk
        write_back        bytes   gauge            | being written to disk
        used_percent      percent gauge high 80 90 | used of total
        available_percent percent gauge low 20 10  | available of total
    """),
    _measurement("swap", "Swap space", "", """
        total        bytes   gauge              | configured
        used         bytes   gauge high         | in use
        free         bytes   gauge              | not in use
        used_percent percent gauge high 10 25   | used of total
        in           bytes   counter high       | read back from swap since boot
        out          bytes   counter high       | written to swap since boot
    """),
    _measurement("system", "Load and uptime", "", """
        load1          -       gauge high       | runnable and blocked tasks, 1 minute average
        load5          -       gauge high       | the same, 5 minutes
        load15         -       gauge high       | the same, 15 minutes
        load1_per_core -       gauge high 1 2   | load1 divided by the processors
        n_cpus         count   gauge            | processors
        n_users        count   gauge            | logged-in users
        uptime         seconds gauge            | since boot
    """),
    _measurement("disk", "Space of a mounted file system", "path device fstype mode", """
        total               bytes   gauge            | size
        used                bytes   gauge high       | in use
        free                bytes   gauge low        | available to ordinary users
        used_percent        percent gauge high 80 90 | used of what ordinary users can use, as df prints it
        inodes_total        count   gauge            | inodes
        inodes_used         count   gauge            | inodes in use
        inodes_free         count   gauge            | inodes left
        inodes_used_percent percent gauge high 85 95 | inodes used of all
    """, identity="path"),
    _measurement("diskio", "Traffic of a block device", "name", """
        reads            count        counter          | completed reads
        writes           count        counter          | completed writes
        read_bytes       bytes        counter          | read
        write_bytes      bytes        counter          | written
        read_time        milliseconds counter          | waited for by reads
        write_time       milliseconds counter          | waited for by writes
        io_time          milliseconds counter          | the device was busy
        weighted_io_time milliseconds counter          | busy time times requests in progress
        iops_in_progress count        gauge            | requests in progress
        io_util          percent      gauge high 90 98 | busy share of the time since the last sample
        io_await         milliseconds gauge high       | average wait of a request since the last sample
    """),
    _measurement("net", "Traffic of a network interface", "interface", """
        bytes_sent   bytes   counter      | sent
        bytes_recv   bytes   counter      | received
        packets_sent count   counter      | sent
        packets_recv count   counter      | received
        err_in       count   counter high | receive errors
        err_out      count   counter high | send errors
        drop_in      count   counter high | dropped when received
        drop_out     count   counter high | dropped when sent
        speed        mbit    gauge        | link speed in Mbit/s; -1 when the driver does not tell
    """),
    _measurement("netstat", "Sockets", "", """
        tcp_established count gauge      | connections established
        tcp_listen      count gauge      | listening
        tcp_syn_sent    count gauge      | connecting
        tcp_syn_recv    count gauge      | being connected to
        tcp_fin_wait1   count gauge      | closing, our FIN not acknowledged
        tcp_fin_wait2   count gauge      | closing, waiting for the peer's FIN
        tcp_time_wait   count gauge      | closed, waiting for late packets
        tcp_close       count gauge      | closed
        tcp_close_wait  count gauge high | closed by the peer, not yet by the program
        tcp_last_ack    count gauge      | closing, our last FIN not acknowledged
        tcp_closing     count gauge      | both sides closing
        tcp_inuse       count gauge      | TCP sockets in use
        tcp_orphan      count gauge high | no program holds them any more
        tcp_alloc       count gauge      | TCP sockets allocated
        tcp_mem         bytes gauge      | memory of TCP buffers
        udp_socket      count gauge      | UDP sockets in use
        tcp_retrans     count counter high | segments sent again
        tcp_active_opens  count counter  | connections made
        tcp_passive_opens count counter  | connections taken
    """),
    _measurement("processes", "Processes by state", "", """
        total         count gauge      | all
        running       count gauge      | running or ready to
        sleeping      count gauge      | waiting for something
        blocked       count gauge high | waiting for a disk, cannot be interrupted
        stopped       count gauge      | stopped by a signal or a debugger
        zombies       count gauge high | ended, not yet collected by their parent
        idle          count gauge      | idle kernel threads
        unknown       count gauge      | in a state this list does not name
        total_threads count gauge      | threads of all
    """),
    _measurement("kernel", "Kernel counters", "", """
        boot_time        seconds gauge      | unix time of the boot
        context_switches count counter      | since boot
        interrupts       count counter      | since boot
        processes_forked count counter      | since boot
        oom_kill         count counter high | processes killed for lack of memory since boot
    """),
    _measurement("pressure", "Pressure stall: share of time work waited for a resource", "resource type", """
        avg10  percent      gauge high 20 40 | over 10 seconds
        avg60  percent      gauge high       | over 1 minute
        avg300 percent      gauge high       | over 5 minutes
        total  microseconds counter          | since boot
    """),
    _measurement("linux_sysctl_fs", "Kernel file handles", "", """
        file_nr  count gauge high | open
        file_max count gauge      | most that may be open
    """),
    _measurement("temp", "Temperature", "sensor", """
        temp celsius gauge high 80 90 | measured
    """),
    _measurement("fan", "Fan", "sensor", """
        speed rpm gauge low | turning
    """),
    _measurement("battery", "Battery", "name", """
        percent percent gauge low 20 10 | charge
    """),
    _measurement("gpu", "Graphics processor", "name", """
        utilisation  percent gauge high | busy
        memory_used  bytes   gauge high | in use
        memory_total bytes   gauge      | installed
        temperature  celsius gauge high | measured
        power        watts   gauge      | drawn
    """),
    _measurement("process_top", "Top processes by CPU, memory, read and write together", "rank", """
        pid         count   gauge | process id
        name        -       text  | program
        user        -       text  | owner
        cpu_percent percent gauge | of one core
        rss         bytes   gauge | memory held
        read_bytes  bytes   gauge | read per second
        write_bytes bytes   gauge | written per second
        threads     count   gauge | threads
        started     seconds gauge | unix time
    """),
    _measurement("systemd_units", "State of a systemd service", "name", """
        state  -       gauge high | 0 active, 1 activating or reloading, 2 inactive, 3 failed
        cpu    seconds counter    | processor time of the unit's control group
        memory bytes   gauge      | memory of the unit's control group
    """),
    _measurement("docker_container", "A container, from its control group", "name", """
        state  -       gauge high | 0 running, 1 paused, 2 exited
        cpu    seconds counter    | processor time
        memory bytes   gauge      | memory
    """),
    _measurement("fleetwatch_agent", "The agent's own health", "", """
        cpu_seconds     seconds counter      | processor time of the agent
        rss             bytes   gauge        | memory of the agent
        spool_batches   count   gauge high   | waiting to be acknowledged
        spool_bytes     bytes   gauge high   | on disk
        durable         -       gauge low    | 1: samples are kept on disk until stored; 0: in memory only
        reader_errors   count   counter high | readings that failed
        dropped_values  count   counter high | NaN and infinities left out
        lost_points     count   counter high | dropped because the spool was full or broken
        late_ticks      count   counter high | samples taken late because the host was busy
        sample_ms       milliseconds gauge   | time the last sample took
        clock_offset_ms milliseconds gauge high | host clock minus collector clock
        clock_steps     count   counter high | times the wall clock jumped
    """),
    _measurement("fleetwatch_collector", "The collector's own health", "", """
        agents            count   gauge        | connected
        batches           count   counter      | taken
        points            count   counter      | taken
        bytes             bytes   counter      | taken
        duplicates        count   counter      | batches that were already stored
        rejected_batches  count   counter high | refused for good
        quarantined_lines count   counter high | lines the store refused, set aside with the reason
        pending_bytes     bytes   gauge high   | received, not yet durable
        commit_seconds    seconds gauge high   | duration of the last commit
        retries           count   counter high | commits that had to be repeated
        live_skipped      count   counter high | live frames not sent to slow watchers
    """),
    _measurement("fleetwatch_store", "The store's own health", "", """
        points        count   counter      | written
        bytes         bytes   gauge high   | on disk
        hot_bytes     bytes   gauge        | not yet sealed, on disk
        series        count   gauge high   | known
        writable      -       gauge low    | 1: takes writes
        seal_seconds  seconds gauge        | duration of the last sealing
        disk_free     bytes   gauge low    | free on the store's disk
    """),
    _measurement("fleetwatch_alerting", "The alert manager's own health", "", """
        rules              count   gauge        | loaded
        firing             count   gauge        | alerts firing
        pending            count   gauge        | alerts pending
        evaluation_seconds seconds gauge high   | duration of the last evaluation of all rules
        missed_ticks       count   counter high | evaluations left out because the last one took too long
        rule_errors        count   counter high | evaluations that failed
        outbox             count   gauge high   | notifications waiting
        outbox_age_seconds seconds gauge high   | age of the oldest of them
        sent               count   counter      | notifications delivered
        failed_attempts    count   counter high | attempts that have to be repeated
        dead               count   gauge high   | notifications given up
    """),
)
# fmt: on

BY_NAME: dict[str, Measurement] = {one.name: one for one in MEASUREMENTS}


def lookup(metric: str) -> tuple[Measurement, Field] | None:
    """Measurement and field of `measurement.field`, or None when the catalogue does not have it."""
    name, _, field = metric.partition(".")
    measurement = BY_NAME.get(name)
    found = measurement.field(field) if measurement else None
    return (measurement, found) if measurement and found else None
