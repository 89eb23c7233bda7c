"""What can be set about the agent."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetwatch_proto.settings import ConfigError, setting

MIN_INTERVAL_S = 1.0
MAX_INTERVAL_S = 3600.0

PSEUDO_FILE_SYSTEMS = (
    "autofs,binfmt_misc,bpf,cgroup,cgroup2,configfs,debugfs,devfs,devpts,devtmpfs,efivarfs,fuse.lxcfs,fuse.portal,"
    "fuse.gvfsd-fuse,fusectl,hugetlbfs,iso9660,mqueue,nsfs,overlay,aufs,proc,pstore,ramfs,rpc_pipefs,securityfs,"
    "selinuxfs,squashfs,erofs,sysfs,tmpfs,tracefs,nfs,nfs4,cifs,smb3,smbfs,ceph,9p,afs,fuse.sshfs,fuse.s3fs,"
    "fuse.glusterfs,fuse.rclone,glusterfs,lustre"
)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of one agent process; durations are seconds."""

    collector: tuple[str, ...] = setting((), "addresses of collectors, host:port, used in turn")
    interval: float = setting(10.0, "time between samples, 1s to 1h", "duration")
    state_dir: Path | None = setting(None, "folder of the spool and the agent's id")
    host: str = setting("", "name of this host; empty: what the system calls it")
    tags: Mapping[str, str] | None = setting(None, "tags of this host, such as env or role")
    token_file: Path | None = setting(None, "file with the token that the collector asks for")
    gather: float = setting(10.0, "rows are sent together for this long while nobody watches", "duration")
    processes_every: float = setting(10.0, "time between readings of processes, sensors and units", "duration")
    process_names: bool = setting(True, "send the names of programs and their users")
    per_cpu: bool = setting(True, "one series per processor beside cpu-total")
    readers_off: tuple[str, ...] = setting((), "readers that are not run, see `fleetwatch-agent explain`")
    disk_ignore_fstypes: tuple[str, ...] = setting(
        tuple(PSEUDO_FILE_SYSTEMS.split(",")),
        "file systems left out: not storage, or on a network, where a dead server would hang the agent",
    )
    disk_ignore_paths: tuple[str, ...] = setting((), "mount points left out, as shell patterns")
    diskio_ignore: tuple[str, ...] = setting(("loop*", "ram*", "zram*", "fd*", "sr*"), "devices left out, as patterns")
    diskio_partitions: bool = setting(False, "partitions too, not only whole devices")
    net_ignore: tuple[str, ...] = setting(("lo", "veth*"), "interfaces left out, as patterns")
    spool_bytes: int = setting(256 * 1024**2, "largest size of the spool", "bytes")
    spool_keep_free: int = setting(200 * 1024**2, "free space the spool leaves on its disk", "bytes")
    memory_bytes: int = setting(8 * 1024**2, "samples held in memory while the spool's disk is unusable", "bytes")
    ack_timeout: float = setting(60.0, "a collector silent for this long with batches in flight is left", "duration")
    connect_timeout: float = setting(10.0, "time a collector has to answer a new connection", "duration")
    log_level: str = setting("info", "debug, info, warning or error")

    def __post_init__(self) -> None:
        if not MIN_INTERVAL_S <= self.interval <= MAX_INTERVAL_S:
            raise ConfigError(f"interval = {self.interval:g}s: must be from {MIN_INTERVAL_S:g}s to 1h")
        if self.processes_every < 1 or self.gather < 0:
            raise ConfigError("processes_every must be at least 1s and gather not negative")
        for name, least in (("spool_bytes", 1 << 20), ("memory_bytes", 1 << 16)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least {least}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ConfigError(f"log_level = {self.log_level!r}: must be debug, info, warning or error")
        for address in self.collector:
            _check_address(address)
        _check_host(self.host)

    @property
    def host_name(self) -> str:
        """The name this host goes by."""
        return self.host or socket.gethostname()

    @property
    def state(self) -> Path:
        """The state folder: the one set, else the system's when root, else the user's."""
        return self.state_dir or default_state_dir()


def default_state_dir() -> Path:
    """Where state is kept when nothing is set."""
    if os.geteuid() == 0:
        return Path("/var/lib/fleetwatch-agent")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "fleetwatch-agent"


def is_loopback(address: str) -> bool:
    """Whether what is sent to a collector's address cannot leave this machine."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or address.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"collector = {address!r}: must be host:port")


def _check_host(host: str) -> None:
    if len(host.encode()) > 128 or not host.isascii() or any(ord(letter) <= 32 or letter == "\x7f" for letter in host):
        raise ConfigError(f"host = {host!r}: must be at most 128 ASCII characters without spaces")
