"""What is not a time series: hosts, alert state, notifications. SQLAlchemy Core on SQLite or PostgreSQL."""
