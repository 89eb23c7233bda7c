"""Six kinds of bad network at once, each between one real agent and the collector: nothing lost, doubled or altered."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.conditions import wait_until_async
from tests.support.faults import Fault, FaultProxy, Kind
from tests.support.oracle import judge
from tests.support.ordeal import NO_LIMITS, reopened
from tests.support.parts import Collector, DeterministicAgent
from tests.support.values import host_series

FAULTS = (
    Fault(Kind.DELAY, seconds=0.4),
    Fault(Kind.TRICKLE, bytes_per_s=2_000),
    Fault(Kind.RESET, chance=0.1),
    Fault(Kind.HALF_OPEN),
    Fault(Kind.PARTITION),
    Fault(Kind.CORRUPT, chance=0.1),
)


@dataclass(frozen=True)
class Line:
    """An agent and the network between it and the collector."""

    fault: Fault
    proxy: FaultProxy
    agent: DeterministicAgent

    @property
    def rows(self) -> int:
        """Accepted by the spool so far."""
        return len(self.agent.ledger().accepted)

    async def sampled(self, rows: int) -> None:
        """Waits until so many rows are accepted."""
        await wait_until_async(lambda: self.rows >= rows, within_s=60, what=f"{rows} rows of {self.agent.name}")


async def suffer(line: Line, rounds: int, rows: int) -> None:
    """The fault comes and goes, with so many rows sampled without it and with it."""
    for _ in range(rounds):
        for fault in (None, line.fault):
            line.proxy.fault = fault
            await line.sampled(line.rows + rows)
    line.proxy.fault = None


async def all_suffer(folder: Path, rounds: int, rows: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        collector = stack.enter_context(Collector(folder, NO_LIMITS))
        lines = []
        for number, fault in enumerate(FAULTS):
            proxy = FaultProxy(collector.port, seed=number)
            await proxy.start()
            stack.push_async_callback(proxy.stop)
            address = f"127.0.0.1:{proxy.port}"
            agent = DeterministicAgent(f"{fault.kind}", address, folder, ack_timeout=3, interval_ms=100, gather_ms=200)
            lines.append(Line(fault, proxy, stack.enter_context(agent)))

        await asyncio.gather(*(suffer(line, rounds, rows) for line in lines))
        for line in lines:
            line.agent.sample_no_more()
        await wait_until_async(
            lambda: all(line.agent.drained for line in lines), within_s=60, what="everything acknowledged"
        )
        collector.kill()

        assert {line.fault.kind: line.proxy.done[line.fault.kind] > 0 for line in lines} == dict.fromkeys(Kind, True)
        with reopened(collector, {}) as store:
            for line in lines:
                verdict = judge(store, [line.agent.ledger()], host_series())
                print(f"\n{line.fault.kind}, {line.proxy.done[line.fault.kind]} times: {verdict}")
                assert verdict.clean, f"{line.fault.kind}: {verdict}\n{line.agent.log[-3000:]}"


@pytest.mark.timeout(240)
async def test_no_kind_of_bad_network_loses_doubles_or_alters_a_point(tmp_path: Path) -> None:
    await all_suffer(tmp_path, rounds=1, rows=60)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_fifty_rounds_of_every_kind_of_bad_network(tmp_path: Path) -> None:
    await all_suffer(tmp_path, rounds=50, rows=60)
