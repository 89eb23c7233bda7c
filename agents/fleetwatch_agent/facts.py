"""What a host says it is: read once at start."""

from __future__ import annotations

import os
import platform
import re

from fleetwatch_proto.v1 import ingest_pb2 as pb

from fleetwatch_agent.readers.source import Files

READS = (
    "/etc/os-release, /proc/cpuinfo, /proc/meminfo, /proc/stat, /proc/sys/kernel/random/boot_id",
    "/sys/class/dmi/id/sys_vendor and product_name, /sys/hypervisor/type, /.dockerenv, /run/systemd/container",
)

_VENDORS = {
    "QEMU": "kvm",
    "KVM": "kvm",
    "Amazon EC2": "kvm",
    "Google": "kvm",
    "VMware": "vmware",
    "VirtualBox": "virtualbox",
    "innotek": "virtualbox",
    "Microsoft Corporation": "hyperv",
    "Xen": "xen",
    "Parallels": "parallels",
}


def facts(files: Files) -> pb.Facts:
    """Facts of this host; what cannot be read is left out."""
    cpuinfo = _read(files, "proc/cpuinfo")
    model = re.search(r"^(?:model name|Processor|cpu model|Hardware)\s*: *(.+)$", cpuinfo, re.MULTILINE)
    cores = set(re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", cpuinfo, re.MULTILINE | re.DOTALL))
    memory = re.search(r"^MemTotal: *(\d+) kB$", _read(files, "proc/meminfo"), re.MULTILINE)
    boot = re.search(r"^btime (\d+)$", _read(files, "proc/stat"), re.MULTILINE)
    threads = os.cpu_count() or 0
    return pb.Facts(
        os=_os_name(_read(files, "etc/os-release")),
        kernel=platform.release(),
        architecture=platform.machine(),
        cpu_model=model[1].strip()[:200] if model else "",
        cores=len(cores) or threads,
        threads=threads,
        memory_bytes=int(memory[1]) * 1024 if memory else 0,
        virtualization=virtualization(files, cpuinfo),
        boot_time_ms=int(boot[1]) * 1000 if boot else 0,
    )


def boot_id(files: Files) -> str:
    """Tells boots apart; made from the boot time where the kernel gives none."""
    return files.text("proc/sys/kernel/random/boot_id") or f"boot-{facts(files).boot_time_ms}"


def virtualization(files: Files, cpuinfo: str) -> str:
    """What this host runs in: a container first, then the machine's maker, then the processor's own word."""
    if files.exists(".dockerenv"):
        return "docker"
    if container := files.text("run/systemd/container"):
        return container[:64]
    maker = f"{files.text('sys/class/dmi/id/sys_vendor')} {files.text('sys/class/dmi/id/product_name')}"
    known = next((kind for vendor, kind in _VENDORS.items() if vendor in maker), "")
    if known:
        return known
    return files.text("sys/hypervisor/type")[:64] or (
        "vm" if re.search(r"^flags.*\bhypervisor\b", cpuinfo, re.MULTILINE) else ""
    )


def _os_name(release: str) -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', release, re.MULTILINE)
    return name[1] if name else f"{platform.system()} {platform.release()}"


def _read(files: Files, path: str) -> str:
    try:
        return files.read(path).decode("utf-8", "replace")
    except OSError:
        return ""
