"""What the roll-ups keep of a field, by the kind the catalogue gives it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleetwatch_proto.catalog import BY_NAME, Kind

from fleetwatch_storage.embedded.names import Field, Measurement


@dataclass(frozen=True, slots=True)
class Kept:
    """`spread`: minimum, maximum, sum; `last`: the last value; `increase`: how much a counter rose, and how long."""

    count: bool
    spread: bool
    last: bool
    increase: bool

    @property
    def aggregates(self) -> frozenset[str]:
        """Aggregates that roll-ups answer as samples would."""
        counted = ("count",) if self.count else ()
        spread = ("avg", "min", "max", "sum") if self.spread else ()
        return frozenset((*counted, *spread, *(("last",) if self.last else ())))


_GAUGE = Kept(count=True, spread=True, last=False, increase=False)
_COUNTER = Kept(count=True, spread=False, last=True, increase=True)
_TEXT = Kept(count=False, spread=False, last=False, increase=False)
_UNKNOWN = Kept(count=True, spread=True, last=True, increase=True)


def kept(measurement: Measurement, field: Field) -> Kept:
    """What is kept of a field; everything of one the catalogue does not know."""
    if field.text:
        return _TEXT
    owner = BY_NAME.get(measurement.name)
    listed = owner.field(field.name) if owner else None
    if listed is None:
        return _UNKNOWN
    return _COUNTER if listed.kind is Kind.COUNTER else _GAUGE
