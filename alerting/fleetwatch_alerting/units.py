"""Numbers and times as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", "k", "M", "G", "T", "P")


def quantity(value: float | None, unit: str) -> str:
    """A value with its catalogue unit: `96.1 %`, `12.4 GiB`, `1h30m`; `-` when there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "percent":
        return percent(value)
    if unit == "bytes":
        return size(value)
    if unit in _TO_MS:
        return duration(value * _TO_MS[unit])
    suffix = {"celsius": " °C", "watts": " W", "rpm": " rpm", "mbit": " Mbit/s"}.get(unit, "")
    return f"{plain(value)}{suffix}"


_TO_MS = {"seconds": 1000.0, "milliseconds": 1.0, "microseconds": 0.001}


def plain(value: float) -> str:
    """At most four significant digits, without an exponent where that is readable."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else scaled(value)


def percent(value: float) -> str:
    """`96.1 %`."""
    return f"{value:.1f} %"


def size(value: float) -> str:
    """Bytes with a binary prefix."""
    return _prefixed(value, 1024, _BINARY)


def scaled(value: float) -> str:
    """A number with a decimal prefix: `1.2 M`."""
    if 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    return _prefixed(value, 1000, _DECIMAL).rstrip()


def _prefixed(value: float, base: int, names: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value, power = value / base, power + 1
    digits = f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.1f}"
    return f"{digits} {names[power]}"


def duration(ms: float) -> str:
    """The two largest units: `2d 3h`, `12m`, `450ms`."""
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    if ms < 1000:
        return f"{sign}{ms:.0f}ms" if ms else "0s"
    if ms < 10_000 and ms % 1000:
        return f"{sign}{ms / 1000:.1f}s"
    parts: list[tuple[int, str]] = []
    left = round(ms / 1000)
    for name, width in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, width)
        if count or parts:
            parts.append((count, name))
    return sign + " ".join(f"{count}{name}" for count, name in parts[:2] if count)


def iso(ms: int | None) -> str:
    """RFC 3339 in UTC; the zero time, as Go prints it, for None."""
    if ms is None:
        return "0001-01-01T00:00:00Z"
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def clock_time(ms: int) -> str:
    """`2026-10-26 01:13:30 UTC`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
