"""Retention: which files are too old, or the oldest in a store that has grown over its budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleetwatch_storage.embedded.layout import Layout, SealedFile, Tier
from fleetwatch_storage.embedded.settings import EmbeddedSettings

BYTES_PER_POINT: Mapping[Tier, float] = {Tier.RAW: 1.2, Tier.MINUTE: 0.55, Tier.FIVE_MINUTES: 0.13, Tier.HOUR: 0.02}
"""Measured with tests/benchmarks/bench_store.py, per point taken; `HOT_BYTES_PER_POINT` before sealing."""

HOT_BYTES_PER_POINT = 3.7


def keep_s(settings: EmbeddedSettings) -> dict[Tier, float]:
    """How long each tier is kept, in seconds."""
    return {
        Tier.RAW: settings.keep_raw_s,
        Tier.MINUTE: settings.keep_1m_s,
        Tier.FIVE_MINUTES: settings.keep_5m_s,
        Tier.HOUR: settings.keep_1h_s,
    }


def expired(layout: Layout, settings: EmbeddedSettings, now_ms: int) -> list[SealedFile]:
    """Files whose rows are all older than their tier is kept."""
    oldest = {tier: now_ms - int(kept * 1000) for tier, kept in keep_s(settings).items()}
    return [file for file in layout.all_files() if file.end_ms <= oldest[file.tier]]


def over_budget(layout: Layout, budget_bytes: int, hot_bytes: int) -> list[SealedFile]:
    """The oldest files to drop until the store is within its budget, finest tier first; none without a budget.

    A quarter of the budget always remains for files: what is hot cannot be dropped and must not empty the history.
    """
    dropped: list[SealedFile] = []
    sealed_bytes = sum(file.bytes for file in layout.all_files())
    too_much = sealed_bytes - max(budget_bytes - hot_bytes, budget_bytes // 4) if budget_bytes else 0
    for file in sorted(layout.all_files(), key=lambda one: (list(Tier).index(one.tier), one.start_ms)):
        if too_much <= 0:
            break
        dropped.append(file)
        too_much -= file.bytes
    return dropped


def estimate_bytes(settings: EmbeddedSettings, points_per_s: float) -> dict[str, int]:
    """How much disk a steady stream of points will take per tier once retention is reached, and `hot` for what is not
    sealed; with a budget the store stays within it."""
    hot_s = 2 * 3600 + settings.seal_lateness_s
    kept = {tier.value: BYTES_PER_POINT[tier] * seconds * points_per_s for tier, seconds in keep_s(settings).items()}
    return {name: int(size) for name, size in (*kept.items(), ("hot", HOT_BYTES_PER_POINT * hot_s * points_per_s))}
