"""What a Telegraf user finds in InfluxDB: a real sample of the real agent, read with plain InfluxQL.

The lists are Telegraf's documentation of its input plug-ins (plugins/inputs/<name>/README.md, release 1.30): fields,
units and tags. Fields of ours that Telegraf does not have are listed apart; there must be no others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_storage.influx.store import InfluxStore
from fleetwatch_storage.lineprotocol.parse import parse
from fleetwatch_storage.settings import InfluxSettings

from tests.support.influxd import Influxd, needs_influxd
from tests.support.stores import directory

pytestmark = needs_influxd


@dataclass(frozen=True)
class Documented:
    """A measurement of Telegraf: `fields` name -> unit, those of them that ours must have, and its tags."""

    fields: dict[str, str]
    must: str
    tags: str
    ours: str = ""


def units(**groups: str) -> dict[str, str]:
    return {name: unit for unit, names in groups.items() for name in names.split()}


CPU = "usage_user usage_system usage_idle usage_active usage_nice usage_iowait usage_irq usage_softirq usage_steal"
CPU += " usage_guest usage_guest_nice"
TELEGRAF = {
    "cpu": Documented(units(percent=CPU), CPU, "host cpu"),
    "mem": Documented(
        units(
            bytes="active available buffered cached commit_limit committed_as dirty free high_free high_total "
            "huge_pages_total huge_page_size inactive laundry low_free low_total mapped page_tables shared slab "
            "sreclaimable sunreclaim swap_cached swap_free swap_total total used vmalloc_chunk vmalloc_total "
            "vmalloc_used wired write_back write_back_tmp",
            percent="available_percent used_percent",
            count="huge_pages_free",
        ),
        "active available buffered cached dirty free inactive shared slab total used write_back available_percent "
        "used_percent",
        "host",
    ),
    "disk": Documented(
        units(
            bytes="free total used",
            percent="used_percent inodes_used_percent",
            count="inodes_free inodes_total inodes_used",
        ),
        "free total used used_percent inodes_free inodes_total inodes_used inodes_used_percent",
        "host device fstype mode path",
    ),
    "diskio": Documented(
        units(
            count="reads writes iops_in_progress merged_reads merged_writes",
            bytes="read_bytes write_bytes",
            milliseconds="read_time write_time io_time weighted_io_time io_await io_svctm",
            percent="io_util",
        ),
        "reads writes read_bytes write_bytes read_time write_time io_time weighted_io_time iops_in_progress",
        "host name",
    ),
    "net": Documented(
        units(
            bytes="bytes_sent bytes_recv",
            count="packets_sent packets_recv err_in err_out drop_in drop_out",
            mbit="speed",
        ),
        "bytes_sent bytes_recv packets_sent packets_recv err_in err_out drop_in drop_out",
        "host interface",
    ),
    "system": Documented(
        units(count="n_cpus n_physical_cpus n_users n_unique_users", seconds="uptime")
        | dict.fromkeys(("load1", "load5", "load15"), ""),
        "load1 load5 load15 n_cpus n_users uptime",
        "host",
        ours="load1_per_core",
    ),
    "swap": Documented(
        units(bytes="free total used in out", percent="used_percent"), "free total used in out used_percent", "host"
    ),
    "processes": Documented(
        units(
            count="blocked dead idle paging parked running sleeping stopped total total_threads unknown wait zombies"
        ),
        "blocked running sleeping stopped total total_threads zombies",
        "host",
    ),
    "kernel": Documented(
        units(
            seconds="boot_time",
            count="context_switches disk_pages_in disk_pages_out entropy_avail interrupts processes_forked",
        ),
        "boot_time context_switches interrupts processes_forked",
        "host",
        ours="oom_kill",
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """influxd with one sample of this machine, taken by the agent itself and written by the driver."""
    folder = tmp_path_factory.mktemp("influxd")
    sample = subprocess.run(
        [sys.executable, "-m", "fleetwatch_agent", "once", "--format", "line"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    parsed = parse(sample.stdout, default_host="none", now_ms=0)
    assert parsed.rejected == []
    with (
        Influxd(folder) as started,
        closing(InfluxStore(InfluxSettings(influx_url=started.url), directory(folder, {}))) as store,
    ):
        store.write(parsed.frames)
        yield started


def values(server: Influxd, query: str) -> list[list[Any]]:
    (result,) = server.query(query, "fleetwatch")
    series: Any = result.get("series", [])
    return [row for one in series for row in one["values"]]


def one(server: Influxd, measurement: str, field: str, where: str = "") -> float:
    condition = f" WHERE {where}" if where else ""
    ((_, value),) = values(server, f'SELECT last("{field}") FROM "{measurement}"{condition}')
    return float(value)


@pytest.mark.parametrize("measurement", TELEGRAF)
def test_fields_are_those_telegraf_documents(server: Influxd, measurement: str) -> None:
    documented = TELEGRAF[measurement]
    found = dict(values(server, f'SHOW FIELD KEYS FROM "{measurement}"'))
    if measurement == "diskio" and not found:
        pytest.skip("this machine has no block device")

    assert set(found) <= set(documented.fields) | set(documented.ours.split())
    assert set(documented.must.split()) <= set(found)
    assert set(found.values()) == {"float"}


@pytest.mark.parametrize("measurement", TELEGRAF)
def test_tags_are_those_telegraf_documents(server: Influxd, measurement: str) -> None:
    found = {row[0] for row in values(server, f'SHOW TAG KEYS FROM "{measurement}"')}
    if measurement == "diskio" and not found:
        pytest.skip("this machine has no block device")

    assert found == set(TELEGRAF[measurement].tags.split())


@pytest.mark.parametrize("measurement", TELEGRAF)
def test_units_are_those_telegraf_documents(measurement: str) -> None:
    documented = TELEGRAF[measurement].fields
    ours = {field.name: field.unit for field in BY_NAME[measurement].fields if field.name in documented}

    assert ours == {name: documented[name] for name in ours}


def test_cpu_total_and_each_processor_are_tagged_as_telegraf_does(server: Influxd) -> None:
    names = {row[1] for row in values(server, "SHOW TAG VALUES FROM cpu WITH KEY = cpu")}

    assert names == {"cpu-total", *(f"cpu{i}" for i in range(os.cpu_count() or 1))}


def test_processor_shares_are_percent_of_one_whole(server: Influxd) -> None:
    shares = [one(server, "cpu", field, "cpu = 'cpu-total'") for field in CPU.split()]
    by_name = dict(zip(CPU.split(), shares, strict=True))

    assert all(0 <= share <= 100.5 for share in shares)
    assert by_name["usage_active"] + by_name["usage_idle"] == pytest.approx(100, abs=1)


def test_sizes_are_bytes_and_times_are_seconds_as_the_kernel_counts_them(server: Influxd) -> None:
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()
    }
    root = os.statvfs("/")
    started = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))

    assert one(server, "mem", "total") == memory["MemTotal"]
    assert one(server, "swap", "total") == memory["SwapTotal"]
    assert one(server, "mem", "available") == pytest.approx(memory["MemAvailable"], rel=0.5)
    assert one(server, "disk", "total", "path = '/'") == root.f_blocks * root.f_frsize
    assert one(server, "disk", "inodes_total", "path = '/'") == root.f_files
    assert one(server, "system", "uptime") == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=120)
    assert one(server, "system", "n_cpus") == os.cpu_count()
    assert one(server, "kernel", "boot_time") == pytest.approx(int(started.split()[1]), abs=2)


def test_counters_are_raw_totals_since_boot(server: Influxd) -> None:
    devices = values(server, 'SHOW TAG VALUES FROM diskio WITH KEY = "name"')
    if not devices:
        pytest.skip("this machine has no block device")
    device = devices[0][1]
    counted = next(
        line.split() for line in Path("/proc/diskstats").read_text().splitlines() if line.split()[2] == device
    )

    assert 0 < one(server, "diskio", "reads", f"\"name\" = '{device}'") <= int(counted[3])
    assert 0 < one(server, "diskio", "read_bytes", f"\"name\" = '{device}'") <= int(counted[5]) * 512
    assert 0 <= one(server, "diskio", "read_time", f"\"name\" = '{device}'") <= int(counted[6])
    assert one(server, "kernel", "context_switches") > 1000


def test_a_telegraf_dashboards_query_works_unchanged(server: Influxd) -> None:
    rows = values(
        server,
        'SELECT mean("usage_idle") * -1 + 100 FROM "cpu" WHERE "cpu" = \'cpu-total\' AND time > now() - 1h '
        'GROUP BY time(1m), "host" fill(none)',
    )

    assert len(rows) == 1
    assert 0 <= rows[0][1] <= 100
