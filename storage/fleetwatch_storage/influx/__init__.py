"""InfluxDB 1, 2 and 3 as a store: line protocol in, InfluxQL out."""
