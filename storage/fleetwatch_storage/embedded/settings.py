"""Settings of the embedded store. Not slotted, so that a process can inherit them into its own flat settings."""

from __future__ import annotations

from dataclasses import dataclass

from fleetwatch_proto.settings import setting

_DAY_S = 86_400.0


@dataclass(frozen=True)
class EmbeddedSettings:
    """How the embedded store uses memory, disk and time."""

    store_threads: int = setting(1, "threads DuckDB may use for one query; one is the cheapest in processor time")
    store_memory_bytes: int = setting(384 << 20, "memory DuckDB may use", "bytes")
    store_checkpoint_bytes: int = setting(
        256 << 20, "write-ahead log at which DuckDB checkpoints, inside a commit", "bytes"
    )
    store_window_bytes: int = setting(192 << 20, "memory for the last rows of every series", "bytes")
    store_min_free_bytes: int = setting(768 << 20, "writes are refused while less is free on the store's disk", "bytes")
    store_budget_bytes: int = setting(
        0, "the oldest samples are dropped when the store grows over this; 0: no limit", "bytes"
    )
    seal_lateness_s: float = setting(
        600.0, "an hour is sealed this long after it closed and was last written to", "duration"
    )
    keep_raw_s: float = setting(7 * _DAY_S, "samples as taken are kept this long", "duration")
    keep_1m_s: float = setting(30 * _DAY_S, "one-minute roll-ups are kept this long", "duration")
    keep_5m_s: float = setting(365 * _DAY_S, "five-minute roll-ups are kept this long", "duration")
    keep_1h_s: float = setting(5 * 365 * _DAY_S, "one-hour roll-ups are kept this long", "duration")
    store_maintenance_s: float = setting(
        30.0, "how often sealing, roll-ups and retention are looked after; 0: only when asked", "duration"
    )
    seal_share: float = setting(0.5, "share of one processor that sealing may use")
    store_max_fields: int = setting(512, "most fields of a measurement; rows with one more are refused")
    store_max_measurements: int = setting(4096, "most measurements; rows of one more are refused")
    store_max_series: int = setting(2_000_000, "most series of a measurement; rows of one more are refused")
    max_answer_rows: int = setting(20_000_000, "a query with a larger answer is refused")
