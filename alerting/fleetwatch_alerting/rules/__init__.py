"""The rule file: what it may say, and reading it with all that is wrong named at once."""

from fleetwatch_alerting.rules.loader import check, load
from fleetwatch_alerting.rules.schema import RuleFile

__all__ = ["RuleFile", "check", "load"]
