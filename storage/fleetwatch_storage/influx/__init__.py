"""InfluxDB 1, 2 and 3: line protocol in, InfluxQL out."""
