"""Loads a collector with simulated agents: `python -m tests.benchmarks.load --agents 1000 --interval 10 --seconds 60`.

Several load processes make up one fleet, because one process may hold only so many connections. Prints a progress line
every second and a summary, and with `--json` the summary as one JSON object instead.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import signal
import sys
import time
from array import array
from collections import Counter
from typing import Any

from tests.support.load import Fleet, LoadSettings, Tally

AGENTS_PER_PROCESS = 4000


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """The state of the whole fleet at one time."""

    at_s: float
    connected: int
    unacked: int
    tally: Tally
    cpu_s: float


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:7400", help="collector, HOST:PORT (default %(default)s)")
    parser.add_argument("--agents", type=int, default=100, help="how many (default %(default)s)")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between samples (default %(default)s)")
    parser.add_argument("--rows", type=int, default=1, help="samples per batch (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to load (default %(default)s)")
    parser.add_argument("--encoding", choices=("bitmap", "raw", "zlib"), default="bitmap")
    parser.add_argument("--connect-over", type=float, default=5.0, help="seconds the connections are spread over")
    per_process = f"load processes (default: one per {AGENTS_PER_PROCESS} agents)"
    parser.add_argument("--processes", type=int, default=0, help=per_process)
    parser.add_argument(
        "--flood", action="store_true", help="sample as fast as acknowledgements come, times counted up"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--first-agent", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def settings_of(args: argparse.Namespace) -> LoadSettings:
    host, _, port = args.target.rpartition(":")
    return LoadSettings(
        host=host,
        port=int(port),
        agents=args.agents,
        first_agent=args.first_agent,
        interval_s=args.interval,
        rows=args.rows,
        encoding=args.encoding,
        connect_over_s=args.connect_over,
        flood=args.flood,
        start_ms=(time.time_ns() // 1_000_000) - 3_600_000,
    )


async def work(args: argparse.Namespace) -> None:
    """A load process: one JSON line a second about its own fleet, the last one with latencies.

    SIGUSR1 forgets the latencies so far, SIGTERM ends it before its time.
    """
    fleet = Fleet(settings_of(args))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, fleet.tally.forget_latencies)
    gc.freeze()
    fleet.start()
    end = time.monotonic() + args.seconds
    while (left := end - time.monotonic()) > 0 and not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), min(1.0, left))
        _print_moment(fleet, latencies=False)
    _print_moment(fleet, latencies=True)
    await fleet.stop()


def _print_moment(fleet: Fleet, *, latencies: bool) -> None:
    tally = {name: getattr(fleet.tally, name) for name in Tally.__slots__}
    for name in ("ack_s", "delivery_s"):
        tally[name] = list(getattr(fleet.tally, name)) if latencies else []
    moment = {"connected": fleet.connected, "unacked": fleet.unacked, "cpu_s": time.process_time(), "tally": tally}
    print(json.dumps(moment), flush=True)


class LoadProcesses:
    """The load processes of one run; `moments` holds what each said last."""

    def __init__(self, argv: list[str]) -> None:
        self.args = arguments(argv)
        self._argv = argv
        self._last: dict[int, dict[str, Any]] = {}
        self._started = time.monotonic()
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Starts them; they stop by themselves after `--seconds`."""
        count = self.args.processes or -(-self.args.agents // AGENTS_PER_PROCESS)
        share, rest = divmod(self.args.agents, count)
        first = self.args.first_agent
        for place in range(count):
            agents = share + (place < rest)
            command = [*self._argv, "--worker", "--agents", str(agents), "--first-agent", str(first)]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.benchmarks.load", *command, stdout=asyncio.subprocess.PIPE, limit=1 << 28
            )
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(place, process)))
            first += agents

    async def _read(self, place: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._last[place] = json.loads(line)

    async def finished(self) -> None:
        """Waits for all of them.

        Raises:
            RuntimeError: one failed.
        """
        await asyncio.gather(*self._readers)
        codes = [await process.wait() for process in self._processes]
        if any(codes):
            raise RuntimeError(f"load processes ended with {codes}")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all that still run; see `work`."""
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(number)

    def kill(self) -> None:
        """Ends those that still run."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()

    @property
    def running(self) -> bool:
        """Whether any has not said its last."""
        return not all(reader.done() for reader in self._readers)

    def now(self) -> Moment:
        """What all of them said last, added up."""
        total, connected, unacked, cpu_s = Tally(), 0, 0, 0.0
        for said in self._last.values():
            total.add(_tally(said["tally"]))
            connected += said["connected"]
            unacked += said["unacked"]
            cpu_s += said["cpu_s"]
        return Moment(time.monotonic() - self._started, connected, unacked, total, cpu_s)


def _tally(said: dict[str, Any]) -> Tally:
    arrays = {name: array("d", said[name]) for name in ("ack_s", "delivery_s")}
    counters = {name: Counter(said[name]) for name in ("closed", "nacks")}
    return Tally(**said | arrays | counters)


def summary(moment: Moment, agents: int, seconds: float) -> dict[str, Any]:
    """The figures of a finished run."""
    tally = moment.tally
    return {
        "agents": agents,
        "seconds": round(seconds, 1),
        "connected": moment.connected,
        "points_issued": tally.points_issued,
        "points_acked": tally.points_acked,
        "points_per_s": round(tally.points_acked / seconds),
        "ack_p50_ms": round(1000 * tally.ack_percentile_s(0.5), 1),
        "ack_p99_ms": round(1000 * tally.ack_percentile_s(0.99), 1),
        "bytes_per_point": round(tally.bytes_sent / max(1, tally.points_sent), 2),
        "reconnects": tally.connects - agents,
        "closed": dict(tally.closed.most_common(5)),
        "nacks": dict(tally.nacks),
        "batches_refused": tally.batches_refused,
        "load_cpu_s": round(moment.cpu_s, 1),
    }


async def load(argv: list[str]) -> int:
    """Runs the load, prints what happened; 1 when nothing was acknowledged or an agent is not connected at the end."""
    processes = LoadProcesses(argv)
    args = processes.args
    await processes.start()
    try:
        while processes.running:
            await asyncio.sleep(1.0)
            if not args.json:
                _print_progress(processes.now(), args.agents)
        await processes.finished()
    finally:
        processes.kill()
    figures = summary(processes.now(), args.agents, args.seconds)
    print(json.dumps(figures) if args.json else _table(figures))
    return 0 if figures["points_acked"] and figures["connected"] == args.agents else 1


def _print_progress(moment: Moment, agents: int) -> None:
    tally = moment.tally
    line = (
        f"{moment.at_s:6.0f} s  connected {moment.connected}/{agents}  acked {tally.points_acked:,} points  "
        f"waiting {moment.unacked} batches  reconnects {max(0, tally.connects - agents)}"
    )
    ending = "\r" if sys.stderr.isatty() else "\n"
    print(line, end=ending, file=sys.stderr, flush=True)


def _table(figures: dict[str, Any]) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in figures.items())


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def main() -> int:
    argv = sys.argv[1:]
    if arguments(argv).worker:
        asyncio.run(work(arguments(argv)))
        return 0
    return asyncio.run(load(argv))


if __name__ == "__main__":
    sys.exit(main())
