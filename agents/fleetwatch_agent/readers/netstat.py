"""Sockets by state, from /proc/net/sockstat, /proc/net/snmp and the kernel's socket diagnosis over netlink."""

from __future__ import annotations

import os
import socket
import struct
from collections import Counter

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.samples import ABSENT, Reader, Series, Values

READS = (
    "/proc/net/sockstat, /proc/net/sockstat6, /proc/net/snmp",
    "a netlink socket of NETLINK_SOCK_DIAG: counts of TCP sockets by state, no addresses",
)

_NUMBERS = {
    "tcp_syn_sent": 2,
    "tcp_syn_recv": 3,
    "tcp_fin_wait1": 4,
    "tcp_fin_wait2": 5,
    "tcp_close": 7,
    "tcp_close_wait": 8,
    "tcp_last_ack": 9,
    "tcp_listen": 10,
    "tcp_closing": 11,
}
"""Kernel numbers of TCP states, include/net/tcp_states.h."""

_USE = ("tcp_inuse", "tcp_orphan", "tcp_alloc", "tcp_mem", "udp_socket")
_COUNTERS = ("tcp_retrans", "tcp_active_opens", "tcp_passive_opens")
_SERIES = Series("netstat", (), ("tcp_established", "tcp_time_wait", *_USE, *_COUNTERS, *_NUMBERS))
_WANTED = sum(1 << number for number in _NUMBERS.values()) | 1 << 12
"""Established and waiting sockets, which may be very many, are known from the counters; 12 is a half-open connection,
which the kernel answers as state 3."""

_SNMP = (b"RetransSegs", b"ActiveOpens", b"PassiveOpens", b"CurrEstab")
_NETLINK_SOCK_DIAG = 4
_TCPDIAG_GETSOCK = 18
_REQUEST_DUMP = 0x1 | 0x100 | 0x200
_MOST_SOCKETS = 200_000


def make(context: Context) -> Reader:
    """One row of `netstat`; the states that have to be counted socket by socket are absent between slow readings."""
    return NetstatReader(context)


class NetstatReader:
    """Counters every time, states every `processes_every`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._has_ipv6 = context.files.exists("proc/net/sockstat6")
        self._counted_at = float("-inf")
        self._read_before = False
        self._close_wait = 0.0
        self._page = os.sysconf("SC_PAGESIZE")

    def __call__(self) -> Values:
        files = self._context.files
        states = self._states()
        retransmitted, active, passive, established = _snmp(files.read("proc/net/snmp"))
        four = files.read("proc/net/sockstat")
        inuse, orphan, waiting, allocated, pages = _numbers(four, b"TCP: ")
        (udp, *_) = _numbers(four, b"UDP: ")
        if self._has_ipv6:
            six = files.read("proc/net/sockstat6")
            inuse += _numbers(six, b"TCP6: ")[0]
            udp += _numbers(six, b"UDP6: ")[0]
        # The kernel's count of established connections holds those that the peer has closed, too.
        row = [max(0.0, established - self._close_wait), waiting, inuse, orphan, allocated, pages * self._page, udp]
        return [(_SERIES, [*row, retransmitted, active, passive, *states])]

    def _states(self) -> list[float]:
        now = self._context.clock()
        # Half a second early is on time: ticks jitter.
        if now - self._counted_at < self._context.settings.processes_every - 0.5:
            return [ABSENT] * len(_NUMBERS)
        # The first reading is thrown away by the sampler, so the second counts, too.
        self._counted_at = now if self._read_before else self._counted_at
        self._read_before = True
        try:
            counts = count_states()
        except OSError:
            # A container's sandbox, or a kernel without inet_diag: these fields stay out, the counters do not.
            return [ABSENT] * len(_NUMBERS)
        self._close_wait = float(counts[_NUMBERS["tcp_close_wait"]])
        return [float(counts[number]) for number in _NUMBERS.values()]


def count_states() -> Counter[int]:
    """TCP sockets by kernel state number, IPv4 and IPv6; see sock_diag(7).

    The older form of the request answers for both families in one walk over the kernel's table. Its size is the cost,
    not the sockets: 0.45 ms against 1.0 ms for a request per family, with a table of 262,144 entries.

    Raises:
        OSError: the kernel or a sandbox does not allow it.
    """
    counts: Counter[int] = Counter()
    body = struct.pack("=4x48xII", _WANTED, 0)
    header = struct.pack("=IHHII", 16 + len(body), _TCPDIAG_GETSOCK, _REQUEST_DUMP, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(1.0)
        link.send(header + body)
        while _count(link.recv(65536), counts) and counts.total() < _MOST_SOCKETS:
            pass
    return counts


def _count(data: bytes, counts: Counter[int]) -> bool:
    """Counts the sockets of one datagram; False when it was the last.

    Raises:
        OSError: the kernel answered with an error.
    """
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == 3:  # NLMSG_DONE
            return False
        if kind == 2:  # NLMSG_ERROR
            (code,) = struct.unpack_from("=i", data, at + 16)
            raise OSError(-code, os.strerror(-code))
        counts[data[at + 17]] += 1
        at += (length + 3) & ~3 or 16
    return True


def _numbers(sockstat: bytes, protocol: bytes) -> list[float]:
    """The numbers of `TCP: inuse 3 orphan 0 tw 0 alloc 4 mem 1`, whose order is fixed in the kernel."""
    start = sockstat.index(protocol)
    return list(map(float, sockstat[start : sockstat.index(b"\n", start)].split()[2::2]))


def _snmp(data: bytes) -> tuple[float, ...]:
    """RetransSegs, ActiveOpens, PassiveOpens and CurrEstab: a line of names and a line of numbers."""
    names = data.index(b"Tcp: ")
    numbers = data.index(b"Tcp: ", names + 5)
    words = data[names:numbers].split()
    values = data[numbers : data.index(b"\n", numbers)].split()
    return tuple(float(values[words.index(name)]) for name in _SNMP)
