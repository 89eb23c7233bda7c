"""InfluxDB line protocol: text to frames and frames to text. Pure: no I/O, `now` is an argument."""
