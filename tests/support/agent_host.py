"""A host made of files: /proc and /sys trees with known content, and clocks that tests turn."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fleetwatch_agent.clocks import Clocks
from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.settings import AgentSettings

STAT = """cpu  1000 100 500 8000 200 10 20 30 400 50
cpu0 500 50 250 4000 100 5 10 15 200 25
cpu1 500 50 250 4000 100 5 10 15 200 25
intr 123456 9 0 0
ctxt 987654
btime 1700000000
processes 4242
procs_running 2
procs_blocked 1
softirq 1 2 3
"""
STAT_LATER = """cpu  1100 120 550 8600 260 12 26 50 440 60
cpu0 550 60 275 4300 130 6 13 25 220 30
cpu1 550 60 275 4300 130 6 13 25 220 30
intr 123999 9 0 0
ctxt 988888
btime 1700000000
processes 4250
procs_running 2
procs_blocked 1
softirq 1 2 3
"""
MEMINFO = """MemTotal:       16000000 kB
MemFree:         4000000 kB
MemAvailable:    9000000 kB
Buffers:          500000 kB
Cached:          3000000 kB
SwapCached:            0 kB
Active:          5000000 kB
Inactive:        2000000 kB
Dirty:              1234 kB
Writeback:            56 kB
Shmem:            700000 kB
Slab:             900000 kB
SReclaimable:     600000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
"""
DISKSTATS = """   7       0 loop0 11 0 22 3 0 0 0 0 0 4 3
 253       0 vda 1000 5 80000 700 2000 9 160000 1300 3 1500 2000 0 0 0 0
 253       1 vda1 900 5 70000 600 1900 9 150000 1200 0 1400 1800 0 0 0 0
"""
DISKSTATS_LATER = """   7       0 loop0 11 0 22 3 0 0 0 0 0 4 3
 253       0 vda 1050 5 84000 800 2050 9 168000 1500 1 1900 2500 0 0 0 0
 253       1 vda1 950 5 74000 700 1950 9 158000 1400 0 1800 2300 0 0 0 0
"""
MOUNTINFO = r"""1 0 253:1 / / rw,relatime - ext4 /dev/vda1 rw
2 1 0:5 / /proc rw - proc proc rw
3 1 253:1 /var/lib/x /srv/bind rw shared:1 - ext4 /dev/vda1 rw
4 1 253:2 / /mnt/my\040disk ro,relatime shared:2 - xfs /dev/mapper/data rw
5 1 0:44 / /mnt/nfs rw - nfs4 server:/export rw
6 1 0:50 / /run rw - tmpfs tmpfs rw
"""
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0: 5000 50 1 2 0 0 0 0 7000 70 3 4 0 0 0 0
 down0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
veth12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
"""
SNMP = """Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs RetransSegs
Tcp: 1 200 120000 -1 300 200 7 8 12 5000 77
Udp: InDatagrams
Udp: 1
"""
PRESSURE = """some avg10={:.2f} avg60={:.2f} avg300={:.2f} total={}
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
FILES = {
    "proc/stat": STAT,
    "proc/meminfo": MEMINFO,
    "proc/vmstat": "nr_free_pages 1\npswpin 10\npswpout 20\noom_kill 3\n",
    "proc/loadavg": "1.50 2.50 3.50 2/345 6789\n",
    "proc/diskstats": DISKSTATS,
    "proc/self/mountinfo": MOUNTINFO,
    "proc/net/dev": NET_DEV,
    "proc/net/snmp": SNMP,
    "proc/net/sockstat": "sockets: used 300\n"
    "TCP: inuse 9 orphan 1 tw 5 alloc 14 mem 6\nUDP: inuse 4 mem 2\nRAW: inuse 0\n",
    "proc/net/sockstat6": "TCP6: inuse 3\nUDP6: inuse 2\nRAW6: inuse 0\n",
    "proc/sys/fs/file-nr": "1024\t0\t99999\n",
    "proc/pressure/cpu": PRESSURE.format(1.5, 2.5, 3.5, 1000),
    "proc/pressure/memory": PRESSURE.format(0.1, 0.2, 0.3, 5),
    "proc/pressure/io": PRESSURE.format(9, 8, 7, 50),
    "sys/class/net/eth0/flags": "0x1003\n",
    "sys/class/net/eth0/speed": "1000\n",
    "sys/class/net/down0/flags": "0x1002\n",
    "sys/block/vda/size": "1\n",
    "sys/block/loop0/size": "1\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
}


class Clock:
    """Seconds and milliseconds that tests set."""

    def __init__(self, boot_ms: int = 1_000_000, wall_ms: int = 1_700_000_000_000) -> None:
        self.boot = boot_ms
        self.wall = wall_ms

    def advance(self, ms: int) -> None:
        self.boot += ms
        self.wall += ms

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.boot, lambda: self.wall)


class FakeHost:
    """A tree of files below a folder, and the context readers are made from."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.clock = Clock()
        self.space: dict[str, Any] = {}
        for path, text in FILES.items():
            self.write(path, text)
        self.files = Files(root)
        self.settings = AgentSettings(**settings)

    def write(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            # In place, as the kernel does it: descriptors that are open see the new content.
            with open(target, "r+b") as file:
                file.truncate(0)
                file.write(text if isinstance(text, bytes) else text.encode())
        else:
            target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def process(self, pid: int, name: str, state: str = "S", ticks: int = 0, rss: int = 10, **more: int) -> None:
        """One process; `ticks` of processor time, `rss` pages; also threads, started (ticks), read, written (bytes)."""
        fields = ["0"] * 50
        fields[0], fields[11], fields[17] = state, str(ticks), str(more.get("threads", 1))
        fields[19], fields[21] = str(more.get("started", 100)), str(rss)
        self.write(f"proc/{pid}/stat", f"{pid} ({name}) {' '.join(fields)}\n")
        read, written = more.get("read", 0), more.get("written", 0)
        self.write(
            f"proc/{pid}/io", f"rchar: 1\nwchar: 1\nsyscr: 1\nsyscw: 1\nread_bytes: {read}\nwrite_bytes: {written}\n"
        )

    @property
    def context(self) -> Context:
        return Context(self.files, self.settings, lambda: self.clock.boot / 1000, self.statvfs)

    def statvfs(self, path: str) -> Any:
        if path in self.space:
            return self.space[path]
        raise FileNotFoundError(path)

    def tick(self, ms: int = 10_000) -> None:
        self.clock.advance(ms)
        self.files.next_tick()


def volume(blocks: int, free: int, available: int, files: int = 1000, files_free: int = 600) -> Any:
    """What statvfs says of a file system of 4 kB blocks."""
    return SimpleNamespace(
        f_frsize=4096, f_blocks=blocks, f_bfree=free, f_bavail=available, f_files=files, f_ffree=files_free
    )


def values(readings: Any, measurement: str, **tags: str) -> dict[str, float]:
    """Fields of the one series with these tags."""
    found = [
        dict(zip(series.fields, row, strict=True))
        for series, row in readings
        if series.measurement == measurement and tags.items() <= dict(series.tags).items()
    ]
    assert len(found) == 1, f"{len(found)} series of {measurement} {tags}"
    return found[0]


PAGE = os.sysconf("SC_PAGESIZE")
HERTZ = os.sysconf("SC_CLK_TCK")
