"""Readers on hosts made of files: names, units and arithmetic."""

from __future__ import annotations

import math
import os
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest
from fleetwatch_agent.readers import (
    LINUX,
    build,
    containers,
    cpu,
    disk,
    diskio,
    gpu,
    kernel,
    memory,
    net,
    netstat,
    pressure,
    processes,
    sensors,
    system,
    units,
)
from fleetwatch_agent.readers.netstat import _count, count_states
from fleetwatch_agent.readers.source import Words
from fleetwatch_agent.readers.top import ROWS, Process, top
from fleetwatch_agent.samples import ABSENT
from fleetwatch_proto.v1.ingest_pb2 import ProcessTable

from tests.support.agent_host import (
    DISKSTATS_LATER,
    HERTZ,
    PAGE,
    STAT_LATER,
    FakeHost,
    values,
    volume,
)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_cpu_usage_is_the_share_of_ticks_since_the_last_reading_without_guests(host: FakeHost) -> None:
    read = cpu.make(host.context)
    read()
    host.write("proc/stat", STAT_LATER)
    host.tick()

    total = values(read(), "cpu", cpu="cpu-total")

    ticks = 100 + 20 + 50 + 600 + 60 + 2 + 6 + 20
    expected = {"user": 60, "nice": 10, "system": 50, "idle": 600, "iowait": 60, "irq": 2, "softirq": 6, "steal": 20}
    expected |= {"guest": 40, "guest_nice": 10, "active": ticks - 600}
    for state, share in expected.items():
        assert total[f"usage_{state}"] == pytest.approx(100 * share / ticks, abs=1 / 128)


def test_cpu_is_absent_before_there_is_something_to_compare_with(host: FakeHost) -> None:
    first = values(cpu.make(host.context)(), "cpu", cpu="cpu1")

    assert all(value is ABSENT for value in first.values())


def test_per_cpu_series_can_be_switched_off(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, per_cpu=False)

    readings = cpu.make(host.context)()

    assert [dict(series.tags)["cpu"] for series, _ in readings] == ["cpu-total"]


def test_memory_counts_reclaimable_slab_as_cache_and_swap_traffic_in_bytes(host: FakeHost) -> None:
    readings = memory.make(host.context)()

    mem, swap = values(readings, "mem"), values(readings, "swap")
    assert mem["cached"] == 3_600_000 * 1024
    assert mem["used"] == (16_000_000 - 4_000_000 - 500_000 - 3_600_000) * 1024
    assert mem["used_percent"] == pytest.approx(100 * 7.9 / 16, abs=0.01)
    assert mem["available_percent"] == pytest.approx(100 * 9 / 16, abs=0.01)
    assert (mem["shared"], mem["dirty"], mem["write_back"]) == (700_000 * 1024, 1234 * 1024, 56 * 1024)
    assert swap == {
        "total": 2_000_000 * 1024,
        "used": 500_000 * 1024,
        "free": 1_500_000 * 1024,
        "used_percent": 25.0,
        "in": 10 * PAGE,
        "out": 20 * PAGE,
    }


def test_an_old_kernel_without_available_memory_gets_an_estimate(host: FakeHost) -> None:
    lines = (host.root / "proc/meminfo").read_text().splitlines(keepends=True)
    host.write("proc/meminfo", "".join(line for line in lines if not line.startswith("MemAvailable")))

    mem = values(memory.make(host.context)(), "mem")

    assert mem["available"] == (4_000_000 + 3_600_000 + 500_000) * 1024


def test_words_are_found_again_when_the_file_changes_its_order() -> None:
    words = Words(("A:", "B:", "C:"))
    words.pick(b"A: 1 kB\nB: 2 kB\n")

    found = words.pick(b"X: 9 kB\nB: 20 kB\nA: 10 kB\nC: 30 kB\n")

    assert found == [10, 20, 30]


def test_system_has_load_per_core_uptime_and_users_of_utmp(host: FakeHost) -> None:
    login = struct.pack("<hxxi32s4s", 7, 1, b"pts/0", b"ts/0") + b"alice".ljust(340, b"\0")
    boot = struct.pack("<hxxi32s4s", 2, 0, b"~", b"~~") + b"reboot".ljust(340, b"\0")
    host.write("run/utmp", boot + login + login)

    row = values(system.make(host.context)(), "system")

    assert row == {
        "load1": 1.5,
        "load5": 2.5,
        "load15": 3.5,
        "load1_per_core": 0.75,
        "n_cpus": 2.0,
        "n_users": 2.0,
        "uptime": 1000.0,
    }


def test_users_without_utmp_are_the_sessions_of_logind(host: FakeHost) -> None:
    for name in ("3", "c1", "3.ref"):
        host.write(f"run/systemd/sessions/{name}", "")

    assert values(system.make(host.context)(), "system")["n_users"] == 2.0


def test_disk_reads_storage_once_per_file_system_with_df_s_percentage(host: FakeHost) -> None:
    host.space = {"/": volume(1000, 400, 300), "/mnt/my disk": volume(0, 0, 0), "/mnt/nfs": volume(1, 1, 1)}

    readings = disk.make(host.context)()

    assert len(readings) == 1
    root = values(readings, "disk", path="/", device="vda1", fstype="ext4", mode="rw")
    assert root == {
        "total": 1000 * 4096.0,
        "used": 600 * 4096.0,
        "free": 300 * 4096.0,
        "used_percent": pytest.approx(100 * 600 / 900, abs=0.01),
        "inodes_total": 1000.0,
        "inodes_used": 400.0,
        "inodes_free": 600.0,
        "inodes_used_percent": 40.0,
    }


def test_disk_tells_read_only_mounts_and_undoes_the_kernel_s_escapes(host: FakeHost) -> None:
    host.space = {"/mnt/my disk": volume(10, 5, 5)}

    (reading,) = disk.make(host.context)()

    assert dict(reading[0].tags) == {"path": "/mnt/my disk", "device": "mapper/data", "fstype": "xfs", "mode": "ro"}


def test_ignored_mount_points_and_listed_network_file_systems(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, disk_ignore_paths=("/mnt/my*",), disk_ignore_fstypes=("proc", "tmpfs"))
    host.space = {path: volume(10, 5, 5) for path in ("/", "/mnt/my disk", "/mnt/nfs")}

    paths = [dict(series.tags)["path"] for series, _ in disk.make(host.context)()]

    assert paths == ["/", "/mnt/nfs"]


def test_diskio_has_counters_and_what_they_rose_by(host: FakeHost) -> None:
    read = diskio.make(host.context)
    first = values(read(), "diskio", name="vda")
    host.write("proc/diskstats", DISKSTATS_LATER)
    host.tick(1000)

    readings = read()

    assert first["io_util"] is ABSENT
    assert [dict(series.tags)["name"] for series, _ in readings] == ["vda"]
    vda = values(readings, "diskio", name="vda")
    assert (vda["read_bytes"], vda["write_bytes"], vda["reads"], vda["iops_in_progress"]) == (
        84000 * 512,
        168000 * 512,
        1050,
        1,
    )
    assert vda["io_util"] == 40.0
    assert vda["io_await"] == 3.0


def test_partitions_are_read_when_asked_for(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, diskio_partitions=True)

    names = [dict(series.tags)["name"] for series, _ in diskio.make(host.context)()]

    assert names == ["vda", "vda1"]


def test_net_leaves_out_loopback_veth_and_interfaces_that_are_down(host: FakeHost) -> None:
    readings = net.make(host.context)()

    assert [dict(series.tags)["interface"] for series, _ in readings] == ["eth0"]
    row = values(readings, "net", interface="eth0")
    assert row == {
        "bytes_sent": 7000.0,
        "bytes_recv": 5000.0,
        "packets_sent": 70.0,
        "packets_recv": 50.0,
        "err_in": 1.0,
        "err_out": 3.0,
        "drop_in": 2.0,
        "drop_out": 4.0,
        "speed": 1000.0,
    }


def test_netstat_adds_both_families_and_takes_close_wait_out_of_established(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netstat, "count_states", lambda: Counter({8: 2, 10: 6}))

    row = values(netstat.make(host.context)(), "netstat")

    assert (row["tcp_established"], row["tcp_close_wait"], row["tcp_listen"], row["tcp_syn_sent"]) == (10, 2, 6, 0)
    assert (row["tcp_inuse"], row["tcp_orphan"], row["tcp_time_wait"], row["tcp_alloc"]) == (12, 1, 5, 14)
    assert (row["tcp_mem"], row["udp_socket"]) == (6 * PAGE, 6)
    assert (row["tcp_retrans"], row["tcp_active_opens"], row["tcp_passive_opens"]) == (77, 300, 200)


def test_a_sandbox_without_socket_diagnosis_costs_only_the_states(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(netstat, "count_states", refused)

    row = values(netstat.make(host.context)(), "netstat")

    assert row["tcp_listen"] is ABSENT
    assert row["tcp_inuse"] == 12


def test_a_netlink_error_is_raised_and_the_end_is_seen() -> None:
    done = struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0)
    error = struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -1)

    assert _count(done, Counter()) is False
    with pytest.raises(OSError, match="not permitted"):
        _count(error, Counter())


def test_listening_sockets_of_this_machine_are_counted() -> None:
    before = count_states()[10]
    with socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        counted = count_states()[10]

    assert counted >= before + 2


def test_kernel_counters_and_file_handles(host: FakeHost) -> None:
    readings = kernel.make(host.context)()

    assert values(readings, "kernel") == {
        "boot_time": 1_700_000_000.0,
        "context_switches": 987_654.0,
        "interrupts": 123_456.0,
        "processes_forked": 4242.0,
        "oom_kill": 3.0,
    }
    assert values(readings, "linux_sysctl_fs") == {"file_nr": 1024.0, "file_max": 99_999.0}


def test_pressure_has_a_series_per_resource_and_type(host: FakeHost) -> None:
    readings = pressure.make(host.context)()

    assert len(readings) == 6
    assert values(readings, "pressure", resource="io", type="some") == {
        "avg10": 9,
        "avg60": 8,
        "avg300": 7,
        "total": 50,
    }


def test_processes_are_counted_by_state(host: FakeHost) -> None:
    for pid, state in enumerate("RSSDTtZXI?", start=10):
        host.process(pid, f"p{pid}", state, threads=2)

    row = values(processes.make(host.context)(), "processes")

    assert row == {
        "total": 10.0,
        "running": 1.0,
        "sleeping": 2.0,
        "blocked": 1.0,
        "stopped": 2.0,
        "zombies": 2.0,
        "idle": 1.0,
        "unknown": 1.0,
        "total_threads": 20.0,
    }


def test_the_process_table_has_rates_names_users_and_start(host: FakeHost) -> None:
    read = processes.make(host.context)
    host.process(10, "busy) (x", ticks=100, rss=50, started=500, read=1000)
    host.process(11, "writer", ticks=10, rss=20)
    read()
    host.write("proc/stat", STAT_LATER)
    host.process(10, "busy) (x", ticks=100 + HERTZ * 5, rss=60, started=500, read=21_000, threads=3)
    host.process(11, "writer", ticks=11, rss=20, written=50_000)
    host.tick(10_000)
    read()

    table = ProcessTable.FromString(read.take_table())

    assert list(table.pid) == [10, 11]
    assert list(table.name) == ["busy) (x", "writer"]
    assert table.user[0] == "root"
    assert table.cpu_percent[0] == pytest.approx(50.0)
    assert (table.rss[0], table.threads[0]) == (60 * PAGE, 3)
    assert (table.read_bytes[0], table.write_bytes[1]) == (2000.0, 5000.0)
    assert table.started_ms[0] == 1_700_000_000_000 + 500 * 1000 // HERTZ
    assert read.take_table() == b"", "a table is given once"


def test_names_of_processes_can_be_kept_back(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, process_names=False)
    read = processes.make(host.context)
    host.process(10, "secret", ticks=5)
    read()
    host.tick()
    read()

    table = ProcessTable.FromString(read.take_table())

    assert (list(table.name), list(table.user)) == ([""], [""])


def test_control_characters_in_a_process_name_are_replaced(host: FakeHost) -> None:
    read = processes.make(host.context)
    host.process(10, "a\x1b[31m\nb")
    read()
    host.tick()
    read()

    assert list(ProcessTable.FromString(read.take_table()).name) == ["a?[31m?b"]


def test_a_process_that_ended_and_one_that_came_are_noticed(host: FakeHost) -> None:
    read = processes.make(host.context)
    host.process(10, "old")
    read()
    for path in (host.root / "proc/10").iterdir():
        path.unlink()
    (host.root / "proc/10").rmdir()
    host.process(11, "new", "R")
    host.write("proc/stat", STAT_LATER)
    host.tick()

    row = values(read(), "processes")

    assert (row["total"], row["running"]) == (1, 1)
    read.close()


def test_the_top_is_the_union_of_four_orders() -> None:
    everything = []
    for pid in range(100):
        one = Process(pid)
        one.rss = 1 + pid
        everything.append(one)
    everything[3].cpu_percent = 5.0
    everything[4].read_rate = 9.0
    everything[5].write_rate = 9.0

    chosen = top(everything)

    assert len(chosen) == ROWS
    assert chosen[0].pid == 3
    assert {3, 4, 5, 99} <= {one.pid for one in chosen}
    assert top([]) == []


def test_sensors_are_named_by_chip_and_label_and_numbered_when_alike(host: FakeHost) -> None:
    for chip in ("hwmon0", "hwmon1"):
        host.write(f"sys/class/hwmon/{chip}/name", "nvme\n")
        host.write(f"sys/class/hwmon/{chip}/temp1_input", "41850\n")
        host.write(f"sys/class/hwmon/{chip}/temp1_label", "Composite\n")
    host.write("sys/class/hwmon/hwmon2/name", "nct6775\n")
    host.write("sys/class/hwmon/hwmon2/fan2_input", "1200\n")
    host.write("sys/class/power_supply/BAT0/type", "Battery\n")
    host.write("sys/class/power_supply/BAT0/capacity", "87\n")
    host.write("sys/class/power_supply/AC/type", "Mains\n")

    readings = sensors.make(host.context)()

    assert values(readings, "temp", sensor="nvme_composite")["temp"] == pytest.approx(41.85)
    assert values(readings, "temp", sensor="nvme_composite_2")["temp"] == pytest.approx(41.85)
    assert values(readings, "fan", sensor="nct6775_fan2") == {"speed": 1200.0}
    assert values(readings, "battery", name="BAT0") == {"percent": 87.0}


def test_thermal_zones_stand_in_where_no_chip_has_a_temperature(host: FakeHost) -> None:
    host.write("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    host.write("sys/class/thermal/thermal_zone0/temp", "50000\n")

    assert values(sensors.make(host.context)(), "temp", sensor="x86_pkg_temp") == {"temp": 50.0}


def test_a_gpu_is_read_from_its_driver_s_files(host: FakeHost) -> None:
    device = "sys/class/drm/card0/device"
    numbers = {"gpu_busy_percent": 37, "mem_info_vram_used": 1000, "mem_info_vram_total": 8000}
    numbers |= {"hwmon/hwmon4/temp1_input": 65000, "hwmon/hwmon4/power1_average": 120_000_000}
    for name, number in numbers.items():
        host.write(f"{device}/{name}", f"{number}\n")
    host.write("sys/class/drm/card0-DP-1/status", "connected\n")

    row = values(gpu.make(host.context)(), "gpu", name="card0")

    assert row == {"utilisation": 37, "memory_used": 1000, "memory_total": 8000, "temperature": 65, "power": 120}


def test_services_of_unified_control_groups(host: FakeHost) -> None:
    group = "sys/fs/cgroup/system.slice/nginx.service"
    host.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    host.write(f"{group}/cgroup.events", "populated 1\nfrozen 0\n")
    host.write(f"{group}/cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    host.write(f"{group}/memory.current", "4096\n")
    host.write("sys/fs/cgroup/system.slice/transient.service/cgroup.events", "populated 1\n")
    host.write("usr/lib/systemd/system/nginx.service", "[Unit]\n")
    read = units.make(host.context)

    running = values(read(), "systemd_units", name="nginx.service")
    host.write(f"{group}/cgroup.events", "populated 0\nfrozen 0\n")
    host.write("sys/fs/cgroup/system.slice/transient.service/cgroup.events", "populated 0\n")
    stopped = read()

    assert running == {"state": 0.0, "cpu": 2.5, "memory": 4096.0}
    assert [dict(series.tags)["name"] for series, _ in stopped] == ["nginx.service"], "transient units are forgotten"
    assert stopped[0][1][0] == 2.0


def test_services_of_version_1_control_groups(host: FakeHost) -> None:
    unit = "system.slice/ssh.service"
    host.write(f"sys/fs/cgroup/systemd/{unit}/cgroup.procs", "1\n")
    host.write(f"sys/fs/cgroup/cpuacct/{unit}/cpuacct.usage", "3000000000\n")
    host.write(f"sys/fs/cgroup/memory/{unit}/memory.usage_in_bytes", "8192\n")

    row = values(units.make(host.context)(), "systemd_units", name="ssh.service")

    assert row == {"state": 0.0, "cpu": 3.0, "memory": 8192.0}


def test_containers_have_docker_s_name_and_their_state(host: FakeHost) -> None:
    web, pod = "a" * 64, "b" * 64
    host.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    for group, frozen in ((f"system.slice/docker-{web}.scope", 1), (f"machine.slice/libpod-{pod}.scope", 0)):
        host.write(f"sys/fs/cgroup/{group}/cgroup.events", f"populated 1\nfrozen {frozen}\n")
        host.write(f"sys/fs/cgroup/{group}/cpu.stat", "usage_usec 1000000\n")
        host.write(f"sys/fs/cgroup/{group}/memory.current", "100\n")
    host.write(f"var/lib/docker/containers/{web}/config.v2.json", '{"Name": "/web", "Config": {"Env": ["S=1"]}}')
    read = containers.make(host.context)

    readings = read()
    for path in (host.root / f"sys/fs/cgroup/system.slice/docker-{web}.scope").iterdir():
        path.unlink()
    (host.root / f"sys/fs/cgroup/system.slice/docker-{web}.scope").rmdir()
    later = read()

    assert values(readings, "docker_container", name="web") == {"state": 1.0, "cpu": 1.0, "memory": 100.0}
    assert values(readings, "docker_container", name="b" * 12)["state"] == 0.0
    assert values(later, "docker_container", name="web")["state"] == 2.0


@pytest.mark.parametrize("config", ["", "[]", '{"Name": 5', '{"Nome": "x"}'])
def test_a_container_with_a_broken_config_goes_by_its_id(host: FakeHost, config: str) -> None:
    host.write("sys/fs/cgroup/cgroup.controllers", "\n")
    host.write(f"sys/fs/cgroup/docker/{'c' * 64}/cgroup.events", "populated 1\n")
    host.write(f"var/lib/docker/containers/{'c' * 64}/config.v2.json", config)

    (reading,) = containers.make(host.context)()

    assert reading[0].tags == (("name", "c" * 12),)


def test_a_device_that_comes_back_is_read_anew(host: FakeHost) -> None:
    host.write("sys/class/hwmon/hwmon0/temp1_input", "1000\n")
    assert host.files.number("sys/class/hwmon/hwmon0/temp1_input") == 1000.0
    descriptor, _ = host.files._open["sys/class/hwmon/hwmon0/temp1_input"]
    unreadable = os.open(host.root / "etc/passwd", os.O_WRONLY)
    os.dup2(unreadable, descriptor)  # what is left of an unplugged device: every read fails
    os.close(unreadable)
    host.files.next_tick()

    assert host.files.number("sys/class/hwmon/hwmon0/temp1_input") == 1000.0


def test_a_file_that_grew_is_read_whole(host: FakeHost) -> None:
    host.write("proc/grows", "x" * 10)
    host.files.read("proc/grows")
    host.write("proc/grows", "y" * 100_000)
    host.files.next_tick()

    assert host.files.read("proc/grows") == b"y" * 100_000


def test_readers_can_be_switched_off_and_missing_ones_say_why(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, readers_off=("net",))

    made, without = build(host.context, LINUX)

    assert "net" not in {one.name for one in made}
    assert without["net"] == "switched off"
    assert "gpu" in without
    assert {"cpu", "memory", "disk", "netstat", "processes"} <= {one.name for one in made}


def test_every_value_of_a_full_fake_host_is_finite_at_the_second_reading(host: FakeHost) -> None:
    made, _ = build(host.context, LINUX)
    for one in made:
        one.read()
    host.write("proc/stat", STAT_LATER)
    host.write("proc/diskstats", DISKSTATS_LATER)
    host.tick()

    odd = [
        (series.measurement, field)
        for one in made
        for series, row in one.read()
        for field, value in zip(series.fields, row, strict=True)
        if not math.isfinite(value)
    ]

    assert odd == []
