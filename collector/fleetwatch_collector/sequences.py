"""Sets of sequence numbers as ranges: what was taken, what is durable, what was lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

MOST_RANGES = 4096


class Ranges:
    """Whole numbers as disjoint ranges, ends included, rising. At most `MOST_RANGES` are kept: the lowest is forgotten.

    The common case, numbers that follow each other, is one range and costs one comparison.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, last: int) -> int:
        """Adds `first` to `last`; how many of them were new."""
        ends = self._ends
        if ends and first == last == ends[-1] + 1:
            ends[-1] = last
            return 1
        low = bisect_left(ends, first - 1)
        high = bisect_right(self._starts, last + 1)
        known = self.count(first, last)
        start = min([first, *self._starts[low : low + 1]]) if low < high else first
        end = max([last, *ends[high - 1 : high]]) if low < high else last
        self._starts[low:high], ends[low:high] = [start], [end]
        if len(ends) > MOST_RANGES:
            del self._starts[0], ends[0]
        return last - first + 1 - known

    def remove(self, number: int) -> bool:
        """Takes one number out; whether it was in."""
        at = bisect_left(self._ends, number)
        if at == len(self._ends) or self._starts[at] > number:
            return False
        start, end = self._starts[at], self._ends[at]
        parts = [(a, z) for a, z in ((start, number - 1), (number + 1, end)) if a <= z]
        self._starts[at : at + 1] = [a for a, _ in parts]
        self._ends[at : at + 1] = [z for _, z in parts]
        return True

    def count(self, first: int, last: int) -> int:
        """How many of `first` to `last` are in."""
        low, high = bisect_left(self._ends, first), bisect_right(self._starts, last)
        pairs = zip(self._starts[low:high], self._ends[low:high], strict=True)
        return sum(min(end, last) - max(start, first) + 1 for start, end in pairs)

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges of `first` to `last` that are not in."""
        low, high = bisect_left(self._ends, first), bisect_right(self._starts, last)
        starts = [first, *(end + 1 for end in self._ends[low:high])]
        ends = [*(start - 1 for start in self._starts[low:high]), last]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._ends, number)
        return at < len(self._ends) and self._starts[at] <= number

    def run_from(self, first: int) -> int:
        """The last number of the unbroken run that begins at `first`; `first - 1` when that is not in."""
        at = bisect_left(self._ends, first)
        return self._ends[at] if at < len(self._ends) and self._starts[at] <= first else first - 1

    def forget_to(self, last: int) -> None:
        """Drops all numbers up to `last`."""
        at = bisect_right(self._ends, last)
        del self._starts[:at], self._ends[:at]
        if self._starts and self._starts[0] <= last:
            self._starts[0] = last + 1

    @property
    def last(self) -> int:
        """The largest number; 0 when empty."""
        return self._ends[-1] if self._ends else 0


class Acknowledged:
    """What is durable of one spool on one stream, and how to say so: one number, and the exceptions since last asked.

    `first_unacked` is the smallest number the agent still has: everything below it is settled already.
    """

    __slots__ = ("_also", "_done", "up_to")

    def __init__(self, first_unacked: int) -> None:
        self._done = Ranges()
        self._also: list[int] = []
        self.up_to = first_unacked - 1

    def add(self, seq: int) -> None:
        """A batch is durable, or will never be taken."""
        if seq == self.up_to + 1:
            self.up_to = seq
            if self._done.last:
                self._advance()
        elif seq > self.up_to:
            self._done.add(seq, seq)
            self._also.append(seq)
            self._advance()

    def add_range(self, first: int, last: int) -> None:
        """The agent lost these: they will never come."""
        if last > self.up_to:
            self._done.add(max(first, self.up_to + 1), last)
            self._advance()

    def take_also(self) -> list[int]:
        """Numbers above `up_to` that became durable since this was last asked."""
        if not self._also:
            return []
        also = sorted(seq for seq in set(self._also) if seq > self.up_to)
        self._also = []
        return also

    def _advance(self) -> None:
        run = self._done.run_from(self.up_to + 1)
        if run > self.up_to:
            self.up_to = run
            self._done.forget_to(run)
