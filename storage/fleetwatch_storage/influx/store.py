"""InfluxDB 1, 2 or 3 as a store. Nothing but the last rows is kept here; the server is asked when it is needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from fleetwatch_storage.errors import QueryFailed, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.hosts import Host
from fleetwatch_storage.influx import retention, schema
from fleetwatch_storage.influx.influxql import Statement, place_of
from fleetwatch_storage.influx.latest import MAX_AGE_MS, LatestRows
from fleetwatch_storage.influx.read import Reader
from fleetwatch_storage.influx.server import Server
from fleetwatch_storage.influx.verdict import Meaning, judge, unavailable
from fleetwatch_storage.influx.write import Writer
from fleetwatch_storage.metadata.hosts import HostDirectory
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.settings import InfluxSettings
from fleetwatch_storage.store import Health, SeriesKey

_REFRESH_S = 5.0
_MOST_REFRESHED = 1_000

log = structlog.get_logger()


class InfluxStore:
    """The seam over one database (1.x) or bucket (2.x, 3.x).

    Thread-safe, one writer at a time. Opening sends nothing: a server that is away is told by `health` and by
    StoreUnavailable, and is used as soon as it is there.
    """

    commit_lag_s = 0.0
    """InfluxDB answers when its log is on disk (`wal-fsync-delay = "0s"`, its default)."""

    def __init__(
        self, settings: InfluxSettings, directory: HostDirectory, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives unix seconds.

        Raises:
            ConfigError: an address or secret file that cannot be used.
        """
        self._settings, self._directory, self._clock = settings, directory, clock
        self._server = Server(settings)
        self._writer = Writer(self._server.post, self._server.url, settings.influx_database)
        self._reader = Reader(self._server, clock)
        self._latest = LatestRows()
        self._refreshed_at: dict[str, float] = {}
        self._refresh_lock = threading.Lock()
        self._writes_here, self._complete = False, True
        self._prepared = not settings.influx_create
        self._left_as_it_is = ""
        self._full: StoreUnavailable | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        """As the seam says; a database that is missing is made where the settings and the server allow it."""
        try:
            self._prepare()
            self._write(frames)
        except StoreUnavailable as error:
            self._full = error if error.reason == "full" else self._full
            if error.reason == "missing":
                self._prepared = not self._settings.influx_create
            raise
        self._full = None

    def _write(self, frames: Sequence[Frame]) -> None:
        try:
            self._writer.write(frames)
        except WriteRejected:
            self._full = None
            self._complete = False  # which rows were refused is not known here: ask the server for the last ones
            raise
        self._writes_here = True
        self._latest.add(frames)

    def _prepare(self) -> None:
        """Once, before the first write: the database and its retention."""
        if self._prepared or self._server.dialect != "v1":
            return
        settings = self._settings
        try:
            retention.prepare(
                self._reader.parts,
                settings.influx_database,
                int(settings.influx_raw_retention),
                int(settings.influx_rollup_retention),
            )
            self._left_as_it_is = ""
        except QueryFailed as error:
            self._leave_as_it_is(str(error))
        except StoreUnavailable as error:
            if error.reason != "auth":
                raise
            self._leave_as_it_is(str(error))
        self._prepared = True

    def _leave_as_it_is(self, why: str) -> None:
        """The server does not let us make the database: a write will tell whether there is one. Said once."""
        if why != self._left_as_it_is:
            log.info("influx database left as it is", database=self._settings.influx_database, reason=why)
        self._left_as_it_is = why

    def read(self, query: Query) -> Frame:
        """As the seam says."""
        return self._reader.read(query, self._directory.tags())

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        """As the seam says.

        A store that writes asks the server once, after its start, and then knows; one that only reads asks again when
        its knowledge is older than five seconds.
        """
        for name in measurements or ("",):
            self._refresh(name)
        return self._latest.latest(measurements, int(self._clock() * 1000))

    def _refresh(self, measurement: str) -> None:
        """Asks the server for last rows when it is time; while another thread does so, what is known is good enough."""
        known_s = max(self._refreshed_at.get(name, float("-inf")) for name in (measurement, ""))
        never = known_s == float("-inf")
        knows = self._writes_here and self._complete
        if not never and (knows or self._clock() - known_s < _REFRESH_S):
            return
        if not self._refresh_lock.acquire(blocking=never):
            return
        try:
            now_s = self._clock()
            since_ms = int(now_s * 1000) - MAX_AGE_MS
            rows = schema.newest_rows(self._reader.parts, self._settings.influx_database, measurement, since_ms)
            self._latest.add(one.frame() for one in rows)
            if len(self._refreshed_at) > _MOST_REFRESHED:
                self._refreshed_at.clear()
            self._refreshed_at[measurement] = now_s
            self._complete = True
        finally:
            self._refresh_lock.release()

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        """As the seam says; fields are those of the measurement."""
        database, most = self._settings.influx_database, self._settings.influx_query_rows
        known = schema.known_series(self._reader.parts, database, measurement, most)
        return schema.selected(known, where, self._directory.tags())

    def hosts(self) -> list[Host]:
        """As the directory knows them."""
        return self._directory.list()

    def health(self) -> Health:
        """As the seam says: asks for the version, reads, and sends an empty write."""
        try:
            engine = f"InfluxDB {self._server.version()}"
        except StoreUnavailable as error:
            return Health(False, False, "InfluxDB", str(error))
        reading, writing = self._problem(self._try_to_read), self._problem(self._try_to_write)
        writing = writing or str(self._full or "")
        return Health(not reading, not (reading or writing), engine, reading or writing)

    def _problem(self, trial: Callable[[], None]) -> str:
        try:
            trial()
        except (StoreUnavailable, QueryFailed) as error:
            return str(error)
        return ""

    def _try_to_read(self) -> None:
        place = place_of(self._settings.influx_database, "fleetwatch_health")
        for _ in self._reader.parts(Statement(f"SELECT * FROM {place} LIMIT 1", ())):
            pass

    def _try_to_write(self) -> None:
        answer = self._server.probe()
        verdict = judge(answer, self._clock())
        if verdict.meaning is Meaning.HOLD:
            raise unavailable(verdict, answer.status, self._server.url, self._settings.influx_database)

    def close(self) -> None:
        """Closes the connections; idempotent. Nothing waits here to be written."""
        self._server.close()
