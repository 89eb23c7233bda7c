"""What simulated hosts measure: a pure function of (agent, spool, tick, column), shaped like a real host's numbers.

A `tick` is the number of a sample since the spool began: `(seq - 1) * rows_per_batch + row`. Because every value can be
made again at any time, a spool of numbers is enough for resending, and an oracle needs no copy of what was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fleetwatch_proto.catalog import BY_NAME, Kind
from fleetwatch_proto.schema import schema_id
from fleetwatch_proto.v1.ingest_pb2 import Schema, Series, Tag

Numbers = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COUNT_START, _COUNT_RATE = 1 << 30, 4096


def _like_a_host() -> list[tuple[str, dict[str, str]]]:
    cpus = [("cpu", {"cpu": cpu}) for cpu in ("cpu-total", "cpu0", "cpu1", "cpu2", "cpu3")]
    mounts = [("/", "vda1"), ("/var", "vda2"), ("/srv", "vdb1")]
    disks = [("disk", {"path": path, "device": name, "fstype": "ext4", "mode": "rw"}) for path, name in mounts]
    return [
        *cpus,
        *((name, {}) for name in ("mem", "swap", "system")),
        *disks,
        *(("diskio", {"name": name}) for name in ("vda", "vdb")),
        *(("net", {"interface": name}) for name in ("eth0", "eth1")),
        ("linux_sysctl_fs", {}),
        *(("temp", {"sensor": name}) for name in ("package", "board")),
    ]


def host_series() -> list[Series]:
    """The series of one simulated host: 150 columns of the catalogue, as an agent on a small server has."""
    return [
        Series(
            measurement=name,
            tags=[Tag(key=key, value=value) for key, value in sorted(tags.items())],
            fields=[field.name for field in BY_NAME[name].fields],
        )
        for name, tags in _like_a_host()
    ]


def host_schema() -> Schema:
    """`host_series` with its identity."""
    series = host_series()
    return Schema(id=schema_id(series), series=series)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one column moves: (start + rate x tick + step x uniform{0..width-1} anew every `period` ticks) / divisor."""

    start: int  # exclusive upper bound of a start that is drawn per agent and column
    step: int = 1
    width: int = 1
    period: int = 1
    divisor: int = 1
    rising: bool = False


def _shape(measurement: str, field: str) -> _Shape:
    known = BY_NAME[measurement].field(field)
    if known is None or field.startswith(("total", "n_", "inodes_total", "file_max", "speed")):
        return _Shape(1 << 36)
    if known.kind is Kind.COUNTER:
        quiet = field.startswith(("err_", "drop_", "in", "out"))
        return _Shape(_COUNT_START) if quiet else _Shape(_COUNT_START, width=_COUNT_RATE, rising=True)
    if known.unit == "percent":
        slow = measurement in ("disk", "swap", "mem") or field.startswith(("usage_guest", "usage_irq", "usage_steal"))
        return _Shape(800, width=200, period=64 if slow else 1, divisor=10)
    if known.unit == "bytes":
        return _Shape(1 << 36, step=4096, width=1 << 16, period=8)
    return _Shape(4000, width=64, period=8, divisor=100)


class HostValues:
    """Values of one schema for any agent. Arrays are (rows, columns) float64, exact in every process."""

    def __init__(self, series: Sequence[Series]) -> None:
        shapes = [_shape(one.measurement, field) for one in series for field in one.fields]
        self.columns = len(shapes)
        self._start, self._step, self._width, self._period, self._divisor = (
            np.array([getattr(shape, name) for shape in shapes], np.float64)
            for name in ("start", "step", "width", "period", "divisor")
        )
        self._rate = np.array([_COUNT_RATE * shape.rising for shape in shapes], np.float64)
        self._moving = np.flatnonzero(self._width > 1)
        self._column_words = np.arange(1, self.columns + 1, dtype=np.uint64) * _GOLDEN

    def at(self, agent: str, spool: str, first_tick: int, rows: int) -> Numbers:
        """The rows of ticks `first_tick` and the `rows - 1` after it."""
        return self.ticks(agent, spool, np.arange(first_tick, first_tick + rows))

    def ticks(self, agent: str, spool: str, ticks: npt.NDArray[np.int64]) -> Numbers:
        """The rows of these ticks, (n, columns)."""
        return self.of(AgentValues(self, agent, spool), ticks)

    def of(self, agent: AgentValues, ticks: npt.NDArray[np.int64]) -> Numbers:
        """As `ticks`, with the agent's own part worked out before."""
        moving = self._moving
        at = ticks.astype(np.float64)[:, None]
        epochs = np.floor_divide(at, self._period[moving]).astype(np.uint64)
        noise = np.floor(_uniform(_mix(agent.words[moving] + epochs * _GOLDEN)) * self._width[moving])
        rows = np.repeat(agent.starts[None, :], len(ticks), axis=0)
        rows[:, moving] += self._rate[moving] * at + noise * self._step[moving]
        rows /= self._divisor
        return rows

    def _starts(self, words: Words) -> Numbers:
        return np.floor(_uniform(_mix(words ^ _GOLDEN)) * self._start)


class AgentValues:
    """What is fixed for one (agent, spool): the seed of each column's noise and where the column starts."""

    __slots__ = ("starts", "words")

    def __init__(self, values: HostValues, agent: str, spool: str) -> None:
        digest = hashlib.blake2b(f"{agent}\0{spool}".encode(), digest_size=8).digest()
        self.words: Words = _mix(np.uint64(int.from_bytes(digest, "little")) + values._column_words)
        self.starts: Numbers = values._starts(self.words)


def _mix(words: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _uniform(words: Words) -> Numbers:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
