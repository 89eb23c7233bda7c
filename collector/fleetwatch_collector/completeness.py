"""Completeness of a host's data from sequence numbers: statistics only, nothing is decided by them."""

from __future__ import annotations

from dataclasses import dataclass

from fleetwatch_storage.hosts import Completeness

from fleetwatch_collector.sequences import Ranges

LARGEST_SEQ = 2**62


@dataclass(slots=True)
class Counts:
    """What changed since the counts were last taken over."""

    expected: int = 0
    received: int = 0
    duplicates: int = 0
    late: int = 0
    lost: int = 0

    def added_to(self, total: Completeness) -> Completeness:
        """`total` with these, and these set back to nothing."""
        sums = Completeness(
            expected=_bounded(total.expected + self.expected),
            received=_bounded(total.received + self.received),
            duplicates=_bounded(total.duplicates + self.duplicates),
            late=_bounded(total.late + self.late),
            lost=_bounded(total.lost + self.lost),
        )
        self.expected = self.received = self.duplicates = self.late = self.lost = 0
        return sums


def _bounded(count: int) -> int:
    """What the database can hold, however an agent lies."""
    return max(0, min(LARGEST_SEQ, count))


class Spool:
    """The sequence of one spool: which numbers were given out, taken, and lost.

    `up_to` is the watermark: every batch up to there was taken or lost. It is kept in the database, so that a restarted
    collector goes on counting where the last one was.
    """

    __slots__ = ("_highest", "_lost", "_newest_taken", "_settled", "saved", "up_to")

    def __init__(self, up_to: int) -> None:
        self.up_to = up_to
        self.saved = -1
        self._highest = up_to
        self._newest_taken = 0
        self._settled = Ranges()
        self._lost = Ranges()

    @classmethod
    def first_seen(cls, first_unacked: int, next_seq: int) -> Spool:
        """A spool that was never seen: counting begins with what it still has."""
        return cls(max(0, (first_unacked or next_seq) - 1))

    def announced(self, first_unacked: int, next_seq: int, counts: Counts) -> None:
        """A Hello. What the agent forgot was acknowledged: it keeps everything else or reports it as lost first."""
        self._expect(next_seq - 1, counts)
        oldest = first_unacked or next_seq
        gap = oldest - 1 - self.up_to
        if gap > 0:
            counts.received += gap - self._settled.count(self.up_to + 1, oldest - 1)
            self._settled.add(self.up_to + 1, oldest - 1)
            self._advance()

    def taken(self, seq: int, counts: Counts) -> None:
        """A batch became durable."""
        if seq <= self.up_to or seq in self._settled:
            self._taken_again(seq, counts)
            return
        self._expect(seq, counts)
        counts.received += 1
        counts.late += seq < self._newest_taken
        self._newest_taken = max(seq, self._newest_taken)
        if seq == self.up_to + 1:
            self.up_to = seq
            if self._settled.last:
                self._advance()
        else:
            self._settled.add(seq, seq)
            self._advance()

    def lost(self, first: int, last: int, counts: Counts) -> int:
        """A range the agent lost; how many of them are news."""
        first, last = max(first, self.up_to + 1), min(last, LARGEST_SEQ)
        if last < first:
            return 0
        self._expect(last, counts)
        for start, end in self._settled.missing(first, last):
            self._lost.add(start, end)
        news = self._settled.add(first, last)
        self._advance()
        counts.lost += news
        return news

    def _taken_again(self, seq: int, counts: Counts) -> None:
        if self._lost.remove(seq):
            counts.lost -= 1
            counts.received += 1
        else:
            counts.duplicates += 1

    def _expect(self, highest: int, counts: Counts) -> None:
        highest = min(highest, LARGEST_SEQ)
        if highest > self._highest:
            counts.expected += highest - self._highest
            self._highest = highest

    def _advance(self) -> None:
        run = self._settled.run_from(self.up_to + 1)
        if run > self.up_to:
            self.up_to = run
            self._settled.forget_to(run)
