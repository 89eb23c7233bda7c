"""What every part of fleetwatch shares: the wire messages, the metric catalogue, settings."""

VERSION = "0.1.0"
"""Version of the product; every distribution of the workspace carries the same."""

PROTOCOL = 1
"""Version of the wire protocol. A collector takes agents of its own version and of all older ones; a newer agent is
told so in words and keeps spooling."""
