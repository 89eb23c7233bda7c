"""A fleet of made-up hosts with an hour of believable samples, for pages, screenshots and benchmarks.

`FleetStore` answers like any store (by `fleetwatch_storage.reduce`) from frames in memory; `FakeLive` hands out frames
that a test pushes; `put_alert`, `put_rule` and `put_told` write what the alert manager would write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from fleetwatch_storage import frames, reduce
from fleetwatch_storage.frames import Frame, TagSet
from fleetwatch_storage.hosts import Completeness, Facts, Host
from fleetwatch_storage.metadata import tables
from fleetwatch_storage.metadata.hosts import Event, HostDirectory
from fleetwatch_storage.query import Matcher, Query
from fleetwatch_storage.store import Health, SeriesKey

GIB = 2.0**30
STEP_MS = 10_000
HOUR_MS = 3_600_000
GAP_MS = (41 * 60_000, 38 * 60_000)
"""From when until when before now the agent of the busy host was stopped."""

Columns = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """One made-up host and how busy it is."""

    name: str
    tags: dict[str, str]
    cpu: float
    mem: float
    mount: str
    disk: float
    io: float
    rx: float
    tx: float
    load: float
    temp: float
    process: str
    up_days: float
    silent_s: float = 0.0
    goodbye: bool = False
    hot: bool = False


_ROWS = """
web-3 prod,web,ams 97 61 / 72 4 84 412 2.31 71 ffmpeg 41
db-1 prod,db,ams 34 74 /var/lib/postgresql 86 38 61 188 0.62 54 postgres 212
db-2 prod,db,fra 12 71 /var/lib/postgresql 85 21 190 8 0.21 52 postgres 212
edge-ams-2 prod,edge,ams 9 40 / 44 1 9 9 0.2 40 varnishd 3
build-4 ci,build 3 18 /var/lib/docker 63 1 0.2 0.1 0.04 38 dockerd 0.1
cache-2 prod,cache,ams 18 84 / 41 2 310 296 0.34 49 redis-server 98
nas-1 office,storage 9 52 /tank 79 44 12 96 0.30 41 smbd 301
build-1 ci,build 78 66 /var/lib/docker 77 31 44 12 0.93 68 cc1plus 6
gpu-1 lab,gpu 41 58 /scratch 71 12 6 2 0.48 74 python3 19
web-1 prod,web,ams 38 57 / 69 3 81 398 0.44 58 php-fpm8.3 41
web-2 prod,web,ams 36 58 / 70 3 79 391 0.41 57 php-fpm8.3 41
web-4 prod,web,fra 29 55 / 66 2 64 322 0.35 55 php-fpm8.3 41
api-1 prod,api,ams 44 63 / 38 5 112 141 0.52 56 uvicorn 27
api-2 prod,api,fra 40 62 / 37 4 108 133 0.47 55 uvicorn 27
queue-1 prod,queue,ams 22 69 /var/lib/rabbitmq 33 9 54 51 0.28 50 beam.smp 98
cache-1 prod,cache,fra 15 72 / 40 2 288 279 0.30 48 redis-server 98
lb-1 prod,lb,ams 11 21 / 29 1 1200 1200 0.18 47 haproxy 160
lb-2 prod,lb,fra 8 20 / 28 1 800 800 0.12 45 haproxy 160
mail-1 prod,mail,fra 6 48 /var/vmail 58 3 3 4 0.09 44 rspamd 73
git-1 infra,git 14 64 /srv/git 61 6 9 18 0.22 46 gitaly 73
mon-1 infra,mon 5 31 /var/lib/fleetwatch 22 2 11 2 0.08 43 fleetwatch 73
"""


def made_hosts(count: int = 50) -> list[Made]:
    """The hosts of the reference screens first, then plain ones."""
    out = []
    for line in _ROWS.split("\n"):
        if not line:
            continue
        name, tags, *rest = line.split()
        cpu, mem, mount, disk, io, rx, tx, load, temp, process, up = rest
        keyed = dict(zip(("env", "role", "site"), tags.split(","), strict=False))
        out.append(
            Made(
                name,
                keyed,
                float(cpu),
                float(mem),
                mount,
                float(disk),
                float(io),
                float(rx),
                float(tx),
                float(load),
                float(temp),
                process,
                float(up),
                silent_s=72 if name == "edge-ams-2" else 200 if name == "build-4" else 0,
                goodbye=name == "build-4",
                hot=name == "web-3",
            )
        )
    rng = np.random.default_rng(11)
    for number in range(len(out), count):
        cpu, mem, disk = rng.uniform(2, 60), rng.uniform(15, 75), rng.uniform(10, 75)
        tags = {"env": "prod", "role": "node", "site": ("ams", "fra")[number % 2]}
        out.append(
            Made(
                f"node-{number:03}",
                tags,
                cpu,
                mem,
                "/",
                disk,
                rng.uniform(0, 20),
                20,
                35,
                cpu / 70,
                45,
                "nginx",
                float(number),
            )
        )
    return out[:count]


@dataclass
class _Builder:
    """Columns of one measurement, gathered series by series."""

    time: list[Any] = field(default_factory=list)
    host: list[Any] = field(default_factory=list)
    tagset: list[Any] = field(default_factory=list)
    tagsets: dict[TagSet, int] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, code: int, tags: Mapping[str, str], at: Any, columns: Columns) -> None:
        key = tuple(sorted(tags.items()))
        tagset = self.tagsets.setdefault(key, len(self.tagsets))
        self.time.append(at)
        self.host.append(np.full(len(at), code, np.int32))
        self.tagset.append(np.full(len(at), tagset, np.int32))
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(np.asarray(values))

    def frame(self, measurement: str, hosts: Sequence[str]) -> Frame:
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        return Frame(
            measurement,
            np.concatenate(self.time),
            np.concatenate(self.host),
            tuple(hosts),
            np.concatenate(self.tagset),
            tuple(self.tagsets),
            columns,
        )


def samples(
    hosts: Sequence[Made], now_ms: int, span_ms: int = HOUR_MS, step_ms: int = STEP_MS, cores: int = 4
) -> list[Frame]:
    """Frames of every measurement the pages show, up to `now_ms`."""
    builders: dict[str, _Builder] = {}
    rng = np.random.default_rng(3)
    for code, host in enumerate(hosts):
        end = now_ms - int(host.silent_s * 1000)
        at = np.arange(now_ms - span_ms, end, step_ms, dtype=np.int64) // 1000 * 1000
        if host.hot:
            at = at[(at < now_ms - GAP_MS[0]) | (at > now_ms - GAP_MS[1])]
        for measurement, tags, columns in _host(host, at, now_ms, rng, cores):
            builders.setdefault(measurement, _Builder()).add(code, tags, at, columns)
    return [builder.frame(name, [host.name for host in hosts]) for name, builder in builders.items()]


def _walk(rng: np.random.Generator, n: int, base: float, noise: float, ramp: Any = None, top: float = 0.0) -> Any:
    values = base + noise * (np.sin(np.arange(n) / 17 + rng.uniform(0, 6)) * 0.6 + rng.normal(0, 0.4, n))
    if ramp is not None:
        values = values * (1 - ramp) + (top + rng.normal(0, noise * 0.35, n)) * ramp
    return np.maximum(0.05, values)


def _host(
    host: Made, at: Any, now_ms: int, rng: np.random.Generator, cores: int
) -> Iterable[tuple[str, dict[str, str], Columns]]:
    n, seconds = len(at), at / 1000
    ramp = np.clip((at - (now_ms - 18 * 60_000)) / 130_000, 0, 1) if host.hot else None
    base = 24.0 if host.hot else host.cpu
    active = np.minimum(99.2, _walk(rng, n, base, 1 + base / 16, ramp, 97.4))
    active[-1] = host.cpu if n else 0
    yield from _cpu(active, cores, rng)
    total = 15.6 * GIB
    used = total * _walk(rng, n, host.mem, 0.5) / 100
    yield (
        "mem",
        {},
        {
            "total": np.full(n, total),
            "used": used,
            "available": total - used,
            "used_percent": used / total * 100,
            "available_percent": 100 - used / total * 100,
            "buffered": np.full(n, total * 0.02),
            "cached": np.maximum(0, np.minimum(total * 0.26, total * 0.96 - used)),
        },
    )
    yield "swap", {}, {"total": np.full(n, 4 * GIB), "used": np.full(n, 0.1 * GIB), "used_percent": np.full(n, 2.6)}
    load = _walk(rng, n, 0.45 if host.hot else host.load, 0.04, ramp, 2.31) * cores
    yield (
        "system",
        {},
        {
            "load1": load,
            "load5": load * 0.8,
            "load15": load * 0.6,
            "load1_per_core": load / cores,
            "n_cpus": np.full(n, cores),
            "uptime": host.up_days * 86_400 + seconds - seconds[0],
            "n_users": np.ones(n),
        },
    )
    mounts = {host.mount: host.disk, "/boot": 34.0} if host.mount == "/" else {host.mount: host.disk, "/": 27.0}
    for path, percent in mounts.items():
        size = (0.9 if path == "/boot" else 200.0) * GIB
        yield (
            "disk",
            {
                "path": path,
                "device": f"/dev/{path.strip('/').replace('/', '-') or 'root'}",
                "fstype": "ext4",
                "mode": "rw",
            },
            {
                "total": np.full(n, size),
                "used": np.full(n, size * percent / 100),
                "free": np.full(n, size * (100 - percent) / 100),
                "used_percent": np.full(n, percent),
                "inodes_used_percent": np.full(n, percent / 5),
            },
        )
    yield from _traffic(host, at, rng, ramp)
    for resource, calm, busy in (("cpu", 2.0, 34.0), ("memory", 0.4, 0.6), ("io", 2.4, 4.1)):
        yield "pressure", {"resource": resource, "type": "some"}, {"avg10": _walk(rng, n, calm, calm / 2, ramp, busy)}
    for sensor, warmth in (("package", host.temp), ("nvme0", 42.0)):
        yield (
            "temp",
            {"sensor": sensor},
            {"temp": np.round(_walk(rng, n, 54 if host.hot else warmth, 0.8, ramp, warmth))},
        )
    yield from _processes(host, at, ramp, rng)


def _cpu(active: Any, cores: int, rng: np.random.Generator) -> Iterable[tuple[str, dict[str, str], Columns]]:
    for name in ("cpu-total", *(f"cpu{core}" for core in range(cores))):
        busy = active if name == "cpu-total" else np.clip(active + rng.normal(0, 4, len(active)), 0, 100)
        shares = {
            "user": 0.76,
            "system": 0.14,
            "iowait": 0.045,
            "irq": 0.01,
            "softirq": 0.02,
            "steal": 0.02,
            "nice": 0.005,
        }
        modes = {f"usage_{mode}": busy * share * rng.uniform(0.85, 1.0, len(busy)) for mode, share in shares.items()}
        yield "cpu", {"cpu": name}, {"usage_active": busy, "usage_idle": 100 - busy, **modes}


def _traffic(host: Made, at: Any, rng: np.random.Generator, ramp: Any) -> Iterable[tuple[str, dict[str, str], Columns]]:
    n, every = len(at), np.diff(at, prepend=at[0] - STEP_MS) / 1000
    mega = 1e6 / 8
    yield (
        "net",
        {"interface": "eth0"},
        {
            "bytes_recv": np.cumsum(_walk(rng, n, host.rx, host.rx / 8) * mega * every),
            "bytes_sent": np.cumsum(_walk(rng, n, host.tx, host.tx / 9) * mega * every),
            "err_in": np.zeros(n),
            "err_out": np.zeros(n),
            "drop_in": np.cumsum(rng.random(n) < 0.02).astype(float),
            "drop_out": np.zeros(n),
        },
    )
    yield (
        "net",
        {"interface": "lo"},
        {name: np.cumsum(np.full(n, 1e4)) for name in ("bytes_recv", "bytes_sent")}
        | {name: np.zeros(n) for name in ("err_in", "err_out", "drop_in", "drop_out")},
    )
    yield (
        "diskio",
        {"name": "nvme0n1"},
        {
            "read_bytes": np.cumsum(_walk(rng, n, 9, 5, ramp, 42) * 2**20 * every),
            "write_bytes": np.cumsum(_walk(rng, n, 14, 6, ramp, 28) * 2**20 * every),
            "io_util": np.clip(_walk(rng, n, host.io, 1 + host.io / 10), 0, 100),
            "io_await": _walk(rng, n, 0.9, 0.3),
        },
    )


_PROCESSES = (
    ("", "www-data", 1.0, 1.9, 31.0, 4.2, 34, 0.003),
    ("php-fpm8.3", "www-data", 0.12, 2.8, 0.2, 1.1, 24, 41),
    ("nginx", "www-data", 0.06, 0.2, 0.8, 2.6, 16, 41),
    ("systemd-journald", "root", 0.01, 0.1, 0, 3.4, 1, 41),
    ("node", "deploy", 0.004, 0.3, 0, 0, 11, 6),
    ("sshd", "root", 0.002, 0.01, 0, 0, 1, 41),
    ("fleetwatch-agent", "fleetwatch", 0.0006, 0.03, 0, 0.1, 3, 0.01),
)


def _processes(
    host: Made, at: Any, ramp: Any, rng: np.random.Generator
) -> Iterable[tuple[str, dict[str, str], Columns]]:
    n = len(at)
    share = np.full(n, host.cpu * 0.73) if ramp is None else 18 + ramp * 1118
    for rank, (name, user, part, rss, read, write, threads, age) in enumerate(_PROCESSES):
        program = name or host.process
        if ramp is not None and not name:
            names = np.where(ramp > 0, "ffmpeg", "php-fpm8.3").astype(object)
        else:
            names = np.full(n, program, object)
        yield (
            "process_top",
            {"rank": str(rank + 1)},
            {
                "pid": np.full(n, 900.0 + rank * 7),
                "name": names,
                "user": np.full(n, user, object),
                "cpu_percent": share * part * rng.uniform(0.9, 1.05, n),
                "rss": np.full(n, rss * GIB),
                "read_bytes": np.full(n, read * 2**20),
                "write_bytes": np.full(n, write * 2**20),
                "threads": np.full(n, float(threads)),
                "started": np.full(n, at[-1] / 1000 - age * 86_400 if n else 0.0),
            },
        )


def custom(host_code: int, hosts: Sequence[str], now_ms: int) -> Frame:
    """A measurement outside the catalogue, once a minute, as `fleetwatch write` sends it."""
    at = np.arange(now_ms - HOUR_MS, now_ms, 60_000, dtype=np.int64)
    builder = _Builder()
    for queue, base in (("mail", 20.0), ("video", 90.0)):
        depth = base + 8 * np.sin(np.arange(len(at)) / 5)
        builder.add(host_code, {"queue": queue}, at, {"depth": depth, "consumers": np.full(len(at), 4.0)})
    return builder.frame("shop_queue", hosts)


def known(host: Made, now_ms: int) -> Host:
    """The directory's entry of a made-up host."""
    stopped_ms = now_ms - int(host.silent_s * 1000)
    expected = 8640
    return Host(
        name=host.name,
        agent_id=f"agent-{host.name}",
        tags=host.tags,
        facts=Facts(
            os="Debian 12.7",
            kernel="6.1.0-26-amd64",
            architecture="x86_64",
            cpu_model="EPYC 7443P",
            cores=8,
            threads=16,
            memory_bytes=int(15.6 * GIB),
            virtualization="KVM",
            boot_time_ms=int(now_ms - host.up_days * 86_400_000),
            address="10.20.4.13",
        ),
        agent_version="0.1.0",
        first_seen_ms=now_ms - 86_400_000,
        last_seen_ms=stopped_ms - 2000,
        connected=not host.silent_s,
        goodbye_until_ms=now_ms + 900_000 if host.goodbye else 0,
        completeness=Completeness(
            expected=expected, received=expected - (19 if host.hot else 0), duplicates=3, late=41
        ),
    )


class FleetStore:
    """Frames in memory behind the reader's half of the seam; `fail` makes every question raise."""

    def __init__(self, stored: Iterable[Frame], directory: HostDirectory) -> None:
        self.frames = {frame.measurement: frame for frame in stored}
        self.directory = directory
        self.fail: Exception | None = None
        self.asked: list[Query] = []

    def read(self, query: Query) -> Frame:
        self._check()
        self.asked.append(query)
        frame = self.frames.get(query.measurement)
        if frame is None:
            return frames.empty(query.measurement, query.fields)
        return reduce.answer(frame, query, self.directory.tags())

    def latest(self, measurements: Sequence[str] = ()) -> list[Frame]:
        self._check()
        return [_last(self.frames[name]) for name in (measurements or self.frames) if name in self.frames]

    def series(self, measurement: str = "", where: Sequence[Matcher] = ()) -> list[SeriesKey]:
        self._check()
        found = []
        for name in [measurement] if measurement else sorted(self.frames):
            frame = self.frames[name]
            pairs = np.unique(np.stack([frame.host, frame.tagset]), axis=1).T.tolist()
            for code, tagset in pairs:
                host, tags = frame.hosts[code], frame.tagsets[tagset]
                values = {**dict(tags), "host": host}
                if all(matcher.accepts(values.get(matcher.tag, "")) for matcher in where):
                    found.append(SeriesKey(name, host, tags, tuple(frame.fields)))
        return sorted(found, key=lambda key: (key.measurement, key.host, key.tags))

    def hosts(self) -> list[Host]:
        self._check()
        return self.directory.list()

    def health(self) -> Health:
        return Health(self.fail is None, self.fail is None, "fleet", str(self.fail or ""))

    def close(self) -> None:
        pass

    def add(self, frame: Frame) -> None:
        """Adds later rows to a measurement (same hosts and tag sets)."""
        old = self.frames[frame.measurement]
        columns = {name: np.concatenate([old.fields[name], frame.fields[name]]) for name in old.fields}
        self.frames[frame.measurement] = replace(
            old,
            time=np.concatenate([old.time, frame.time]),
            host=np.concatenate([old.host, frame.host]),
            tagset=np.concatenate([old.tagset, frame.tagset]),
            fields=columns,
        )

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail


def _last(frame: Frame) -> Frame:
    order = np.lexsort((frame.time, frame.tagset, frame.host))
    ends = np.append(
        np.flatnonzero((np.diff(frame.host[order]) != 0) | (np.diff(frame.tagset[order]) != 0)), len(order) - 1
    )
    return reduce.take(frame, order[ends])


def next_tick(
    store: FleetStore, at_ms: int, change: Callable[[str, str, Any], Any] = lambda _m, _f, value: value
) -> list[Frame]:
    """The last rows again at a later time, some values changed: what an agent would send next."""
    out = []
    for frame in store.latest():
        columns = {name: change(frame.measurement, name, values.copy()) for name, values in frame.fields.items()}
        out.append(replace(frame, time=np.full(len(frame), at_ms, np.int64), fields=columns))
    return out


class FakeLive:
    """A live source a test pushes frames into."""

    def __init__(self) -> None:
        self.watchers: list[asyncio.Queue[list[Frame]]] = []
        self.asked: list[tuple[frozenset[str], frozenset[str], bool]] = []

    async def watch(
        self, hosts: frozenset[str] = frozenset(), measurements: frozenset[str] = frozenset(), *, fast: bool = False
    ) -> AsyncIterator[list[Frame]]:
        queue: asyncio.Queue[list[Frame]] = asyncio.Queue()
        self.asked.append((hosts, measurements, fast))
        self.watchers.append(queue)
        try:
            while True:
                found = [part for frame in await queue.get() if (part := _of(frame, hosts, measurements)) is not None]
                if found:
                    yield found
        finally:
            self.watchers.remove(queue)

    def push(self, pushed: list[Frame]) -> None:
        """Hands frames to every watcher. Call it on the event loop of the watchers."""
        for queue in self.watchers:
            queue.put_nowait(pushed)


def _of(frame: Frame, hosts: frozenset[str], measurements: frozenset[str]) -> Frame | None:
    if measurements and frame.measurement not in measurements:
        return None
    wanted = np.array([not hosts or name in hosts for name in frame.hosts], bool)[frame.host]
    return reduce.take(frame, np.flatnonzero(wanted)) if wanted.any() else None


def put_alert(database: sa.Engine, host: str, rule: str, **values: Any) -> str:
    """An alert as the alert manager writes it; answers its fingerprint."""
    fingerprint = f"{abs(hash((rule, host, str(values.get('labels'))))):016x}"[:16]
    row: dict[str, Any] = {
        "fingerprint": fingerprint,
        "rule_uid": rule.lower(),
        "rule": rule,
        "state": "firing",
        "level": "critical",
        "health": "ok",
        "labels": {"host": host},
        "annotations": {},
        "metric": "",
        "unit": "",
        "last_eval_ms": 0,
        "engine": {},
    }
    with database.begin() as connection:
        connection.execute(sa.insert(tables.alerts).values(**row | values))
    return fingerprint


def put_told(database: sa.Engine, fingerprint: str, receiver: str, at_ms: int) -> None:
    """That a receiver was told of an alert."""
    with database.begin() as connection:
        connection.execute(
            sa.insert(tables.told).values(
                receiver=receiver,
                route="default",
                group_key="group",
                fingerprint=fingerprint,
                level="critical",
                starts_at_ms=at_ms,
                told_at_ms=at_ms,
                provider_ref="",
            )
        )


def put_rule(
    database: sa.Engine, name: str, metric: str, levels: Sequence[tuple[str, str, float]], **values: Any
) -> None:
    """A loaded rule; levels are (level, operator, threshold)."""
    rows = [{"level": level, "op": op, "threshold": at, "recover": at, "for_ms": 0} for level, op, at in levels]
    row: dict[str, Any] = {
        "uid": name.lower(),
        "position": 1,
        "name": name,
        "metric": metric,
        "enabled": True,
        "levels": rows,
        "condition": "",
        "matchers": [],
        "source": "rules.yaml:1",
    }
    with database.begin() as connection:
        connection.execute(sa.insert(tables.rules).values(**row | values))


def incidents(database: sa.Engine, directory: HostDirectory, now_ms: int) -> None:
    """The alerts and events of the reference screens."""
    ago = lambda minutes: now_ms - int(minutes * 60_000)  # noqa: E731 - reads best as a word
    cpu = put_alert(
        database,
        "web-3",
        "HighCPU",
        metric="cpu.usage_active",
        unit="percent",
        value=97.4,
        threshold=95.0,
        peak=98.6,
        active_at_ms=ago(16),
        fired_at_ms=ago(14),
        labels={"host": "web-3", "cpu": "cpu-total"},
    )
    put_told(database, cpu, "slack-ops", ago(13.9))
    for host, minutes, value in (("db-1", 92, 86.0), ("db-2", 51, 85.0)):
        full = put_alert(
            database,
            host,
            "DiskFilling",
            level="warning",
            metric="disk.used_percent",
            unit="percent",
            value=value,
            threshold=84.0,
            active_at_ms=ago(minutes + 5),
            fired_at_ms=ago(minutes),
            labels={"host": host, "path": "/var/lib/postgresql"},
        )
        put_told(database, full, "slack-ops", ago(minutes - 0.1))
    put_alert(database, "edge-ams-2", "HostDown", state="pending", health="nodata", active_at_ms=ago(1.2))
    put_alert(
        database,
        "cache-2",
        "MemoryLow",
        state="pending",
        level="warning",
        metric="mem.available_percent",
        unit="percent",
        value=16.0,
        threshold=20.0,
        active_at_ms=ago(4),
    )
    put_alert(
        database,
        "build-1",
        "HighCPU",
        state="inactive",
        level="",
        metric="cpu.usage_active",
        unit="percent",
        peak=98.2,
        active_at_ms=ago(260),
        fired_at_ms=ago(258),
        resolved_at_ms=ago(252),
    )
    directory.record(
        [
            Event(ago(41), "web-3", "agent_stopped", "upgrade 0.0.9 to 0.1.0 by apt"),
            Event(ago(38), "web-3", "agent_started", "0.1.0, 19 samples missing, 0 lost"),
            Event(ago(20), "web-3", "clock_step", "0.8 s forward"),
        ]
    )


def now_ms() -> int:
    """The time, as samples have it."""
    return time.time_ns() // 1_000_000
