"""What is remembered of an agent between its streams, so that connecting again does not reset a limit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fleetwatch_proto.v1.ingest_pb2 import Nack

from fleetwatch_collector.completeness import Spool
from fleetwatch_collector.errors import CallRefused, Refused, Why
from fleetwatch_collector.layout import Plan
from fleetwatch_collector.limits import Allowance
from fleetwatch_collector.settings import CollectorSettings

MOST_PLANS = 8
MOST_SPOOLS = 4
MOST_WATERMARKS = 100_000
FORGET_AFTER_S = 3600.0

MESSAGE_POINTS = 10
"""What any message costs at least, in points: small messages cost processor time too."""


class Account:
    """Rates, schemas and spools of one agent."""

    __slots__ = ("agent_id", "idle_since_s", "plans", "points", "said_goodbye", "series", "spools")

    def __init__(self, agent_id: str, settings: CollectorSettings, now_s: float) -> None:
        self.agent_id = agent_id
        self.points = Allowance(settings.points_per_s, settings.points_burst, now_s)
        per_minute = settings.new_series_per_minute
        self.series = Allowance(per_minute / 60, per_minute, now_s)
        self.plans: dict[int, Plan] = {}  # the longest unused first
        self.spools: dict[str, Spool] = {}
        self.idle_since_s: float | None = now_s
        self.said_goodbye = False

    def admit(self, plan: Plan, now_s: float) -> None:
        """Takes a schema into use.

        The series of an agent's first schema are free, so that a restarted collector takes everybody back at once.

        Raises:
            Refused: RETRY, the agent adds series faster than allowed.
        """
        if plan.schema_id not in self.plans and self.plans:
            wait_s = self.series.wait_s(now_s)
            if wait_s > 0:
                detail = "new series are added faster than allowed: this schema is taken later"
                raise Refused(Nack.RETRY, detail, retry_after_ms=int(wait_s * 1000) + 1)
            known = np.concatenate([one.series for one in self.plans.values()])
            self.series.spend(len(np.setdiff1d(plan.series, known)), now_s)
        self.plans.pop(plan.schema_id, None)
        self.plans[plan.schema_id] = plan
        if len(self.plans) > MOST_PLANS:
            del self.plans[next(iter(self.plans))]


class Accounts:
    """All accounts. `watermarks` are the kept ones, by agent and spool."""

    def __init__(self, settings: CollectorSettings, watermarks: Mapping[tuple[str, str], int]) -> None:
        self._settings = settings
        self._watermarks = dict(watermarks)
        self._unsaved: dict[tuple[str, str], int] = {}
        self._accounts: dict[str, Account] = {}

    def find_or_make(self, agent_id: str, now_s: float) -> Account:
        """The account of an agent."""
        account = self._accounts.get(agent_id)
        if account is None:
            self._make_room()
            account = self._accounts[agent_id] = Account(agent_id, self._settings, now_s)
        return account

    def _make_room(self) -> None:
        """Forgets an agent that is not here when there are too many.

        Raises:
            CallRefused: all of them are here.
        """
        if len(self._accounts) < self._settings.max_hosts:
            return
        idle = next((one for one in self._accounts.values() if one.idle_since_s is not None), None)
        if idle is None:
            detail = f"{self._settings.max_hosts} agents are known, no more are taken: raise max_hosts"
            raise CallRefused(Why.EXHAUSTED, detail)
        self._forget(idle)

    def spool(self, account: Account, spool_id: str, first_unacked: int, next_seq: int) -> Spool:
        """The sequence of a spool: as it was left, as it was kept, or new."""
        spool = account.spools.pop(spool_id, None)
        if spool is None:
            kept = self._watermarks.pop((account.agent_id, spool_id), None)
            spool = Spool.first_seen(first_unacked, next_seq) if kept is None else Spool(kept)
        account.spools[spool_id] = spool
        if len(account.spools) > MOST_SPOOLS:
            del account.spools[next(iter(account.spools))]
        return spool

    def take_changed(self) -> dict[tuple[str, str], int]:
        """Watermarks that changed since the last call, to be made to last."""
        marks, self._unsaved = self._unsaved, {}
        for account in self._accounts.values():
            for spool_id, spool in account.spools.items():
                if spool.up_to != spool.saved:
                    spool.saved = marks[account.agent_id, spool_id] = spool.up_to
        return marks

    def put_back(self, marks: Mapping[tuple[str, str], int]) -> None:
        """Watermarks that could not be saved."""
        self._unsaved = {**marks, **self._unsaved}

    def forget_idle(self, now_s: float) -> None:
        """Drops what was not used for an hour; the watermarks of these agents stay."""
        for account in list(self._accounts.values()):
            if account.idle_since_s is not None and now_s - account.idle_since_s > FORGET_AFTER_S:
                self._forget(account)

    def _forget(self, account: Account) -> None:
        for spool_id, spool in account.spools.items():
            self._watermarks[account.agent_id, spool_id] = spool.up_to
        del self._accounts[account.agent_id]
        while len(self._watermarks) > MOST_WATERMARKS:
            del self._watermarks[next(iter(self._watermarks))]
