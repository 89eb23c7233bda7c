"""Answers of DuckDB as plain numpy columns."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from duckdb import DuckDBPyConnection

Columns: TypeAlias = dict[str, npt.NDArray[Any]]


def columns(connection: DuckDBPyConnection, statement: str) -> Columns:
    """The answer of a statement by column name, each (n,); numbers that are NULL become NaN, texts None."""
    return {name: plain(column) for name, column in connection.execute(statement).fetchnumpy().items()}


def plain(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A fetched column without its mask."""
    if not np.ma.isMaskedArray(column):
        return column
    values: npt.NDArray[Any] = np.ma.getdata(column)
    if np.ma.is_masked(column):
        values = values if values.dtype == object else values.astype(np.float64)
        values[np.ma.getmaskarray(column)] = None if values.dtype == object else np.nan
    return values
