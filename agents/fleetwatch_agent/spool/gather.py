"""Which samples make a batch. Pure."""

from __future__ import annotations

from fleetwatch_agent.samples import Sample

_MOST_OPEN_BYTES = 512 * 1024
_LONGEST_MS = 3600 * 1000


def grouped(opened: list[Sample], sample: Sample, ship: bool) -> tuple[list[list[Sample]], list[Sample]]:
    """The groups of samples that become batches now, and the samples that stay open.

    A batch has one schema, rising times, at most one process table (its last row's), and a bounded size.
    """
    groups = []
    if opened and not _fits(opened, sample):
        groups.append(opened)
        opened = []
    gathered = [*opened, sample]
    size = len(gathered) * len(sample.values) * 8
    if ship or sample.processes or size >= _MOST_OPEN_BYTES:
        return [*groups, gathered], []
    return groups, gathered


def _fits(opened: list[Sample], sample: Sample) -> bool:
    rising = opened[-1].t_ms < sample.t_ms < opened[0].t_ms + _LONGEST_MS
    return rising and opened[0].schema_id == sample.schema_id
