"""The collector without a network: received bytes to decoded frames, and frames to a store that does nothing.

Points per second of processor time of one thread, on the series and values of `tests.support.values`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleetwatch_collector.accounts import Accounts
from fleetwatch_collector.arrivals import Rows
from fleetwatch_collector.assemble import frames_of
from fleetwatch_collector.errors import CallRefused
from fleetwatch_collector.events import Events
from fleetwatch_collector.identity import How, Identity
from fleetwatch_collector.intake import Intake
from fleetwatch_collector.layout import Plans
from fleetwatch_collector.limits import Budget
from fleetwatch_collector.metrics import Tally
from fleetwatch_collector.presence import Presence
from fleetwatch_collector.session import Parts, Session
from fleetwatch_collector.sessions import Sessions
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_proto.v1 import ingest_pb2 as wire
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.metadata.database import open_database, sqlite_url
from fleetwatch_storage.metadata.hosts import HostDirectory

from tests.support.encoding import encode
from tests.support.values import HostValues, host_schema

SCHEMA = host_schema()
VALUES = HostValues(SCHEMA.series)
START_MS = time.time_ns() // 1_000_000 - 600_000


class Quiet:
    """A call that nobody listens to."""

    writing = False

    def wake(self) -> None:
        pass

    def end(self, refused: CallRefused) -> None:
        pass


@dataclass
class Fleet:
    """Sessions without a server, and the messages they will get: one of each agent per turn."""

    sessions: list[Session]
    messages: list[list[bytes]]
    intake: Intake
    rows: list[Rows]
    points: int

    def run(self) -> tuple[float, float, list[Frame]]:
        """Seconds of processor time to decode, and to make frames."""
        decode_s = frames_s = 0.0
        frames: list[Frame] = []
        for turn in self.messages:
            begin = time.process_time()
            now_ms = time.time_ns() // 1_000_000
            for session, raw in zip(self.sessions, turn, strict=True):
                session.take(raw, now_ms, 0.0)
            self.intake.turn()
            middle = time.process_time()
            frames = frames_of(self.rows)
            frames_s += time.process_time() - middle
            decode_s += middle - begin
            for arrival in (arrival for one in self.rows for arrival in one.arrivals):
                arrival.source.settle(arrival)
            self.rows.clear()
        return decode_s, frames_s, frames


def fleet(folder: Path, agents: int, rows: int, encoding: str, turns: int) -> Fleet:
    """`turns` batches of `rows` rows from each of `agents` agents."""
    settings = CollectorSettings(points_per_s=1e12, points_burst=10**12, byte_budget=2**40)
    decoded: list[Rows] = []
    intake, tally = Intake(decoded.extend), Tally()
    presence = Presence(HostDirectory(open_database(sqlite_url(folder))), Events(tally), 100_000)
    parts = Parts(settings, Plans(), intake, Budget(settings.byte_budget), presence, tally, lambda: False)
    all_sessions = Sessions(Accounts(settings, {}), 1e9)
    sessions = []
    for agent in range(agents):
        identity = Identity(f"agent-{agent}", f"host-{agent}", How.LOOPBACK, "127.0.0.1")
        hello = wire.Hello(spool_id="s", boot_id="b", first_unacked=1, next_seq=1, wall_ms=START_MS + 600_000)
        session = all_sessions.open(identity, hello, parts, Quiet(), START_MS + 600_000, 0.0)
        session.take(wire.AgentMessage(schema=SCHEMA).SerializeToString(), START_MS, 0.0)
        sessions.append(session)
    messages = list(zip(*(_messages(agent, rows, encoding, turns) for agent in range(agents)), strict=True))
    return Fleet(sessions, [list(turn) for turn in messages], intake, decoded, agents * rows * turns * VALUES.columns)


def _messages(agent: int, rows: int, encoding: str, turns: int) -> list[bytes]:
    base: Any = None
    made = []
    for turn in range(turns):
        values = VALUES.at(f"agent-{agent}", "s", turn * rows, rows)
        batch = wire.Batch(
            seq=turn + 1,
            schema_id=SCHEMA.id,
            t0_ms=START_MS + turn * rows * 1000,
            offset_ms=range(0, rows * 1000, 1000),
        )
        encode(batch, values, encoding, base)
        base = turn + 1, values[-1]
        made.append(wire.AgentMessage(batch=batch).SerializeToString())
    return made


@pytest.mark.long
@pytest.mark.parametrize(
    ("agents", "rows", "encoding", "target"),
    [
        (20, 1, "bitmap", 2e6),
        (20, 1, "raw", 2e6),
        (200, 1, "bitmap", 2e6),
        (20, 10, "bitmap", 8e6),
        (20, 10, "zlib", 8e6),
        (20, 10, "raw", 8e6),
    ],
)
async def test_received_to_decoded_frames(tmp_path: Path, agents: int, rows: int, encoding: str, target: float) -> None:
    made = fleet(tmp_path, agents, rows, encoding, max(10, 20_000 // (agents * rows)))
    await asyncio.sleep(0)

    decode_s, frames_s, frames = made.run()

    rate, framed = made.points / decode_s, made.points / (decode_s + frames_s)
    message_us = 1e6 * decode_s * VALUES.columns * rows / made.points
    print(f"\n{encoding}, {rows} rows, {agents} messages a turn: {message_us:.0f} us a message,", end=" ")
    print(f"{rate / 1e6:.1f} M points/s decoded, {framed / 1e6:.1f} M points/s with frames")
    assert sum(frame.points for frame in frames) == agents * rows * VALUES.columns
    assert not any(np.isnan(frame.fields[name]).any() for frame in frames for name in frame.fields)
    assert rate >= target
