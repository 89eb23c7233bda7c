"""Aggregates over steps as SQL. Pure."""

from __future__ import annotations

from fleetwatch_storage.embedded.names import Field

_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def of_samples(aggregate: str, field: Field) -> str:
    """SQL over the samples of a step; NULL where none has the field."""
    column = field.column
    if aggregate in _PERCENTILES:
        return _nearest_rank(column, _PERCENTILES[aggregate])
    return {
        "avg": f"avg({column})",
        "min": f"min({column})",
        "max": f"max({column})",
        "sum": f"sum({column})",
        "count": f"nullif(count({column}), 0)::DOUBLE",
        "last": f"arg_max({column}, ts)",
        "first": f"arg_min({column}, ts)",
        "median": f"median({column})",
        "stddev": f"stddev_samp({column})",
    }[aggregate]


def of_forms(aggregate: str, field: Field) -> str:
    """SQL over rows that each stand for several samples, in the forms of `rolled.FORMS` named `f7_s` and so on."""
    f = field.column
    if aggregate in _PERCENTILES:
        return _nearest_rank(f"{f}_v", _PERCENTILES[aggregate])
    return {
        "avg": f"sum({f}_s) / sum({f}_c)",
        "min": f"min({f}_m)",
        "max": f"max({f}_x)",
        "sum": f"sum({f}_s)",
        "count": f"sum({f}_c)::DOUBLE",
        "last": f"arg_max({f}_l, ts)",
        "first": f"arg_min({f}_v, ts)",
        "median": f"median({f}_v)",
        "stddev": f"stddev_samp({f}_v)",
    }[aggregate]


def _nearest_rank(column: str, percent: int) -> str:
    """As `query.AGGREGATES` defines it; DuckDB's quantile_disc counts differently."""
    rank = f"greatest(1, floor(count({column}) * {percent} / 100 + 0.5))::BIGINT"
    return f"list_sort(list({column}) FILTER ({column} IS NOT NULL))[{rank}]"
