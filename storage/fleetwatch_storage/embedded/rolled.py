"""The columns of roll-ups: what stands in them, and SQL that gives it back. Pure.

Every row has `n` (samples), and `k` and `t` (rises of a counter, and the milliseconds they took) where there are
counters. A field with id 7 has of these what is kept of it: `m7` minimum, `x7` maximum, `s7` sum, `c7` count, `l7`
last, `i7` increase, `k7`, `t7`. To be small, `d7` (maximum less minimum) and `e7` (sum less count times minimum)
stand for maximum and sum where nothing is lost by it, and `c7`, `k7`, `t7` are left out where they equal `n`, `k`, `t`.
"""

from __future__ import annotations

from collections.abc import Collection

from fleetwatch_storage.embedded.names import Field

FORMS = ("v", "s", "c", "m", "x", "l")
"""How an aggregate may want a value: representative, sum, count, minimum, maximum, last."""


def form(field: Field, name: str, columns: Collection[str]) -> str:
    """SQL of one form of a field in files of a roll-up with these columns; NULL where it was not kept."""
    f, has_spread, has_last = field.id, f"m{field.id}" in columns, f"l{field.id}" in columns
    if not has_spread and not has_last:
        return "NULL::DOUBLE"
    if name == "c":
        return count(field, columns)
    if name == "l":
        return f"l{f}" if has_last else _mean(field, columns)
    if not has_spread:
        return f"l{f} * {count(field, columns)}" if name == "s" else f"l{f}"
    if name in ("m", "x"):
        return f"m{f}" if name == "m" else _either([f"x{f}", f"d{f}"], columns, [f"x{f}", f"m{f} + d{f}"])
    return total(field, columns) if name == "s" else _mean(field, columns)


def _either(needed: list[str], columns: Collection[str], expressions: list[str]) -> str:
    """The first of the expressions that has a value, of those whose column is there; merged files may have several."""
    there = [expression for column, expression in zip(needed, expressions, strict=True) if column in columns]
    return there[0] if len(there) == 1 else f"coalesce({', '.join(there)})"


def count(field: Field, columns: Collection[str]) -> str:
    """SQL of how many samples had the field."""
    f = field.id
    all_of_them = f"CASE WHEN {f'm{f}' if f'm{f}' in columns else f'l{f}'} IS NOT NULL THEN n END"
    return _either([f"c{f}", "n"], columns, [f"c{f}", all_of_them])


def total(field: Field, columns: Collection[str]) -> str:
    """SQL of the sum of the field's samples."""
    f = field.id
    return _either([f"s{f}", f"e{f}"], columns, [f"s{f}", f"(m{f} * ({count(field, columns)}) + e{f})"])


def _mean(field: Field, columns: Collection[str]) -> str:
    return f"{total(field, columns)} / ({count(field, columns)})"


def increase(field: Field, columns: Collection[str]) -> str:
    """SQL of how much the counter rose."""
    return f"i{field.id}" if f"i{field.id}" in columns else "NULL::DOUBLE"


def rises(field: Field, columns: Collection[str]) -> str:
    """SQL of how many intervals that is the sum of."""
    f = field.id
    if f"i{f}" not in columns:
        return "NULL::DOUBLE"
    return _either([f"k{f}", "k"], columns, [f"k{f}", f"CASE WHEN i{f} IS NOT NULL THEN k END"])


def rate(field: Field, columns: Collection[str]) -> str:
    """SQL of how much the counter rose per second while it did."""
    f = field.id
    if f"i{f}" not in columns:
        return "NULL::DOUBLE"
    return f"i{f} * 1000 / {_either([f't{f}', 't'], columns, [f't{f}', 't'])}"
