"""The six numbers on top of the host page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fleetwatch_storage.frames import Frame, Numbers

from fleetwatch_dashboard import charts, host_view, latest, levels
from fleetwatch_dashboard.fleet import Row
from fleetwatch_dashboard.levels import Threshold
from fleetwatch_dashboard.units import NOTHING, Shown, coarse, digits, shown

METRICS = ("cpu.usage_active", "mem.used_percent", "swap.used_percent", "disk.used_percent", "pressure.avg10")
_CARDS = {"swap": "mem"}
"""Cards that tiles lead to, where the names differ."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the six numbers on top. `metric`, `tags` and `pick` tell the page's script how to keep it live."""

    label: str
    note: str
    value: Shown
    level: str
    points: str
    mark: float | None
    href: str
    metric: str = ""
    tags: str = ""
    pick: str = ""


def tiles(
    row: Row,
    frames: Mapping[str, Frame],
    lines: Mapping[str, Numbers],
    net: tuple[float, float] | None,
    limits: Mapping[str, Sequence[Threshold]],
) -> list[Tile]:
    """The tiles; `lines` values of the sparklines by tile, `net` bit/s in and out, `limits` thresholds by metric."""
    name = row.host.name
    tile = partial(_percent_tile, row, lines, limits)
    found = [
        tile("CPU", "cpu", "cpu.usage_active", tags="cpu=cpu-total", note=""),
        tile("Memory", "mem", "mem.used_percent", note=_of(frames.get("mem"), name)),
        tile("Swap", "swap", "swap.used_percent", note=_of(frames.get("swap"), name)),
        tile(f"Disk {row.mount}".strip(), "disk", "disk.used_percent", pick="max", note=""),
        _pressure(frames.get("pressure"), row, lines, limits),
        _network(net, lines),
    ]
    return [tile for tile in found if tile.value is not NOTHING]


def _percent_tile(
    row: Row,
    lines: Mapping[str, Numbers],
    limits: Mapping[str, Sequence[Threshold]],
    label: str,
    key: str,
    metric: str,
    *,
    note: str,
    tags: str = "",
    pick: str = "",
) -> Tile:
    value = row.values.get(key)
    critical = limits[metric][-1].at if limits.get(metric) else None
    return Tile(
        label=label,
        note=note or (f"crit {digits(critical)} %" if critical is not None else ""),
        value=NOTHING if value is None else Shown(digits(round(value, 1)), "%"),
        level=row.levels.get(key, ""),
        points=charts.sparkline(lines[key]) if key in lines else "",
        mark=None if critical is None else charts.mark(critical),
        href=f"#card-{_CARDS.get(key, key)}",
        metric=metric,
        tags=tags,
        pick=pick,
    )


def _pressure(
    frame: Frame | None, row: Row, lines: Mapping[str, Numbers], limits: Mapping[str, Sequence[Threshold]]
) -> Tile:
    found = latest.column(frame, "avg10", {"resource": "io", "type": "some"}).get(row.host.name)
    values = lines.get("pressure")
    top = charts.top_of(values, 30.0) if values is not None else 30.0
    metric = "pressure.avg10"
    return Tile(
        label="I/O pressure",
        note="some, 10 s",
        value=NOTHING if found is None else Shown(digits(found), "%"),
        level=levels.level_of(found, limits.get(metric, ())),
        points=charts.sparkline(values, top) if values is not None else "",
        mark=None,
        href="#card-pressure",
        metric=metric,
        tags="resource=io,type=some",
    )


def _network(net: tuple[float, float] | None, lines: Mapping[str, Numbers]) -> Tile:
    values = lines.get("net")
    total = shown(sum(net), "bit/s") if net else NOTHING
    return Tile(
        label="Network",
        note=_both(*net) if net else "",
        value=total,
        level="",
        points=charts.sparkline(values, charts.top_of(values, 1.0)) if values is not None else "",
        mark=None,
        href="#card-net",
    )


def _both(received: float, sent: float) -> str:
    """In and out, without a unit where it is that of the sum."""
    whole = shown(received + sent, "bit/s").unit
    parts = [coarse(value, "bit/s") for value in (received, sent)]
    texts = [part.text if part.unit == whole else f"{part.text} {part.unit.removesuffix('bit/s')}" for part in parts]
    return f"↓ {texts[0]} ↑ {texts[1]}"


def _of(frame: Frame | None, host: str) -> str:
    used, total = latest.column(frame, "used").get(host), latest.column(frame, "total").get(host)
    if used is None or not total:
        return ""
    return f"{host_view.same_unit(used, total)} of {shown(total, 'bytes')}"
