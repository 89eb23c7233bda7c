"""Temperatures, fans and batteries, from /sys/class/hwmon, thermal and power_supply."""

from __future__ import annotations

import re
from collections.abc import Callable

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Reader, Series, Values

READS = (
    "/sys/class/hwmon/hwmon*/name, temp*_label, temp*_input, fan*_label, fan*_input",
    "/sys/class/thermal/thermal_zone*/type, temp, when hwmon has no temperature",
    "/sys/class/power_supply/*/type, capacity",
)
_LOOK_AGAIN_S = 60.0


def make(context: Context) -> Reader:
    """Rows of `temp`, `fan` and `battery`, one per sensor that answers."""
    return SensorReader(context)


class SensorReader:
    """Looks once a minute for what is there, and reads by kept descriptors between."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked_at = float("-inf")
        self._found: list[tuple[str, float, Series]] = []

    def __call__(self) -> Values:
        now = self._context.clock()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._look()
            self._looked_at = now
        readings: Values = []
        for path, scale, series in self._found:
            value = self._context.files.number(path)
            if value is not None:
                readings.append((series, (value * scale,)))
        return readings

    def _look(self) -> None:
        files = self._context.files
        temperatures = hwmon(files, "temp") or thermal_zones(files)
        found = [(path, 0.001, Series("temp", (("sensor", name),), ("temp",))) for path, name in temperatures]
        found += [(path, 1.0, Series("fan", (("sensor", name),), ("speed",))) for path, name in hwmon(files, "fan")]
        found += [(path, 1.0, Series("battery", (("name", name),), ("percent",))) for path, name in batteries(files)]
        for path, _, _ in self._found:
            if path not in {one[0] for one in found}:
                files.forget(path)
        self._found = found


def hwmon(files: Files, kind: str) -> list[tuple[str, str]]:
    """Path and name of every input of a kind; the name is chip and label, as `coretemp_core_0`."""
    found = []
    for chip in files.names("sys/class/hwmon"):
        folder = f"sys/class/hwmon/{chip}"
        name = files.text(f"{folder}/name") or chip
        for entry in files.names(folder):
            match = re.fullmatch(rf"({kind}\d+)_input", entry)
            if match:
                label = files.text(f"{folder}/{match[1]}_label") or match[1]
                found.append((f"{folder}/{entry}", _name(f"{name}_{label}")))
    return _distinct(found)


def thermal_zones(files: Files) -> list[tuple[str, str]]:
    """Path and name of every thermal zone."""
    zones = [zone for zone in files.names("sys/class/thermal") if zone.startswith("thermal_zone")]
    return _distinct(
        [
            (f"sys/class/thermal/{zone}/temp", _name(files.text(f"sys/class/thermal/{zone}/type") or zone))
            for zone in zones
        ]
    )


def batteries(files: Files) -> list[tuple[str, str]]:
    """Path and name of every battery that powers the machine."""
    is_battery: Callable[[str], bool] = lambda name: files.text(f"sys/class/power_supply/{name}/type") == "Battery"  # noqa: E731
    names = filter(is_battery, files.names("sys/class/power_supply"))
    return [(f"sys/class/power_supply/{name}/capacity", name) for name in names]


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _distinct(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Two chips of one kind get numbers in the order of their paths."""
    seen: dict[str, int] = {}
    named = []
    for path, name in found:
        seen[name] = seen.get(name, 0) + 1
        named.append((path, name if seen[name] == 1 else f"{name}_{seen[name]}"))
    return named
