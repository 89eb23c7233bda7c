"""Readers for platforms other than Linux, by psutil. Names and units are the same; what psutil lacks is left out."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

import psutil

from fleetwatch_agent.rates import percent
from fleetwatch_agent.readers.context import Context, Subsystem
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

_CPU = {"user": "usage_user", "system": "usage_system", "idle": "usage_idle", "nice": "usage_nice"}
_CPU |= {"iowait": "usage_iowait", "irq": "usage_irq", "interrupt": "usage_irq", "softirq": "usage_softirq"}
_CPU |= {"steal": "usage_steal", "guest": "usage_guest", "guest_nice": "usage_guest_nice"}


def _cpu(context: Context) -> Reader:
    before: dict[str, dict[str, float]] = {}

    def read() -> Values:
        times = {"cpu-total": psutil.cpu_times()._asdict()}
        if context.settings.per_cpu:
            times |= {f"cpu{n}": one._asdict() for n, one in enumerate(psutil.cpu_times(percpu=True))}
        readings: Values = []
        for name, now in times.items():
            shares = _shares(before.get(name, {}), now)
            readings.append((Series("cpu", (("cpu", name),), tuple(shares)), tuple(shares.values())))
        before.update(times)
        return readings

    return read


def _shares(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Percentages by field from processor seconds; absent at first. psutil's own are wrong over less than a second."""
    spent = {key: max(0.0, value - before.get(key, value)) for key, value in now.items() if key in _CPU}
    spent["user"] = max(0.0, spent["user"] - spent.get("guest", 0.0))
    spent["nice"] = max(0.0, spent.get("nice", 0.0) - spent.get("guest_nice", 0.0))
    total = sum(spent.values())
    shares = {_CPU[key]: percent(value, total) if total else ABSENT for key, value in spent.items()}
    return shares | {"usage_active": percent(total - spent["idle"], total) if total else ABSENT}


def _memory(context: Context) -> Reader:
    names = ("total", "available", "used", "free", "cached", "buffers", "active", "inactive", "shared", "slab")

    def read() -> Values:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        row = {name: float(getattr(memory, name)) for name in names if hasattr(memory, name)}
        if "buffers" in row:
            row["buffered"] = row.pop("buffers")
        row["used_percent"] = percent(memory.used, memory.total)
        row["available_percent"] = percent(memory.available, memory.total)
        swapped = (swap.total, swap.used, swap.free, percent(swap.used, swap.total), swap.sin, swap.sout)
        fields = ("total", "used", "free", "used_percent", "in", "out")
        return [
            (Series("mem", (), tuple(row)), tuple(row.values())),
            (Series("swap", (), fields), tuple(map(float, swapped))),
        ]

    return read


def _system(context: Context) -> Reader:
    fields = ("load1", "load5", "load15", "load1_per_core", "n_cpus", "n_users", "uptime")
    series, boot = Series("system", (), fields), Series("kernel", (), ("boot_time", "context_switches", "interrupts"))

    def read() -> Values:
        load, cpus = psutil.getloadavg(), os.cpu_count() or 1
        uptime = time.time() - psutil.boot_time()
        row = (*load, round(load[0] / cpus, 2), float(cpus), float(len(psutil.users())), float(int(uptime)))
        stats = psutil.cpu_stats()
        return [(series, row), (boot, (psutil.boot_time(), float(stats.ctx_switches), float(stats.interrupts)))]

    return read


def _disk(context: Context) -> Reader:
    fields = ("total", "used", "free", "used_percent")
    settings = context.settings

    def read() -> Values:
        readings: Values = []
        for part in psutil.disk_partitions(all=False):
            if part.fstype in settings.disk_ignore_fstypes:
                continue
            try:
                usage = psutil.disk_usage(part.mountpoint)
            except OSError:
                continue
            mode = "ro" if "ro" in part.opts.split(",") else "rw"
            tags = (("device", part.device), ("fstype", part.fstype), ("mode", mode), ("path", part.mountpoint))
            row = (usage.total, usage.used, usage.free, percent(usage.used, usage.used + usage.free))
            readings.append((Series("disk", tags, fields), tuple(map(float, row))))
        return readings

    return read


def _diskio(context: Context) -> Reader:
    names = {"read_count": "reads", "write_count": "writes", "read_bytes": "read_bytes", "write_bytes": "write_bytes"}
    names |= {"read_time": "read_time", "write_time": "write_time", "busy_time": "io_time"}

    def read() -> Values:
        readings: Values = []
        for device, counts in psutil.disk_io_counters(perdisk=True).items():
            row = {names[key]: float(value) for key, value in counts._asdict().items() if key in names}
            readings.append((Series("diskio", (("name", device),), tuple(row)), tuple(row.values())))
        return readings

    return read


def _net(context: Context) -> Reader:
    names = {"bytes_sent": "bytes_sent", "bytes_recv": "bytes_recv", "packets_sent": "packets_sent"}
    names |= {"packets_recv": "packets_recv", "errin": "err_in", "errout": "err_out", "dropin": "drop_in"}
    names |= {"dropout": "drop_out"}

    def read() -> Values:
        readings: Values = []
        links = psutil.net_if_stats()
        for interface, counts in psutil.net_io_counters(pernic=True).items():
            if any(fnmatchcase(interface, pattern) for pattern in context.settings.net_ignore):
                continue
            row = {names[key]: float(value) for key, value in counts._asdict().items() if key in names}
            link = links.get(interface)
            row["speed"] = float(link.speed or -1) if link else -1.0
            readings.append((Series("net", (("interface", interface),), tuple(row)), tuple(row.values())))
        return readings

    return read


def _processes(context: Context) -> Reader:
    states = {"running": "running", "sleeping": "sleeping", "disk-sleep": "blocked", "stopped": "stopped"}
    states |= {"tracing-stop": "stopped", "zombie": "zombies", "dead": "zombies", "idle": "idle"}
    fields = ("total", "running", "sleeping", "blocked", "stopped", "zombies", "idle", "unknown")
    series = Series("processes", (), fields)

    def read() -> Values:
        found = [states.get(one.info["status"], "unknown") for one in psutil.process_iter(["status"])]
        counts = Counter(found)
        counts["total"] = len(found)
        return [(series, [float(counts[field]) for field in fields])]

    return read


READERS: tuple[Subsystem, ...] = (
    Subsystem("cpu", ("psutil.cpu_times_percent",), _cpu),
    Subsystem("memory", ("psutil.virtual_memory, swap_memory",), _memory),
    Subsystem("system", ("psutil.getloadavg, boot_time, users, cpu_stats",), _system),
    Subsystem("disk", ("psutil.disk_partitions, disk_usage",), _disk, slow=True),
    Subsystem("diskio", ("psutil.disk_io_counters",), _diskio),
    Subsystem("net", ("psutil.net_io_counters, net_if_stats",), _net),
    Subsystem("processes", ("psutil.process_iter: states",), _processes, slow=True),
)
