"""From counters to rates: pure arithmetic on two readings."""

from __future__ import annotations

from collections.abc import Sequence

GRID = 128
"""Percentages lie on a grid of 1/128. That is finer than the kernel's clock ticks resolve, and it leaves the low bytes
of the float64 zero, which compresses better than full mantissas."""


def percent(part: float, whole: float) -> float:
    """100 x part / whole on the grid; 0 when the whole is 0."""
    return round(100 * GRID * part / whole) / GRID if whole else 0.0


def cpu_usage(before: Sequence[int], after: Sequence[int]) -> tuple[float, ...] | None:
    """Shares of time between two lines `cpu` of /proc/stat, each of ten counters in the kernel's order.

    Returns percentages in the catalogue's order (user system idle active nice iowait irq softirq steal guest
    guest_nice), or None when no time has passed. Guests' time is part of user and nice in the kernel's figures and is
    taken out, as Telegraf does. Counters that ran backwards (idle and iowait may) count as unchanged.
    """
    user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice = [
        new - old if new > old else 0 for old, new in zip(before, after, strict=True)
    ]
    total = user + nice + system + idle + iowait + irq + softirq + steal
    if not total:
        return None
    scale = 100 * GRID / total
    parts = (
        max(0, user - guest),
        system,
        idle,
        total - idle,
        max(0, nice - guest_nice),
        iowait,
        irq,
        softirq,
        steal,
        guest,
        guest_nice,
    )
    return tuple([round(part * scale) / GRID for part in parts])


def busy_percent(busy_ms: int, elapsed_s: float) -> float:
    """Share of `elapsed_s` that a device was busy, at most 100 (the kernel rounds busy time up)."""
    return min(100.0, percent(busy_ms, elapsed_s * 1000)) if elapsed_s > 0 and busy_ms > 0 else 0.0


def mean_wait_ms(waited_ms: int, requests: int) -> float:
    """Average wait of a request; 0 when there was none."""
    return round(waited_ms / requests * GRID) / GRID if requests > 0 and waited_ms > 0 else 0.0


def per_second(before: float, after: float, elapsed_s: float) -> float:
    """Rise of a counter per second, rounded to a whole number; 0 when it was reset or no time has passed."""
    return float(round((after - before) / elapsed_s)) if after > before and elapsed_s > 0 else 0.0
