"""The spool against a dictionary: random appends, acknowledgements, kills, reopenings, refusals and overflows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from fleetwatch_agent.spool import Limits, Spool, SpoolUnusable, overflow
from fleetwatch_agent.spool.file import SpoolFile
from fleetwatch_agent.stamps import Stamps
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.agent_samples import IN_MEMORY, SCHEMA, WIDTH, numbers, sample

SIZE = 1 << 17


class SpoolMachine(RuleBasedStateMachine):
    """`rows` are the numbers of samples that must be there, by batch; `lost` what may be reported as lost."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fleetwatch-spool-", dir=IN_MEMORY))
        self.issued = 0
        self.forgotten: set[int] = set()
        self.seqs_seen: dict[int, tuple[int, ...]] = {}
        self.gathered: list[int] = []
        self.checked: set[int] = set()
        """Batches whose content was compared since the spool was opened."""

    @initialize()
    def start(self) -> None:
        self.spool = self.open()
        self.spool_id = self.spool.spool_id

    def open(self) -> Spool:
        spool = Spool(self.folder, Limits(SIZE), 1 << 16)
        spool.put_schema(SCHEMA, b"schema")
        return spool

    @rule(count=st.integers(1, 20), ship=st.booleans())
    def append(self, count: int, ship: bool) -> None:
        for _ in range(count):
            one = sample(self.issued)
            self.spool.append(one, ship, Stamps().used(one.t_ms))
            self.gathered = [] if ship else [*self.gathered, self.issued]
            self.issued += 1

    @rule()
    def flush(self) -> None:
        self.spool.flush()
        self.gathered = []

    @rule(share=st.floats(0, 1), also=st.lists(st.floats(0, 1), max_size=4))
    def acknowledge(self, share: float, also: list[float]) -> None:
        waiting = self.spool.after(0, 100_000)
        if not waiting:
            return
        up_to = waiting[int(share * (len(waiting) - 1))] if share > 0.5 else 0
        sparse = [waiting[int(one * (len(waiting) - 1))] for one in also]
        chosen = [seq for seq in waiting if seq <= up_to or seq in sparse]
        for seq in chosen:
            batch = self.spool.get(seq)
            assert batch is not None
            self.forgotten.update(numbers(batch))
        self.spool.acknowledge(self.spool_id, up_to, sparse)

    @rule(share=st.floats(0, 1))
    def refuse(self, share: float) -> None:
        waiting = self.spool.after(0, 100_000)
        if waiting:
            self.spool.bury(self.spool_id, waiting[int(share * (len(waiting) - 1))], "poison", "")

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.checked.clear()
        self.spool = self.open()

    @rule()
    def kill(self) -> None:
        self.spool._now._db.close()
        self.checked.clear()
        self.spool = self.open()
        # Acknowledgements not yet applied come back: sending twice is harmless, so the model lets them wait again.
        for seq in self.spool.after(0, 100_000):
            batch = self.spool.get(seq)
            assert batch is not None
            self.forgotten.difference_update(numbers(batch))

    @precondition(lambda self: self.spool.lost(1))
    @rule()
    def report(self) -> None:
        self.reported = getattr(self, "reported", 0) + sum(one.points for _, one in self.spool.lost(5))
        self.spool.forget_lost(self.spool_id, [number for number, _ in self.spool.lost(5)])

    @invariant()
    def nothing_is_lost_doubled_or_altered(self) -> None:
        present: list[int] = []
        for seq in self.spool.after(0, 100_000):
            if seq not in self.checked:
                batch = self.spool.get(seq)
                assert batch is not None
                found = tuple(numbers(batch))
                assert self.seqs_seen.setdefault(seq, found) == found, "a number was used twice"
                self.checked.add(seq)
            present += self.seqs_seen[seq]
        assert len(present) == len(set(present))
        pending = sum(one.points for _, one in self.spool.lost(100_000)) + getattr(self, "reported", 0)
        assert pending == self.spool.figures().lost_points
        known = set(present) | self.forgotten | set(self.gathered)
        assert len(known) + pending // WIDTH == self.issued

    @invariant()
    def it_stays_within_its_bound(self) -> None:
        assert self.spool.figures().bytes <= SIZE + (1 << 16)
        assert self.spool.spool_id == self.spool_id

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
        shutil.rmtree(self.folder)


def run(examples: int, *phases: Phase) -> int:
    """Runs the machine; how many steps it took."""
    steps = [0]

    class Counted(SpoolMachine):
        @invariant()
        def count(self) -> None:
            steps[0] += 1

    checks = settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=phases or tuple(Phase),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Counted, settings=checks)
    return steps[0]


def test_five_thousand_random_steps_lose_double_or_alter_nothing() -> None:
    assert run(examples=160) >= 5000


def test_the_model_notices_losses_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what overflow drops is not recorded any more."""
    monkeypatch.setattr(overflow, "record", lambda db, lost: None)

    with pytest.raises(AssertionError):
        run(100, Phase.generate)


def test_the_model_notices_a_number_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the next number is not kept any more."""
    monkeypatch.setattr(SpoolFile, "_number", lambda self, closed, stamps, now_ms: 0)

    with pytest.raises((AssertionError, SpoolUnusable)):
        run(100, Phase.generate)
