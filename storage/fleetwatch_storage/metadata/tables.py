"""The metadata schema. Times are unix milliseconds; JSON columns hold objects with text keys, or lists of them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("agent_version", sa.Text, nullable=False),
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("interval_ms", sa.BigInteger, nullable=False),
    sa.Column("connected", sa.Boolean, nullable=False),
    sa.Column("goodbye_until_ms", sa.BigInteger, nullable=False),
    sa.Column("clock_offset_ms", sa.Float, nullable=False),
    sa.Column("expected", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False),
    sa.Column("late", sa.BigInteger, nullable=False),
    sa.Column("lost", sa.BigInteger, nullable=False),
)

spools = sa.Table(
    "spools",
    metadata,
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("spool_id", sa.Text, primary_key=True),
    sa.Column("up_to", sa.BigInteger, nullable=False),  # every batch up to here was taken once: statistics, not dedup
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    # agent_started, agent_stopped, reboot, clock_step, points_lost, cloned_machine, quarantine
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("events_by_host", "host", "at_ms"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),  # 16 hex digits of rule uid and group labels
    sa.Column("rule_uid", sa.Text, nullable=False, index=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # inactive, pending, firing, recovering
    sa.Column("level", sa.Text, nullable=False),  # "", info, warning, critical
    sa.Column("health", sa.Text, nullable=False),  # ok, nodata, error
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("annotations", sa.JSON, nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("threshold", sa.Float),
    sa.Column("value_at_fire", sa.Float),
    sa.Column("peak", sa.Float),
    sa.Column("active_at_ms", sa.BigInteger),
    sa.Column("fired_at_ms", sa.BigInteger),
    sa.Column("resolved_at_ms", sa.BigInteger),
    sa.Column("last_eval_ms", sa.BigInteger, nullable=False),
    sa.Column("engine", sa.JSON, nullable=False),  # the engine's timers, as it wrote them
)

alert_history = sa.Table(
    "alert_history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    # pending, cleared, firing, escalated, deescalated, recovering, firing_again, resolved
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("alert_history_by_alert", "fingerprint", "at_ms"),
)

told = sa.Table(
    "told",
    metadata,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("group_key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("starts_at_ms", sa.BigInteger, nullable=False),
    sa.Column("told_at_ms", sa.BigInteger, nullable=False),
    sa.Column("provider_ref", sa.Text, nullable=False),
)

groups = sa.Table(
    "notification_groups",
    metadata,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("group_key", sa.Text, primary_key=True),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("first_wanted_ms", sa.BigInteger),  # since when something is to be told that was not yet
    sa.Column("last_sent_ms", sa.BigInteger),
    sa.Column("dead_ms", sa.BigInteger),  # when the last notification was given up, until one is delivered
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("group_key", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("notification", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending, inflight, sent, dead, superseded
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("next_at_ms", sa.BigInteger, nullable=False),
    sa.Column("lease_until_ms", sa.BigInteger),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("last_status", sa.Text, nullable=False),
    sa.Column("last_error", sa.Text, nullable=False),
    sa.Column("plain", sa.Boolean, nullable=False),  # send the smallest form: the receiver refused the full one
    sa.Column("max_alerts", sa.Integer),  # at most so many alerts: the receiver said that the body was too large
    sa.Column("give_up_ms", sa.BigInteger, nullable=False),
    sa.Index("outbox_due", "state", "next_at_ms"),
    sa.Index("outbox_by_group", "receiver", "group_key", "seq"),
)

delivery_log = sa.Table(
    "delivery_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("outbox_id", sa.Integer, nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("group_key", sa.Text, nullable=False),
    sa.Column("fingerprints", sa.JSON, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # sent, retry, pause, smaller, rejected, refused
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("duration_ms", sa.Float, nullable=False),
)

receivers = sa.Table(
    "receivers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("paused_until_ms", sa.BigInteger, nullable=False),  # nothing is sent to it before; 0: not paused
    sa.Column("reason", sa.Text, nullable=False),  # why it is paused: rate_limited, refused; empty otherwise
    sa.Column("last_error", sa.Text, nullable=False),
    sa.Column("last_sent_ms", sa.BigInteger),
)

rules = sa.Table(
    "rules",
    metadata,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("levels", sa.JSON, nullable=False),  # [{"level", "op", "threshold", "recover", "for_ms"}], mildest first
    sa.Column("condition", sa.Text, nullable=False),  # in words
    sa.Column("matchers", sa.JSON, nullable=False),  # [{"tag", "op", "value"}]
    sa.Column("source", sa.Text, nullable=False),  # file:line
)

alert_clock = sa.Table(
    "alert_clock",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),  # "tick": the newest evaluation whose outcome is kept
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
