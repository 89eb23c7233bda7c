"""What the readers emit on this machine, held against the catalogue and against psutil."""

from __future__ import annotations

import os
import time

import psutil
import pytest
from fleetwatch_agent import vitals as health
from fleetwatch_agent.clocks import host_clocks
from fleetwatch_agent.readers import LINUX, Named, build, portable
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Values
from fleetwatch_agent.settings import AgentSettings
from fleetwatch_agent.spool import Figures
from fleetwatch_agent.vitals import Vitals
from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_proto.v1.ingest_pb2 import ProcessTable

from tests.support.agent_host import values

BASE = {"cpu", "mem", "swap", "system", "disk", "diskio", "net", "netstat", "processes", "kernel", "linux_sysctl_fs"}
BASE |= {"fleetwatch_agent"}


def read_twice(readers: list[Named], files: Files) -> Values:
    for one in readers:
        one.read()
    time.sleep(0.3)  # rates need time to pass; there is no condition to wait for
    files.next_tick()
    return [reading for one in readers for reading in one.read()]


@pytest.fixture(scope="module")
def linux() -> tuple[Values, bytes]:
    files = Files()
    settings = AgentSettings(disk_ignore_fstypes=("proc", "sysfs"))
    readers, _ = build(Context(files, settings, host_clocks().seconds, os.statvfs), LINUX)
    figures = Figures("s", 1, 0, 0, 0, True)
    readers.append(Named("agent", health.make(Vitals(), files, lambda: figures), slow=False))
    readings = read_twice(readers, files)
    table = next(one.read.take_table() for one in readers if one.name == "processes")  # type: ignore[attr-defined]
    return readings, table


@pytest.fixture(scope="module")
def elsewhere() -> Values:
    files = Files()
    readers, without = build(Context(files, AgentSettings(), host_clocks().seconds, os.statvfs), portable.READERS)
    assert without == {}
    return read_twice(readers, files)


@pytest.mark.parametrize("kind", ["linux", "elsewhere"])
def test_readers_emit_what_the_catalogue_has_and_nothing_else(kind: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(kind)
    readings: Values = found[0] if kind == "linux" else found

    unknown = [
        (series.measurement, field)
        for series, _ in readings
        for field in series.fields
        if series.measurement not in BY_NAME or BY_NAME[series.measurement].field(field) is None
    ]

    assert unknown == []
    for series, row in readings:
        assert len(series.fields) == len(row)
        assert tuple(sorted(BY_NAME[series.measurement].tags)) == tuple(key for key, _ in series.tags)


def test_every_field_of_the_base_measurements_is_emitted_on_linux(linux: tuple[Values, bytes]) -> None:
    emitted = {(series.measurement, field) for series, _ in linux[0] for field in series.fields}

    missing = {(name, field.name) for name in BASE for field in BY_NAME[name].fields} - emitted

    assert missing == set()


def test_the_process_table_of_this_machine_holds_this_process(linux: tuple[Values, bytes]) -> None:
    table = ProcessTable.FromString(linux[1])
    columns = {field.name for field in BY_NAME["process_top"].fields} - {"started"}

    assert 0 < len(table.pid) <= 20
    assert columns <= {field.name for field in ProcessTable.DESCRIPTOR.fields}
    mine = psutil.Process()
    if os.getpid() in table.pid:
        place = list(table.pid).index(os.getpid())
        assert table.rss[place] == pytest.approx(mine.memory_info().rss, rel=0.2)
        assert table.started_ms[place] == pytest.approx(mine.create_time() * 1000, abs=2000)


def test_memory_agrees_with_psutil(linux: tuple[Values, bytes]) -> None:
    mem, memory = values(linux[0], "mem"), psutil.virtual_memory()

    assert mem["total"] == memory.total
    for ours, theirs in (("available", memory.available), ("cached", memory.cached), ("buffered", memory.buffers)):
        assert mem[ours] == pytest.approx(theirs, abs=0.02 * memory.total)
    assert values(linux[0], "swap")["total"] == psutil.swap_memory().total


def test_system_and_kernel_agree_with_psutil(linux: tuple[Values, bytes]) -> None:
    system, kernel = values(linux[0], "system"), values(linux[0], "kernel")

    assert system["n_cpus"] == psutil.cpu_count()
    assert system["n_users"] == len(psutil.users())
    assert kernel["boot_time"] == pytest.approx(psutil.boot_time(), abs=2)
    assert system["uptime"] == pytest.approx(time.time() - psutil.boot_time(), abs=30)
    assert kernel["context_switches"] == pytest.approx(psutil.cpu_stats().ctx_switches, rel=0.1)


def test_disks_agree_with_psutil(linux: tuple[Values, bytes]) -> None:
    root = next(dict(series.tags)["path"] for series, _ in linux[0] if series.measurement == "disk")

    disk, usage = values(linux[0], "disk", path=root), psutil.disk_usage(root)

    assert disk["total"] == usage.total
    assert disk["used"] == pytest.approx(usage.used, rel=0.05)
    assert disk["used_percent"] == pytest.approx(usage.percent, abs=2)


def test_traffic_agrees_with_psutil(linux: tuple[Values, bytes]) -> None:
    devices, links = psutil.disk_io_counters(perdisk=True), psutil.net_io_counters(pernic=True)

    for series, row in linux[0]:
        fields = dict(zip(series.fields, row, strict=True))
        if series.measurement == "diskio":
            theirs = devices[dict(series.tags)["name"]]
            assert fields["reads"] <= theirs.read_count
            assert fields["write_bytes"] == pytest.approx(theirs.write_bytes, rel=0.2, abs=1 << 24)
        if series.measurement == "net":
            assert fields["bytes_recv"] == pytest.approx(
                links[dict(series.tags)["interface"]].bytes_recv, rel=0.2, abs=1 << 20
            )


def test_processes_agree_with_psutil(linux: tuple[Values, bytes]) -> None:
    ours = values(linux[0], "processes")["total"]

    assert ours == pytest.approx(len(psutil.pids()), abs=60, rel=0.3)


def test_shares_of_processor_time_add_up_on_both_sources(linux: tuple[Values, bytes], elsewhere: Values) -> None:
    for readings in (linux[0], elsewhere):
        row = values(readings, "cpu", cpu="cpu-total")
        parts = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        assert sum(row[f"usage_{part}"] for part in parts) == pytest.approx(100, abs=1)
        assert row["usage_active"] == pytest.approx(100 - row["usage_idle"], abs=0.2)
