"""GET /api/v1/catalog: measurements, fields, units."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fleetwatch_proto.catalog import BY_NAME, MEASUREMENTS, Field, Measurement

from fleetwatch_dashboard.sources import Found

router = APIRouter(prefix="/api/v1", tags=["catalog"])


@router.get("/catalog", summary="Measurements with their tags, fields and units")
async def get_catalog(found: Found) -> dict[str, Any]:
    """The catalogue of what agents send, and `custom`: measurements that hosts sent beyond it."""
    known = await found.ask(found.store.series)
    custom: dict[str, tuple[set[str], set[str]]] = {}
    for key in known:
        if key.measurement not in BY_NAME:
            tags, fields = custom.setdefault(key.measurement, (set(), set()))
            tags.update(tag for tag, _ in key.tags)
            fields.update(key.fields)
    return {
        "measurements": [_measurement(one) for one in MEASUREMENTS],
        "custom": [
            {"name": name, "tags": sorted(tags), "fields": sorted(fields)}
            for name, (tags, fields) in sorted(custom.items())
        ],
    }


def _measurement(one: Measurement) -> dict[str, Any]:
    fields = [_field(field) for field in one.fields]
    return {"name": one.name, "description": one.description, "tags": list(one.tags), "fields": fields}


def _field(one: Field) -> dict[str, Any]:
    return {
        "name": one.name,
        "unit": one.unit,
        "kind": one.kind,
        "description": one.description,
        "bad": one.bad,
        "levels": one.levels,
    }
