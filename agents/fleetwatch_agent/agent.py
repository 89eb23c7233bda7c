"""Wires the agent together, top to bottom in the order of the data."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetwatch_proto.settings import ConfigError, read_secret
from fleetwatch_proto.v1 import ingest_pb2 as pb

from fleetwatch_agent import vitals as health
from fleetwatch_agent.clocks import Clocks, host_clocks
from fleetwatch_agent.facts import boot_id, facts
from fleetwatch_agent.identity import agent_id, take_lock
from fleetwatch_agent.readers import Named, build, subsystems, table_source
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.sampler import Plan, Sampler
from fleetwatch_agent.sender import Contact, Introduction, Sender
from fleetwatch_agent.sender.session import Session
from fleetwatch_agent.settings import AgentSettings, is_loopback
from fleetwatch_agent.spool import Limits, Spool
from fleetwatch_agent.vitals import Vitals

_log = logging.getLogger(__name__)
_BACK_FROM_REBOOT_S = 600
_DESCRIPTORS = 16_384
_SHUTDOWN_SIGNS = ("run/nologin", "run/systemd/shutdown/scheduled")


def run(settings: AgentSettings) -> None:
    """Runs the agent until SIGTERM or SIGINT.

    Raises:
        ConfigError: the settings cannot be used.
        SpoolNewer: the spool was written by a later version.
    """
    token = check(settings)
    allow_descriptors()
    lock = take_lock(settings.state)
    files, clocks, vitals = Files(), host_clocks(), Vitals()
    spool = Spool(settings.state, Limits(settings.spool_bytes, settings.spool_keep_free), settings.memory_bytes)
    readers = machine_readers(settings, files, clocks)
    readers.append(Named("agent", health.make(vitals, files, spool.figures), slow=False))
    sampler = Sampler(plan(settings), readers, table_source(readers), files.next_tick, spool, clocks, vitals)
    sender = Sender(
        contact(settings, token, agent_id(settings.state, files.text("etc/machine-id"))),
        introduction(settings, files),
        spool,
        clocks,
        new_session=lambda: Session(spool, clocks, vitals, sampler.set_pace),
    )
    spool.on_change = sender.wake
    give_back_memory()
    with until_told(sampler):
        sender.start()
        _log.info("started", extra={"host": settings.host_name, "interval_s": settings.interval})
        sampler.run()
    spool.flush()
    sender.stop(*farewell(files))
    spool.close()
    _log.info("stopped")
    if lock is not None:
        os.close(lock)


def check(settings: AgentSettings) -> str:
    """The token, empty when none is set.

    Raises:
        ConfigError: there is nobody to send to, or the way there is open to others without a token.
    """
    if not settings.collector:
        raise ConfigError("no collector: give --collector HOST:PORT")
    if settings.token_file is not None:
        return read_secret(settings.token_file)
    outside = [address for address in settings.collector if not is_loopback(address)]
    if outside:
        raise ConfigError(
            f"collector {outside[0]} is not on this machine: anybody could send in this host's name. "
            "Give the collector's token with --token-file"
        )
    return ""


def machine_readers(settings: AgentSettings, files: Files, clocks: Clocks) -> list[Named]:
    """The readers of this machine; what is left out is logged with the reason."""
    table = subsystems()
    unknown = set(settings.readers_off) - {one.name for one in table}
    if unknown:
        names = ", ".join(one.name for one in table)
        raise ConfigError(f"readers_off = {sorted(unknown)[0]!r}: no such reader; there are {names}")
    readers, without = build(Context(files, settings, clocks.seconds, os.statvfs), table)
    for name, why in without.items():
        _log.debug("reader left out", extra={"reader": name, "why": why})
    return readers


def plan(settings: AgentSettings) -> Plan:
    """What the sampler is told."""
    return Plan(
        host=settings.host_name,
        interval_ms=round(settings.interval * 1000),
        gather_ms=round(settings.gather * 1000),
        slow_ms=round(settings.processes_every * 1000),
    )


def contact(settings: AgentSettings, token: str, agent: str) -> Contact:
    """Whom to call and as whom."""
    name = settings.host_name.encode("ascii", "backslashreplace").decode()
    return Contact(settings.collector, agent, name, token, settings.connect_timeout, settings.ack_timeout)


def introduction(settings: AgentSettings, files: Files) -> Introduction:
    """What a Hello says of this host."""
    tags = tuple(sorted((settings.tags or {}).items()))
    return Introduction(boot_id(files), facts(files), tags, round(settings.interval * 1000))


def farewell(files: Files) -> tuple[pb.Goodbye.Reason.ValueType, int]:
    """Whether the host goes down with the agent: systemd leaves signs of it."""
    if any(Path(files.path(sign)).exists() for sign in _SHUTDOWN_SIGNS):
        return pb.Goodbye.REBOOT, _BACK_FROM_REBOOT_S
    return pb.Goodbye.STOP, 0


@contextmanager
def until_told(sampler: Sampler) -> Iterator[None]:
    """SIGTERM and SIGINT end the sampler; the signals are as before afterwards."""
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, lambda *_: sampler.stop()) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def allow_descriptors() -> None:
    """Raises the soft limit of open files: a descriptor per process spares opening each of them every time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_back_memory() -> None:
    """Returns to the system what imports used for a moment: 4 MB, measured."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def one_sample(settings: AgentSettings) -> tuple[int, list[tuple[str, dict[str, str], dict[str, float]]], bytes]:
    """Reads this host once: unix milliseconds, a (measurement, tags, fields) for each series, the process table."""
    files, clocks = Files(), host_clocks()
    readers = machine_readers(settings, files, clocks)
    for one in readers:
        one.read()
    time.sleep(1.0)
    files.next_tick()
    time_ms = clocks.wall_ms()
    values = [reading for one in readers for reading in one.read()]
    rows = [
        (
            series.measurement,
            dict(series.tags),
            {name: value for name, value in zip(series.fields, row, strict=True) if value == value},
        )
        for series, row in values
    ]
    return time_ms, rows, table_source(readers)()
