"""What the directory says of hosts, kept current from what their agents say."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import structlog
from fleetwatch_proto.v1.ingest_pb2 import Goodbye, Hello, LostRange, Stats
from fleetwatch_storage.hosts import Facts, Host
from fleetwatch_storage.messages import facts_from_message
from fleetwatch_storage.metadata.hosts import HostDirectory

from fleetwatch_collector.accounts import Account
from fleetwatch_collector.completeness import Counts
from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.events import Events
from fleetwatch_collector.identity import Identity
from fleetwatch_collector.names import printable

SKEW_MS = 5_000
_LONGEST_ABSENCE_S = 86_400
_SAME_BOOT_MS = 60_000
_LONGEST_INTERVAL_MS = 3_600_000
_MOST_LOGGED = 10_000

_log = structlog.get_logger()


class Visitor(Protocol):
    """A session, as far as presence is concerned."""

    identity: Identity
    account: Account
    counts: Counts
    boot_id: str
    clock_offset_ms: float
    gone: bool

    @property
    def host(self) -> str:
        """The name the host is stored under."""


class Presence:
    """Turns what sessions hear into host records and events. Event loop's thread only."""

    def __init__(self, directory: HostDirectory, events: Events, most_hosts: int) -> None:
        self._directory = directory
        self._hosts = len(directory.list())
        self._most_hosts = most_hosts
        self._events = events
        self._heard: set[Visitor] = set()
        self._logged: set[tuple[str, str]] = set()

    def nobody_is_here(self) -> None:
        """At the start no host is connected, whatever the last process left behind."""
        for host in self._directory.list():
            if host.connected:
                self._directory.put(replace(host, connected=False))

    def came(self, session: Visitor, hello: Hello, now_ms: int) -> None:
        """A stream is taken.

        Raises:
            CallRefused: the host is new and there are too many.
        """
        known = self._known(session.host)
        facts = _facts(hello)
        self._tell_start(session, known, facts, now_ms)
        session.clock_offset_ms = float(hello.wall_ms - now_ms)
        self._tell_skew(session, known, now_ms)
        first = Host(session.host, first_seen_ms=now_ms) if known is None else known
        self._directory.put(
            replace(
                first,
                agent_id=session.identity.agent_id,
                tags={tag.key: tag.value for tag in hello.tags if tag.value},
                facts=facts,
                agent_version=printable(hello.agent_version, 64),
                last_seen_ms=now_ms,
                interval_ms=min(hello.interval_ms, _LONGEST_INTERVAL_MS) or first.interval_ms,
                connected=True,
                goodbye_until_ms=0,
                clock_offset_ms=session.clock_offset_ms,
            )
        )

    def heard(self, session: Visitor) -> None:
        """Something came from this host; written down with the next `refresh`."""
        self._heard.add(session)

    def refresh(self, now_ms: int) -> None:
        """Writes down who was heard since the last call, and how complete their data is."""
        heard, self._heard = self._heard, set()
        for session in heard:
            host = self._directory.get(session.host)
            if host is None or host.agent_id != session.identity.agent_id:
                continue
            completeness = session.counts.added_to(host.completeness)
            seen = host.last_seen_ms if session.gone else now_ms
            self._directory.put(replace(host, last_seen_ms=seen, completeness=completeness))

    def left(self, session: Visitor, now_ms: int) -> None:
        """A stream ended and no other one took its place."""
        self.refresh(now_ms)
        host = self._directory.get(session.host)
        if host is not None and host.agent_id == session.identity.agent_id:
            self._directory.put(replace(host, connected=False))

    def goodbye(self, session: Visitor, goodbye: Goodbye, now_ms: int) -> None:
        """The agent announced that it stops."""
        back_s = min(goodbye.expected_back_s, _LONGEST_ABSENCE_S)
        host = self._directory.get(session.host)
        if host is not None and back_s:
            self._directory.put(replace(host, goodbye_until_ms=now_ms + back_s * 1000))
        names = {Goodbye.REBOOT: "reboot", Goodbye.STOP: "stop", Goodbye.UPDATE: "update"}
        reason = names.get(goodbye.reason, "unknown")
        self._events.add(now_ms, session.host, "agent_stopped", f"{reason}, expected back in {back_s} s")

    def points_lost(self, session: Visitor, lost: LostRange, now_ms: int) -> None:
        """The agent lost batches that were never seen."""
        detail = f"{lost.points} points of batches {lost.from_seq} to {lost.to_seq}: {printable(lost.reason, 64)}"
        self._events.add(now_ms, session.host, "points_lost", detail)

    def stats(self, session: Visitor, stats: Stats, *, steps_before: int, durable_before: bool, now_ms: int) -> None:
        """The agent's report about itself."""
        if stats.clock_steps > steps_before:
            self._events.add(now_ms, session.host, "clock_step", f"{stats.clock_steps} since the agent started")
        if durable_before and not stats.durable:
            detail = "the spool's disk is unusable, samples are held in memory only"
            self._events.add(now_ms, session.host, "not_durable", detail)

    def cloned(self, session: Visitor, boot_id: str, now_ms: int) -> None:
        """Two machines use one agent's identity at once."""
        detail = f"agent {session.identity.agent_id} is live with boot {session.boot_id} and with {boot_id}"
        self._events.add(now_ms, session.host, "cloned_machine", detail)
        _log.warning("two live machines with one agent id", host=session.host, detail=printable(detail, 300))

    def quarantined(self, host: str, reason: str, count: int, now_ms: int) -> None:
        """Rows were set aside."""
        if self._events.add(now_ms, host, "quarantine", f"{count} rows set aside, first: {reason}"):
            _log.warning("rows set aside", host=host, rows=count, reason=printable(reason, 300))

    def schema_refused(self, session: Visitor, detail: str) -> None:
        """A schema is not taken; the agent is told with its batches, the log once for each host."""
        if self._first_time("schema", session.host):
            _log.warning("schema refused", host=session.host, detail=printable(detail, 300))

    def throttled(self, session: Visitor) -> None:
        """An agent sends faster than allowed; said once for each."""
        if self._first_time("slow", session.host):
            _log.warning("agent sends faster than allowed and is read slower", host=session.host)

    def _known(self, name: str) -> Host | None:
        known = self._directory.get(name)
        if known is None:
            if self._hosts >= self._most_hosts:
                raise CallRefused(Why.EXHAUSTED, f"{self._hosts} hosts are known, no more are taken: raise max_hosts")
            self._hosts += 1
        return known

    def _first_time(self, what: str, host: str) -> bool:
        new = (what, host) not in self._logged and len(self._logged) < _MOST_LOGGED
        if new:
            self._logged.add((what, host))
        return new

    def _tell_start(self, session: Visitor, known: Host | None, facts: Facts, now_ms: int) -> None:
        if known is None or session.account.said_goodbye:
            self._events.add(now_ms, session.host, "agent_started", f"agent {session.identity.agent_id}")
        if known is not None and known.facts.boot_time_ms and facts.boot_time_ms:
            later = facts.boot_time_ms - known.facts.boot_time_ms
            if later > _SAME_BOOT_MS:
                self._events.add(now_ms, session.host, "reboot", f"booted at {facts.boot_time_ms} unix ms")
        session.account.said_goodbye = False

    def _tell_skew(self, session: Visitor, known: Host | None, now_ms: int) -> None:
        before = known.clock_offset_ms if known is not None else 0.0
        if abs(session.clock_offset_ms) > SKEW_MS >= abs(before):
            detail = f"its clock is {session.clock_offset_ms / 1000:+.1f} s off the collector's"
            self._events.add(now_ms, session.host, "clock_skew", detail)


def _facts(hello: Hello) -> Facts:
    facts = facts_from_message(hello.facts)
    return replace(
        facts,
        os=printable(facts.os),
        kernel=printable(facts.kernel),
        architecture=printable(facts.architecture),
        cpu_model=printable(facts.cpu_model),
        virtualization=printable(facts.virtualization),
        address=printable(facts.address),
        memory_bytes=min(facts.memory_bytes, 2**62),
    )
