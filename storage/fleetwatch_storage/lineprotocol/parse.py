"""Line protocol to frames: good lines kept, bad ones named by number with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleetwatch_proto import catalog

from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.lineprotocol import scan
from fleetwatch_storage.lineprotocol.limits import BadLine, LineLimits, check_text
from fleetwatch_storage.lineprotocol.rows import Gathered

PRECISIONS = {"ns": (1, 1_000_000), "us": (1, 1_000), "ms": (1, 1), "s": (1_000, 1)}
"""Timestamps by name: milliseconds are text x first // second."""

TEXT_FIELDS = frozenset(
    (measurement.name, field.name)
    for measurement in catalog.MEASUREMENTS
    for field in measurement.fields
    if field.kind is catalog.Kind.TEXT
)
"""The only fields that take strings."""

_TIMESTAMP = re.compile(r"-?[0-9]{1,19}")
_LAST_MS = (2**63 - 1) // 1_000_000
_TEXT_MEASUREMENTS = frozenset(measurement for measurement, _ in TEXT_FIELDS)


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that was not taken: its number in the text, from 1, and why, for people."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of a text.

    `frames` hold the good lines, in any order; two of them may be of one measurement. `lines` counts the good ones,
    `rejected_lines` the bad ones, `rejected` names the first of these. `seen` counts line breaks and the rest behind
    the last one: the next piece of the same text starts at line `first_number + seen`.
    """

    frames: list[Frame]
    lines: int
    rejected: list[RejectedLine]
    rejected_lines: int
    seen: int


def parse(
    text: bytes,
    *,
    default_host: str,
    precision: str = "ns",
    now_ms: int,
    limits: LineLimits = LineLimits(),  # noqa: B008 - frozen
    first_number: int = 1,
) -> Parsed:
    """Frames of all good lines of `text`.

    Lines without a `host` tag belong to `default_host`, lines without a timestamp are of `now_ms`. Timestamps are
    unix time in `precision` (ns, us, ms or s), cut to milliseconds. Integers and booleans become floats.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    reader = _Reader(default_host, precision, now_ms, limits)
    rejected: list[RejectedLine] = []
    bad = seen = 0
    for seen, line in enumerate(text.decode("utf-8", "surrogateescape").split("\n"), 1):
        try:
            reader.take(line)
        except BadLine as problem:
            bad += 1
            if len(rejected) < limits.reported:
                rejected.append(RejectedLine(first_number + seen - 1, str(problem)))
    if text.endswith(b"\n") or not text:
        seen -= 1
    return Parsed(reader.gathered.frames(), reader.lines, rejected, bad, seen)


@dataclass(frozen=True, slots=True)
class _Series:
    measurement: str
    host: int
    tagset: int
    problem: str = ""


class _Reader:
    """Takes lines one by one. Measurements, tags and series are read once each: lines repeat them."""

    def __init__(self, default_host: str, precision: str, now_ms: int, limits: LineLimits) -> None:
        self._default_host = default_host
        self._times, self._over = PRECISIONS[precision]
        self._now_ms = now_ms
        self._limits = limits
        self._known: dict[str, _Series] = {}
        self._tags: dict[str, tuple[str, str]] = {}
        self._measurements: dict[str, str] = {}
        self.gathered = Gathered(limits, TEXT_FIELDS)
        self.lines = 0

    def take(self, line: str) -> None:
        """Adds one line.

        Raises:
            BadLine: and why.
        """
        line = line.strip("\r \t")
        if not line or line[0] == "#":
            return
        if len(line) > self._limits.line_bytes:
            raise BadLine(f"the line is longer than {self._limits.line_bytes} bytes")
        if "\\" in line or '"' in line:
            head, section, stamp = scan.sections(line)
        else:
            head, section, stamp = _plain_sections(line)
        series = self._series(head)
        time_ms = self._time(stamp)
        if not self._take_plain(series, section, time_ms):
            self._take_any(series, section, time_ms)
        self.lines += 1

    def _series(self, head: str) -> _Series:
        known = self._known.get(head)
        if known is None:
            try:
                known = self._read_series(head)
            except BadLine as problem:
                known = _Series("", 0, 0, str(problem))
            self._known[head] = known
        if known.problem:
            raise BadLine(known.problem)
        return known

    def _read_series(self, head: str) -> _Series:
        name, *parts = scan.split_tags(head)
        pairs = [self._tag(part) for part in parts]
        tags = dict(pairs)
        if len(tags) < len(pairs):
            keys = [key for key, _ in pairs]
            raise BadLine(f"tag {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
        if len(tags) > self._limits.tags:
            raise BadLine(f"{len(tags)} tags; at most {self._limits.tags} are taken")
        host = tags.pop("host", self._default_host)
        tagset: TagSet = tuple(sorted(tags.items()))
        return _Series(self._measurement(name), self.gathered.host(host), self.gathered.tagset(tagset))

    def _measurement(self, text: str) -> str:
        known = self._measurements.get(text)
        if known is None:
            known = check_text("measurement", scan.measurement(text), self._limits.name_bytes)
            self._measurements[text] = known
        return known

    def _tag(self, part: str) -> tuple[str, str]:
        known = self._tags.get(part)
        if known is None:
            key, value = scan.tag(part)
            check_text("tag key", key, self._limits.key_bytes)
            check_text(f"tag {key!r}: value", value, self._limits.value_bytes)
            if key == "time":
                raise BadLine("a tag must not be called time")
            known = self._tags[part] = key, value
        return known

    def _time(self, stamp: str) -> int:
        if not stamp:
            return self._now_ms
        if not _TIMESTAMP.fullmatch(stamp):
            raise BadLine(f"{stamp[:64]!r} is not a timestamp (an integer, unix time)")
        time_ms = int(stamp) * self._times // self._over
        if not 0 <= time_ms <= _LAST_MS:
            raise BadLine(f"timestamp {stamp} is out of range: is its precision right?")
        return time_ms

    def _take_plain(self, series: _Series, section: str, time_ms: int) -> bool:
        """The fast way for lines of plain floats; False when the line is not one."""
        if series.measurement in _TEXT_MEASUREMENTS or not (section.isascii() and section.isprintable()):
            return False
        try:
            names, texts = zip(*[pair.split("=") for pair in section.split(",")], strict=True)
            values = list(map(float, texts))
        except ValueError:
            return False
        total = sum(values)
        if total - total != 0 or "_" in ",".join(texts) or "\\" in section:
            return False
        self._add(series, names, values, time_ms)
        return True

    def _take_any(self, series: _Series, section: str, time_ms: int) -> None:
        pairs = scan.fields(section)
        for name, value in pairs:
            self._check_kind(series.measurement, name, value)
        self._add(series, tuple(name for name, _ in pairs), [value for _, value in pairs], time_ms)

    def _check_kind(self, measurement: str, name: str, value: scan.Value) -> None:
        wants_text = (measurement, name) in TEXT_FIELDS
        if isinstance(value, str):
            if not wants_text:
                raise BadLine(f"field {name!r} is a string; fields are numbers, put text into a tag")
            if value:
                check_text(f"field {name!r}", value, self._limits.value_bytes)
        elif wants_text:
            raise BadLine(f'field {name!r} of {measurement} is text: write {name}="..."')

    def _add(
        self, series: _Series, names: tuple[str, ...], values: list[scan.Value] | list[float], time_ms: int
    ) -> None:
        rows = self.gathered.rows(series.measurement, names)
        rows.time.append(time_ms)
        rows.host.append(series.host)
        rows.tagset.append(series.tagset)
        rows.values.append(values)


def _plain_sections(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) > 3 or "" in parts:
        parts = [part for part in parts if part]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    if len(parts) == 2:
        return parts[0], parts[1], ""
    if len(parts) == 1:
        raise BadLine(scan.NO_FIELDS)
    raise BadLine(f"unexpected {parts[3][:32]!r} after the timestamp (a space inside a name or value is written \\ )")
