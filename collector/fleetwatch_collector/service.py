"""The collector as one part: built from settings, a store and the host directory."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable

import structlog
from fleetwatch_proto.settings import read_secret
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.store import Store
from prometheus_client import CollectorRegistry

from fleetwatch_collector.accounts import Accounts
from fleetwatch_collector.batcher import Batcher
from fleetwatch_collector.clock import now_ms
from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.events import Events
from fleetwatch_collector.imports import ImportService
from fleetwatch_collector.ingest import Ingest
from fleetwatch_collector.intake import Intake
from fleetwatch_collector.layout import Plans
from fleetwatch_collector.limits import Budget
from fleetwatch_collector.live import Hub
from fleetwatch_collector.metrics import CallMetrics, Tally, TallyMetrics
from fleetwatch_collector.pipeline import Pipeline
from fleetwatch_collector.presence import Presence
from fleetwatch_collector.quarantine import Quarantine
from fleetwatch_collector.queries import QueryService
from fleetwatch_collector.server import Server, Services
from fleetwatch_collector.session import Parts
from fleetwatch_collector.sessions import Sessions
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_collector.upkeep import Upkeep
from fleetwatch_collector.watching import Watching

_RECONNECT_AFTER_MS = 500
_FOR_THE_LAST_ACKS_S = 0.5
_FOR_THE_REST_S = 1.5
_RESTART_S = 1.0

_log = structlog.get_logger()


class Collector:
    """Takes samples from agents and answers queries. Start and stop it on the event loop that runs it.

    `live` shows frames as they arrive, `port` is what it listens on, `registry` has its metrics.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        store: Store,
        directory: HostDirectory,
        *,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._settings, self._store, self._directory = settings, store, directory
        self._token = None if settings.token_file is None else read_secret(settings.token_file)
        self.registry = CollectorRegistry() if registry is None else registry
        self.port = 0
        self._tally = Tally()
        self._budget = Budget(settings.byte_budget)
        self.live = Hub(settings.watch_queue, self._tally)
        self._events = Events(self._tally)
        self._presence = Presence(directory, self._events, settings.max_hosts)
        self._accounts = Accounts(settings, directory.watermarks())
        self._sessions = Sessions(self._accounts, settings.max_future * 1000)
        self._batcher = self._make_batcher()
        self._ingest = self._make_ingest()
        self._queries = QueryService(settings, store, self.live)
        self._upkeep = Upkeep(directory, self._presence, self._events, self._accounts, settings.directory_interval)
        self._server = self._make_server()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listens and works until `stop`.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        collect_garbage_seldom()
        self._presence.nobody_is_here()
        self.port = await self._server.start()
        watching = Watching(self.live, self._sessions, self._settings)
        for work in (self._batcher.run, watching.run, self._upkeep.run):
            self._tasks.append(asyncio.create_task(_keep(work)))
        _log.info("collector listens", address=self._settings.grpc, port=self.port)

    async def stop(self, grace_s: float = 8.0) -> None:
        """Tells the agents, stops reading, makes durable and acknowledges what was read, closes. Idempotent."""
        end_s = time.monotonic() + max(1.0, grace_s - _FOR_THE_REST_S)
        await self._server.announce_end()
        self._ingest.reading = False
        closing = asyncio.create_task(self._server.stop(end_s - time.monotonic()))  # from here on no new call is taken
        for session in self._sessions.all():
            session.drain(_RECONNECT_AFTER_MS)
        self._intake.turn()
        drained = await self._batcher.drain(max(0.1, end_s - time.monotonic() - _FOR_THE_LAST_ACKS_S))
        if not drained:
            _log.warning("the store did not take everything in time; agents keep what was not acknowledged")
        await self._sessions.all_told(_FOR_THE_LAST_ACKS_S)
        self._sessions.end_all(CallRefused(Why.STOPPING, "the collector is going away"))
        self.live.close()
        await asyncio.wait(
            {closing}, timeout=max(0.1, end_s - time.monotonic())
        )  # calls that linger end with the process
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._upkeep.save()
        self._batcher.close()
        self._queries.close()
        _log.info("collector stopped", everything_stored=drained)

    def vitals(self) -> dict[str, float]:
        """The fields of `fleetwatch_collector`."""
        tally = self._tally
        counts = (
            "batches",
            "points",
            "bytes",
            "duplicates",
            "rejected_batches",
            "quarantined_lines",
            "retries",
            "live_skipped",
        )
        return {name: float(getattr(tally, name)) for name in counts} | self._readings()

    def _readings(self) -> dict[str, float]:
        return {
            "agents": float(len(self._sessions)),
            "pending_bytes": float(self._budget.used),
            "commit_seconds": self._batcher.last_commit_s,
        }

    def _make_batcher(self) -> Batcher:
        quarantine = Quarantine(self._settings.data_dir, self._settings.quarantine_bytes)

        def told(reason: str, count: int) -> None:
            self._presence.quarantined("", reason, count, now_ms())

        return Batcher(self._store, self._settings, self._tally, quarantine, told, random.Random())  # noqa: S311 - jitter

    def _make_ingest(self) -> Ingest:
        pipeline = Pipeline(self.live, self._batcher, self._presence, self._tally, self._settings.max_future * 1000)
        self._intake = Intake(pipeline.decoded)
        parts = Parts(
            settings=self._settings,
            plans=Plans(),
            intake=self._intake,
            budget=self._budget,
            presence=self._presence,
            tally=self._tally,
            own_clock_suspect=self._sessions.own_clock_suspect,
        )
        return Ingest(self._sessions, parts)

    def _make_server(self) -> Server:
        imports = ImportService(self._settings, self._batcher, self._budget, self._tally)
        metrics = CallMetrics(self.registry)
        self.registry.register(TallyMetrics(self._tally, self._readings))
        return Server(self._settings, Services(self._ingest, imports, self._queries), metrics, self._token)


def collect_garbage_seldom() -> None:
    """Sets Python's collector of cycles, for the whole process, to runs that are rare.

    With ten thousand streams open its default took a quarter of all processor time (7 s of 27) to find nothing:
    sessions and batches are freed by counting references.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _keep(work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` again when it fails in a way nobody foresaw."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - a part that dies in silence would stop the whole collector
            _log.exception("unexpected failure; going on")
        await asyncio.sleep(_RESTART_S)
