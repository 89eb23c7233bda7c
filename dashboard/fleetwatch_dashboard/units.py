"""Numbers with units as people read them: bytes in powers of two, network in bit/s, three digits that matter."""

from __future__ import annotations

import math
from typing import NamedTuple

from fleetwatch_dashboard.times import length

MISSING = "–"
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_SCALED = ("bytes", "bytes/s", "bit/s", "mbit")
_SIGNS = {
    "percent": "%",
    "celsius": "°C",
    "watts": "W",
    "rpm": "rpm",
    "milliseconds": "ms",
    "microseconds": "µs",
    "percent/s": "%/s",
    "count/s": "/s",
    "/s": "/s",
}


class Shown(NamedTuple):
    """A number and its unit, apart: the unit is printed smaller."""

    text: str
    unit: str

    def __str__(self) -> str:
        return f"{self.text} {self.unit}".strip()


NOTHING = Shown(MISSING, "")


def shown(value: float | None, unit: str = "") -> Shown:
    """A value in a unit of the catalogue, of a rate (`bytes/s`) or `bit/s`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0 and unit in _SCALED:
        return Shown("0", "")
    if unit in ("bytes", "bytes/s"):
        return _scaled(value, 1024, _BINARY, "B" + unit[5:])
    if unit in ("bit/s", "mbit"):
        return _scaled(value * (1e6 if unit == "mbit" else 1), 1000, _DECIMAL, "bit/s")
    if unit == "seconds":
        return _duration(value)
    if unit in ("", "count") and abs(value) >= 100_000:
        return _scaled(value, 1000, _DECIMAL, "")
    return Shown(digits(value), _SIGNS.get(unit, ""))


def digits(value: float) -> str:
    """Three digits that matter, no needless zeros, thousands apart by a thin blank."""
    size = abs(value)
    if size >= 99.95 or size == 0:
        return f"{value:,.0f}".replace(",", "\u2009")
    if size >= 9.95:
        text = f"{value:.1f}"
    elif size >= 0.01:
        text = f"{value:.2f}"
    else:
        return f"{value:.2g}"
    return text.rstrip("0").rstrip(".")


def percent(value: float | None) -> Shown:
    """A share without decimals, as tables show it; never rounded up to 100."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Shown("99" if 99 < value < 100 else f"{value:.0f}", "%")


def coarse(value: float, unit: str) -> Shown:
    """A value where space is short: no decimals from ten on."""
    full = shown(value, unit)
    number = full.text.replace("\u2009", "")
    return Shown(f"{float(number):.0f}", full.unit) if number != MISSING and abs(float(number)) >= 10 else full


def completeness(share: float) -> str:
    """A share of samples that is only 100.00 when nothing is missing."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


def _scaled(value: float, base: int, names: tuple[str, ...], unit: str) -> Shown:
    size, power = abs(value), 0
    while size >= base * 0.9995 and power < len(names) - 1:
        size, power = size / base, power + 1
    return Shown(digits(value / base**power), names[power] + unit)


def _duration(seconds: float) -> Shown:
    if abs(seconds) < 1:
        return Shown(digits(seconds * 1000), "ms")
    text, _, unit = length(abs(seconds) * 1000).rpartition(" ")
    return Shown(("-" if seconds < 0 else "") + text, unit)
