"""The oracle: what was accepted must be in the store, the store must hold nothing else, and every value must be equal.

Agents under test write a `Ledger`: each row before it is handed to the spool (issued) and after the spool took it
(accepted). Values are a function of agent, spool and tick (`values`), so the ledger needs no copy of them. `judge`
reads the store through the product and counts what is lost, invented, doubled or altered, in points.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fleetwatch_proto.v1.ingest_pb2 import Series
from fleetwatch_storage.frames import split
from fleetwatch_storage.query import Query
from fleetwatch_storage.store import StoreReader

from tests.support.simulated_agent import SimulatedAgent
from tests.support.values import HostValues, Numbers

Times = npt.NDArray[np.int64]

DAY_MS = 86_400_000


@dataclass(slots=True)
class Ledger:
    """The rows of one host. `issued`: unix milliseconds to tick; `accepted`: the times whose rows are promised.

    `repeated` are times that were issued for more than one tick: the later row overwrites the earlier.
    """

    host: str
    spool: str
    issued: dict[int, int] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)


class LedgerFile:
    """A ledger written by a process that may be killed at any time: a line per event, handed to the kernel at once."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def issue(self, time_ms: int, tick: int) -> None:
        """Before the row is given to the spool."""
        os.write(self._descriptor, f"i {time_ms} {tick}\n".encode())

    def accept(self, time_ms: int) -> None:
        """After the spool promised to keep it."""
        os.write(self._descriptor, f"a {time_ms}\n".encode())


def read_ledger(path: Path, host: str, spool: str) -> Ledger:
    """The ledger of a file; a last line that a kill cut short is not looked at."""
    ledger = Ledger(host, spool)
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        kind, time_ms, *tick = line.split()
        if kind == "i":
            if int(time_ms) in ledger.issued:
                ledger.repeated.add(int(time_ms))
            ledger.issued[int(time_ms)] = int(tick[0])
        else:
            ledger.accepted.add(int(time_ms))
    return ledger


def ledger_of(agent: SimulatedAgent) -> Ledger:
    """The ledger of a simulated agent; its spool is memory, so only what was acknowledged is promised."""
    ledger = Ledger(agent.name, agent.spool_id)
    for seq in agent.issued:
        rows = agent.times_and_ticks(seq)
        ledger.issued.update(rows)
        if seq in agent.acked:
            ledger.accepted.update(rows)
    return ledger


@dataclass(slots=True)
class Verdict:
    """Counts of points; the first findings in words; times of lost rows by host."""

    accepted: int = 0
    stored: int = 0
    lost: int = 0
    invented: int = 0
    doubled: int = 0
    altered: int = 0
    findings: list[str] = field(default_factory=list)
    lost_rows: dict[str, set[int]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Nothing lost, invented, doubled or altered, and something was looked at."""
        return self.accepted > 0 and not (self.lost or self.invented or self.doubled or self.altered)

    def __str__(self) -> str:
        counts = " ".join(
            f"{name} {getattr(self, name):,}"
            for name in ("accepted", "stored", "lost", "invented", "doubled", "altered")
        )
        return "\n".join([counts, *self.findings[:10]])

    def _count(self, kind: str, points: int, where: str) -> None:
        if points:
            setattr(self, kind, getattr(self, kind) + points)
            self.findings.append(f"{kind}: {points} points of {where}")


def judge(store: StoreReader, ledgers: Iterable[Ledger], series: Sequence[Series], *, counted: bool = True) -> Verdict:
    """Compares everything the store has of the hosts of these ledgers with what they issued.

    `counted` also asks the store to count, in one-day steps, so that a doubled row that a plain read folds away is
    still found.
    """
    verdict, values = Verdict(), HostValues(series)
    issuers = [ledger for ledger in ledgers if ledger.issued]
    if not issuers:
        return verdict
    times = [time for ledger in issuers for time in (min(ledger.issued), max(ledger.issued))]
    span = (min(times) // DAY_MS * DAY_MS - DAY_MS, max(times) // DAY_MS * DAY_MS + 2 * DAY_MS)
    stored = _stored(store, series, span)
    for ledger in issuers:
        _judge_host(stored, ledger, series, values, verdict)
    if counted:
        _judge_counts(store, {ledger.host for ledger in issuers}, series, span, stored, verdict)
    return verdict


def _judge_host(
    stored: Mapping[_Key, _Stored], ledger: Ledger, series: Sequence[Series], values: HostValues, verdict: Verdict
) -> None:
    times = np.array(sorted(ledger.issued), np.int64)
    ticks = np.array([ledger.issued[time] for time in times.tolist()], np.int64)
    expected = values.ticks(ledger.host, ledger.spool, ticks)
    accepted = np.array([time in ledger.accepted for time in times.tolist()])
    column = 0
    for one in series:
        key, width = _key(ledger.host, one), len(one.fields)
        rows = _Rows(times, accepted, expected[:, column : column + width])
        lost = _judge_series(rows, stored.get(key), verdict, " ".join(map(str, key)))
        verdict.lost_rows.setdefault(ledger.host, set()).update(lost.tolist())
        column += width


_Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Host, measurement, tags."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Issued rows of one series: (n,) times, (n,) whether accepted, (n, fields) values."""

    times: Times
    accepted: npt.NDArray[np.bool_]
    values: Numbers


@dataclass(frozen=True, slots=True)
class _Stored:
    times: Times
    values: Numbers


def _key(host: str, series: Series) -> _Key:
    return host, series.measurement, tuple(sorted((tag.key, tag.value) for tag in series.tags))


def _stored(store: StoreReader, series: Sequence[Series], span: tuple[int, int]) -> dict[_Key, _Stored]:
    """Everything the store has of these measurements, series by series."""
    found: dict[_Key, _Stored] = {}
    for measurement, fields in _fields(series).items():
        for one in split(store.read(Query(measurement, fields, *span))):
            columns = [np.asarray(one.fields[name], np.float64) for name in fields]
            found[one.host, measurement, tuple(sorted(one.tags))] = _Stored(one.time, np.column_stack(columns))
    return found


def _fields(series: Sequence[Series]) -> dict[str, tuple[str, ...]]:
    return {one.measurement: tuple(one.fields) for one in series}


def _judge_series(rows: _Rows, stored: _Stored | None, verdict: Verdict, where: str) -> Times:
    """Counts into `verdict`; returns the times of accepted rows of which anything is missing."""
    width = rows.values.shape[1]
    verdict.accepted += int(rows.accepted.sum()) * width
    if stored is None:
        verdict._count("lost", int(rows.accepted.sum()) * width, where)
        return rows.times[rows.accepted]
    times, first = np.unique(stored.times, return_index=True)
    values = stored.values[first]
    verdict.stored += int((~np.isnan(stored.values)).sum())
    verdict._count("doubled", (len(stored.times) - len(times)) * width, where)
    place = np.minimum(np.searchsorted(rows.times, times), len(rows.times) - 1)
    known = rows.times[place] == times
    verdict._count("invented", int((~known).sum()) * width, f"{where} at {times[~known][:3].tolist()}")
    present = np.zeros(rows.values.shape, bool)
    present[place[known]] = ~np.isnan(values[known])
    changed = present[place[known]] & (values[known] != rows.values[place[known]])
    verdict._count("altered", int(changed.sum()), f"{where} at {times[known][changed.any(axis=1)][:3].tolist()}")
    missing = ~present & rows.accepted[:, None]
    lost: Times = rows.times[missing.any(axis=1)]
    verdict._count("lost", int(missing.sum()), f"{where} at {lost[:3].tolist()}")
    return lost


def _judge_counts(
    store: StoreReader,
    hosts: Container[str],
    series: Sequence[Series],
    span: tuple[int, int],
    stored: Mapping[_Key, _Stored],
    verdict: Verdict,
) -> None:
    """What the store counts must be what it returns."""
    for measurement, fields in _fields(series).items():
        query = Query(measurement, fields[:1], *span, DAY_MS, ("count",))
        for one in split(store.read(query)):
            if one.host in hosts:
                rows = stored.get((one.host, measurement, tuple(sorted(one.tags))))
                returned = 0 if rows is None else int((~np.isnan(rows.values[:, 0])).sum())
                counted = int(np.nansum(np.asarray(one.fields[fields[0]], np.float64)))
                where = f"{one.host} {measurement} counted {counted}, read {returned}"
                verdict._count("doubled", abs(counted - returned), where)
