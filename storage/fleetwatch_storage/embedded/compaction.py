"""Compaction: the small files of a closed day or month of roll-ups become one. Which ones is decided here, purely."""

from __future__ import annotations

from collections.abc import Mapping

from fleetwatch_storage.embedded.layout import Layout, SealedFile, Tier
from fleetwatch_storage.embedded.rows import HOUR_MS

_DAY_MS = 24 * HOUR_MS
_SPANS: Mapping[Tier, tuple[int, ...]] = {
    Tier.MINUTE: (_DAY_MS,),
    Tier.FIVE_MINUTES: (_DAY_MS, 10 * _DAY_MS),
    Tier.HOUR: (_DAY_MS, 30 * _DAY_MS),
}
"""How much time the files of a tier are brought together for."""


def due(layout: Layout, now_ms: int, lateness_ms: int) -> list[list[SealedFile]]:
    """Groups of files that should become one each; none of an hour that still has hot tables."""
    hot: dict[int, set[int]] = {}
    for measurement, hour in layout.hot:
        hot.setdefault(measurement, set()).add(hour)
    return [
        group
        for (tier, measurement), files in layout.files.items()
        for span in _SPANS.get(tier, ())
        for start, group in _groups(files, span)
        if len(group) > 1
        and start + span + lateness_ms <= now_ms
        and not any(start <= hour < start + span for hour in hot.get(measurement, ()))
    ]


def _groups(files: tuple[SealedFile, ...], span: int) -> list[tuple[int, list[SealedFile]]]:
    """Files of the same slice that lie in the same span of time, by its start."""
    groups: dict[tuple[int, int], list[SealedFile]] = {}
    for file in files:
        start = file.start_ms // span * span
        if file.end_ms <= start + span:
            groups.setdefault((start, file.slice), []).append(file)
    return [(start, group) for (start, _), group in groups.items()]
