"""Alerting: YAML rules, a pure engine, notifications that are not lost."""
