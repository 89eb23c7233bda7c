"""The cards of the host page as data: which metrics a chart shows and how. Adding one is one entry in PANELS. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_storage.store import SeriesKey

MAX_CUSTOM_PANELS = 24
MAX_CUSTOM_FIELDS = 8


class Kind(StrEnum):
    """How a chart draws its lines: each by itself, stacked areas, or the first up and the second down."""

    LINES = "lines"
    STACK = "stack"
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the sum of `fields`, or with a `split` tag the series whose tag value is `name`. `color` is a token."""

    fields: tuple[str, ...]
    name: str
    color: str


@dataclass(frozen=True, slots=True)
class View:
    """What a card shows at a time. `split` draws one line per value of a tag, for the only field. `unit` is that of the
    values as drawn; `factor` multiplies the stored ones. `top` fixes the axis, `peak` is a field whose maximum is drawn
    on long ranges, `reference` a thin line at a value, with its word."""

    title: str
    kind: Kind
    lines: tuple[Line, ...]
    unit: str
    note: str = ""
    split: str = ""
    factor: float = 1.0
    top: float | None = None
    peak: str = ""
    reference: tuple[float, str] | None = None
    threshold: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One card: a measurement of one host, one or more views of it; `tags` choose its series, `select` is the tag whose
    value the reader chooses among `choices`."""

    id: str
    title: str
    measurement: str
    views: tuple[View, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    select: str = ""
    choices: tuple[str, ...] = ()
    more: int = 0


def _line(name: str, color: str, *fields: str) -> Line:
    return Line(fields, name, color)


_CPU = View(
    "Modes", Kind.STACK, top=100.0, unit="percent", peak="usage_active", threshold="cpu.usage_active",
    lines=(
        _line("user", "blue", "usage_user"),
        _line("system", "orange", "usage_system"),
        _line("iowait", "red", "usage_iowait"),
        _line("irq", "violet", "usage_irq", "usage_softirq"),
        _line("steal", "pink", "usage_steal"),
        _line("nice", "teal", "usage_nice"),
    ),
)  # fmt: skip
_MEMORY = View(
    "Memory", Kind.STACK, unit="bytes",
    lines=(_line("used", "green", "used"), _line("buffers + cache", "mint", "buffered", "cached")),
)  # fmt: skip
_PRESSURE = View(
    "Pressure", Kind.LINES, unit="percent", note="% of time stalled, 10 s", split="resource",
    lines=(_line("cpu", "blue", "avg10"), _line("memory", "green", "avg10"), _line("io", "red", "avg10")),
)  # fmt: skip
_LOAD = View(
    "Load", Kind.LINES, unit="", note="per core", reference=(1.0, "one per core"),
    lines=(_line("1 m", "violet", "load1"), _line("5 m", "blue", "load5"), _line("15 m", "orange", "load15")),
)  # fmt: skip
_DISK = (
    View("Traffic", Kind.MIRROR, unit="bytes/s", note="read up, write down",
         lines=(_line("read", "blue", "read_bytes"), _line("write", "orange", "write_bytes"))),
    View("Busy", Kind.LINES, unit="percent", note="% of time busy", threshold="diskio.io_util",
         lines=(_line("busy", "blue", "io_util"),)),
    View("Await", Kind.LINES, unit="milliseconds", note="average wait of a request",
         lines=(_line("await", "violet", "io_await"),)),
)  # fmt: skip
_NET = (
    View("Traffic", Kind.MIRROR, unit="bit/s", note="in up, out down", factor=8.0,
         lines=(_line("in", "green", "bytes_recv"), _line("out", "pink", "bytes_sent"))),
    View("Errors", Kind.LINES, unit="count/s", note="errors and drops per second",
         lines=(_line("errors in", "red", "err_in"), _line("errors out", "orange", "err_out"),
                _line("drops in", "violet", "drop_in"), _line("drops out", "pink", "drop_out"))),
)  # fmt: skip


def _named(title: str, unit: str, name: str, tag: str, metric: str = "") -> tuple[View, ...]:
    """Lines by a tag's value, each in the colour of its name."""
    return (View(title, Kind.LINES, (Line((name,), "", ""),), unit, split=tag, threshold=metric),)


DISK_SPACE = "disk"
"""Where the disk table stands among the cards."""

PANELS: tuple[Panel, ...] = (
    Panel("cpu", "CPU", "cpu", (_CPU,), {"cpu": "cpu-total"}),
    Panel("mem", "Memory", "mem", (_MEMORY,)),
    Panel("pressure", "Pressure", "pressure", (_PRESSURE,), {"type": "some"}),
    Panel("load", "Load", "system", (_LOAD,)),
    Panel(DISK_SPACE, "Disk space", "disk", ()),
    Panel("diskio", "Disk I/O", "diskio", _DISK, select="name"),
    Panel("net", "Network", "net", _NET, select="interface"),
    Panel("temp", "Temperatures", "temp", _named("Temperatures", "celsius", "temp", "sensor")),
    Panel("fan", "Fans", "fan", _named("Fans", "rpm", "speed", "sensor")),
    Panel("gpu", "GPU", "gpu", _named("Busy", "percent", "utilisation", "name", "gpu.utilisation")),
    Panel("battery", "Battery", "battery", _named("Charge", "percent", "percent", "name", "battery.percent")),
)


def for_host(series: Iterable[SeriesKey], *, cores: float, memory_bytes: float) -> list[Panel]:
    """The cards of a host that has these series: those of the catalogue, then its own measurements."""
    known: dict[str, list[SeriesKey]] = {}
    for key in series:
        known.setdefault(key.measurement, []).append(key)
    built = [
        _fitted(panel, known[panel.measurement], cores, memory_bytes) for panel in PANELS if panel.measurement in known
    ]
    custom = [name for name in sorted(known) if name not in BY_NAME]
    return built + [_custom(name, known[name]) for name in custom[:MAX_CUSTOM_PANELS]]


def document(panel: Panel) -> dict[str, object]:
    """A card as the page's script reads it."""
    return {
        "id": panel.id,
        "measurement": panel.measurement,
        "tags": dict(panel.tags),
        "select": panel.select,
        "views": [_view(panel, view) for view in panel.views],
    }


def _view(panel: Panel, view: View) -> dict[str, object]:
    return {
        "title": view.title,
        "kind": view.kind,
        "unit": view.unit,
        "note": view.note,
        "split": view.split,
        "factor": view.factor,
        "top": view.top,
        "peak": view.peak,
        "reference": view.reference,
        "threshold": view.threshold,
        "lines": [{"fields": line.fields, "name": line.name, "color": line.color} for line in view.lines],
        "rates": sorted(_counters(panel.measurement, view)),
    }


def _counters(measurement: str, view: View) -> set[str]:
    known = BY_NAME.get(measurement)
    names = {name for line in view.lines for name in line.fields}
    return {one.name for one in known.fields if one.name in names and one.kind == "counter"} if known else set()


def _fitted(panel: Panel, series: Sequence[SeriesKey], cores: float, memory_bytes: float) -> Panel:
    views = panel.views
    if panel.id == "load" and cores:
        views = (replace(views[0], factor=1 / cores),)
    if panel.id == "mem" and memory_bytes:
        views = (replace(views[0], top=memory_bytes),)
    choices = tuple(sorted({dict(key.tags).get(panel.select, "") for key in series})) if panel.select else ()
    return replace(panel, views=views, choices=tuple(sorted(choices, key=_loopback_last)))


def _loopback_last(name: str) -> tuple[bool, str]:
    return name == "lo", name


def _custom(measurement: str, series: Sequence[SeriesKey]) -> Panel:
    """A card for a measurement the catalogue does not have: a view per field, a line per series."""
    names = sorted({name for key in series for name in key.fields})
    keys = sorted({key for one in series for key, _ in one.tags})
    views = tuple(
        View(
            name,
            Kind.LINES,
            (Line((name,), name if not keys else "", "blue" if not keys else ""),),
            "",
            split=",".join(keys),
        )
        for name in names[:MAX_CUSTOM_FIELDS]
    )
    return Panel(f"custom-{measurement}", measurement, measurement, views, more=max(0, len(names) - MAX_CUSTOM_FIELDS))
