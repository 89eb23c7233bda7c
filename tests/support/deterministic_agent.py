"""A real agent whose host is a formula: the product's own sampler, spool and sender, fed by `values` instead of /proc.

`python -m tests.support.deterministic_agent` runs one. It writes a ledger of every row (see `oracle`), prints `drained`
when it samples no more and its spool is empty, and can be killed at any time and started again with the same
arguments. `--synchronous` and `--naive-stamps` switch guards off, for negative controls.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
import time
import uuid
from pathlib import Path

from fleetwatch_agent import logs
from fleetwatch_agent import sampler as sampler_module
from fleetwatch_agent.clocks import Clocks, host_clocks
from fleetwatch_agent.readers import Named
from fleetwatch_agent.sampler import Plan, Sampler
from fleetwatch_agent.samples import Sample, Series, Values
from fleetwatch_agent.sender import Contact, Introduction, Sender
from fleetwatch_agent.sender import session as session_module
from fleetwatch_agent.sender.session import Session
from fleetwatch_agent.spool import Limits, Spool
from fleetwatch_agent.spool import file as spool_file
from fleetwatch_agent.spool import spool as spool_module
from fleetwatch_agent.stamps import Stamps
from fleetwatch_agent.vitals import Vitals
from fleetwatch_proto.v1 import ingest_pb2 as wire

from tests.support.oracle import LedgerFile, read_ledger
from tests.support.values import HostValues, host_series

SPOOL_KEY = "deterministic"
"""Stands for the spool in the formula: a row keeps its values when it moves to another spool."""

STARTED = "deterministic agent started"
DRAINED = "drained"


class Source:
    """The host: what a reader reads at the present tick."""

    def __init__(self, host: str, tick: int) -> None:
        self.host, self.tick = host, tick
        self._series = [_series(one) for one in host_series()]
        self._values = HostValues(host_series())

    def read(self) -> Values:
        """One row, series by series."""
        row = self._values.at(self.host, SPOOL_KEY, self.tick, 1)[0].tolist()
        readings: Values = []
        for one in self._series:
            readings.append((one, row[: len(one.fields)]))
            del row[: len(one.fields)]
        return readings


class LedgeredSpool(Spool):
    """The product's spool; every sample is entered into the ledger before and after it is kept."""

    source: Source
    ledger: LedgerFile

    def append(self, sample: Sample, ship: bool, stamps: Stamps) -> None:
        """As the spool's; the row counts as accepted only when it is on disk."""
        self.ledger.issue(sample.t_ms, self.source.tick)
        self.source.tick += 1
        super().append(sample, ship, stamps)
        if not self.trouble:
            self.ledger.accept(sample.t_ms)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.deterministic_agent", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--collector", required=True, help="HOST:PORT")
    parser.add_argument("--until", type=Path, required=True, help="samples until this file exists")
    parser.add_argument("--interval-ms", type=int, default=100)
    parser.add_argument("--gather-ms", type=int, default=400)
    parser.add_argument("--spool-bytes", type=int, default=256 << 20)
    parser.add_argument("--keep-free", type=int, default=0)
    parser.add_argument("--memory-bytes", type=int, default=8 << 20)
    parser.add_argument("--ack-timeout", type=float, default=10.0)
    parser.add_argument("--retry-s", type=float, default=1.0, help="between attempts to use a disk that failed")
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL", "OFF"), default="FULL")
    parser.add_argument("--naive-stamps", action="store_true", help="stamps rows with the wall clock as it is")
    parser.add_argument("--clock-file", type=Path, help="milliseconds the wall clock is wrong by, read at every look")
    return parser.parse_args(argv)


class DeterministicAgent:
    """The agent's parts, wired as its own `__main__` does."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        known = read_ledger(args.ledger, args.host, SPOOL_KEY)
        self.source = Source(args.host, max(known.issued.values(), default=-1) + 1)
        self.clocks = _clocks(args.clock_file)
        self.vitals = Vitals()
        self.spool = LedgeredSpool(args.state_dir, Limits(args.spool_bytes, args.keep_free), args.memory_bytes)
        self.spool.source, self.spool.ledger = self.source, LedgerFile(args.ledger)
        plan = Plan(args.host, args.interval_ms, args.gather_ms, 1 << 40)
        reader = Named("formula", self.source.read, slow=False)
        self.sampler = Sampler(plan, [reader], lambda: b"", lambda: None, self.spool, self.clocks, self.vitals)
        self.sender = self._sender()
        self.spool.on_change = self.sender.wake
        self.stopping = threading.Event()

    def _sender(self) -> Sender:
        args = self._args
        contact = Contact(
            addresses=(args.collector,),
            agent_id=str(uuid.uuid5(uuid.NAMESPACE_OID, args.host)),
            host=args.host,
            token="",
            connect_timeout_s=5.0,
            ack_timeout_s=args.ack_timeout,
        )
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        introduction = Introduction(boot_id, wire.Facts(os="formula"), (), args.interval_ms)

        def session() -> Session:
            return Session(self.spool, self.clocks, self.vitals, lambda interval_ms, each_row, for_s: None)

        return Sender(contact, introduction, self.spool, self.clocks, session)

    def run(self) -> None:
        """Samples and sends, says when nothing is left; ends on SIGTERM."""
        self.sender.start()
        sampling = threading.Thread(target=self._sample, daemon=True)
        sampling.start()
        while not self.stopping.wait(0.05):
            if not sampling.is_alive() and not self.spool.figures().batches and not self.spool.trouble:
                print(DRAINED, flush=True)
                self.stopping.wait()
        self.sender.stop(wire.Goodbye.STOP)
        self.spool.close()

    def _sample(self) -> None:
        interval_s, due = self._args.interval_ms / 1000, time.monotonic()
        self.sampler.prime()
        while not self._args.until.exists() and not self.stopping.is_set():
            self.sampler.tick()
            due = max(due + interval_s, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        self.spool.flush()


def _series(one: wire.Series) -> Series:
    return Series(one.measurement, tuple((tag.key, tag.value) for tag in one.tags), tuple(one.fields))


def _clocks(clock_file: Path | None) -> Clocks:
    host = host_clocks()
    if clock_file is None:
        return host
    return Clocks(host.boot_ms, lambda: host.wall_ms() + int(clock_file.read_text() or 0))


def _weaken(synchronous: str) -> None:
    """Lets every spool that is opened from now on promise what it does not keep."""
    module = vars(spool_file)
    connect = module["connect"]

    def weak(path: Path | None) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(path)
        db.execute(f"PRAGMA synchronous = {synchronous}")
        return db

    module["connect"] = weak


def main() -> int:
    args = arguments(sys.argv[1:])
    logs.set_up("info")
    if args.synchronous != "FULL":
        _weaken(args.synchronous)
    if args.naive_stamps:
        vars(sampler_module)["stamp"] = lambda stamps, wall_ms: (stamps, wall_ms)
    vars(spool_module)["_RETRY_S"] = args.retry_s  # half a minute in the product; tests are in a hurry
    vars(session_module)["_STATS_EVERY_S"] = 2.0  # a minute in the product
    print(STARTED, flush=True)
    agent = DeterministicAgent(args)
    signal.signal(signal.SIGTERM, lambda number, frame: agent.stopping.set())
    agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
