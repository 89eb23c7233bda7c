"""The fleetwatch agent: reads a host, keeps samples on disk until they are stored, sends them."""

from fleetwatch_proto import VERSION

__version__ = VERSION
