"""InfluxDB line protocol: text to frames and frames to text."""
