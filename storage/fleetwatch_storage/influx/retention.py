"""The database, how long it keeps samples, and its roll-ups. InfluxDB 1 only: 2 and 3 keep these with the bucket.

Samples go to the database's default retention policy, which is `raw` in a database made here. A continuous query writes
mean, min, max, count and last of every field and five minutes to the policy `rollup`, looking one hour back for late
rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fleetwatch_storage.influx.influxql import Statement, identifier
from fleetwatch_storage.influx.schema import Ask

RAW, ROLLUP = "raw", "rollup"
ROLLUP_MS = 300_000
_ROLLUP_QUERY = "fleetwatch_rollup"
_UNITS_S = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a database keeps samples and roll-ups, seconds; 0: for ever. `rollup_s` None: there are none."""

    raw_s: int
    rollup_s: int | None


def prepare(ask: Ask, database: str, raw_s: int, rollup_s: int) -> Kept:
    """Makes the database where it is missing and its retention as wanted; `rollup_s` 0: no roll-ups.

    The default policy of a database that was there before is not touched.

    Raises:
        QueryFailed: the server refuses, for example because the user may not.
        StoreUnavailable: no answer.
    """
    if database not in _names(ask, "SHOW DATABASES"):
        _run(ask, f"CREATE DATABASE {identifier(database)} WITH {_duration(raw_s)} NAME {identifier(RAW)}")
    policies = _policies(ask, database)
    if RAW in policies and policies[RAW].seconds != raw_s:
        _run(ask, f"ALTER RETENTION POLICY {identifier(RAW)} ON {identifier(database)} {_duration(raw_s)}")
    if rollup_s:
        _prepare_rollup(ask, database, policies, rollup_s)
    elif _ROLLUP_QUERY in _continuous_queries(ask, database):
        _run(ask, f"DROP CONTINUOUS QUERY {identifier(_ROLLUP_QUERY)} ON {identifier(database)}")
    return kept(ask, database)


def kept(ask: Ask, database: str) -> Kept:
    """What a database is set to.

    Raises:
        QueryFailed: the user may not ask.
        StoreUnavailable: no answer.
    """
    policies = _policies(ask, database)
    raw = next((policy.seconds for policy in policies.values() if policy.default), 0)
    return Kept(raw, policies[ROLLUP].seconds if ROLLUP in policies else None)


@dataclass(frozen=True, slots=True)
class _Policy:
    seconds: int
    default: bool


def _prepare_rollup(ask: Ask, database: str, policies: Mapping[str, _Policy], rollup_s: int) -> None:
    on = f"{identifier(ROLLUP)} ON {identifier(database)} {_duration(rollup_s)}"
    if ROLLUP not in policies:
        _run(ask, f"CREATE RETENTION POLICY {on}")
    elif policies[ROLLUP].seconds != rollup_s:
        _run(ask, f"ALTER RETENTION POLICY {on}")
    if _ROLLUP_QUERY not in _continuous_queries(ask, database):
        _run(ask, _rollup_query(database, next(name for name, policy in policies.items() if policy.default)))


def _rollup_query(database: str, raw: str) -> str:
    into, taken = (f"{identifier(database)}.{identifier(policy)}" for policy in (ROLLUP, raw))
    return (
        f"CREATE CONTINUOUS QUERY {identifier(_ROLLUP_QUERY)} ON {identifier(database)} RESAMPLE EVERY 5m FOR 1h "
        f"BEGIN SELECT mean(*), min(*), max(*), count(*), last(*) INTO {into}.:MEASUREMENT FROM {taken}./.*/ "
        f"GROUP BY time({ROLLUP_MS // 1000}s), * END"
    )


def _policies(ask: Ask, database: str) -> dict[str, _Policy]:
    found = {}
    for part in ask(Statement(f"SHOW RETENTION POLICIES ON {identifier(database)}", ())):
        for row in part.get("values", ()):
            one = dict(zip(part["columns"], row, strict=True))
            found[one["name"]] = _Policy(_seconds(one["duration"]), bool(one["default"]))
    return found


def _continuous_queries(ask: Ask, database: str) -> list[str]:
    everywhere = ask(Statement("SHOW CONTINUOUS QUERIES", ()))
    return [row[0] for part in everywhere if part.get("name") == database for row in part.get("values", ())]


def _names(ask: Ask, text: str) -> list[str]:
    return [row[0] for part in ask(Statement(text, ())) for row in part.get("values", ())]


def _run(ask: Ask, text: str) -> None:
    for _ in ask(Statement(text, ())):
        pass


def _duration(seconds: int) -> str:
    """A shard must not last longer than the policy: InfluxDB's own choice for new policies, kept when they change."""
    shard = "1h" if 0 < seconds < 2 * 86_400 else "1d" if 0 < seconds <= 180 * 86_400 else "7d"
    return f"DURATION {f'{seconds}s' if seconds else 'INF'} REPLICATION 1 SHARD DURATION {shard}"


def _seconds(text: str) -> int:
    """Seconds of `168h0m0s`."""
    return sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([hms])", text))
