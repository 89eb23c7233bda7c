"""The spool: samples on disk until they are stored."""

from fleetwatch_agent.spool.errors import SpoolNewer, SpoolUnusable
from fleetwatch_agent.spool.figures import Figures, Limits
from fleetwatch_agent.spool.spool import Spool

__all__ = ["Figures", "Limits", "Spool", "SpoolNewer", "SpoolUnusable"]
