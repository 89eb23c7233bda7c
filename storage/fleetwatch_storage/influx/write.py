"""Writing lines: every answer of the server judged, bad lines found by bisection, nothing dropped in silence."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleetwatch_storage.errors import RejectedRow, StoreUnavailable, WriteRejected
from fleetwatch_storage.frames import Frame
from fleetwatch_storage.influx.http import Answer
from fleetwatch_storage.influx.verdict import Meaning, Verdict, judge, unavailable
from fleetwatch_storage.lineprotocol import scan
from fleetwatch_storage.lineprotocol.encode import encode_pieces

BODY_BYTES = 4 * 1024 * 1024
"""Size of one request before compression; InfluxDB 1 takes 25 MB by default, proxies often much less."""

_MOST_REQUESTS = 2_000
_MOST_NAMED = 1_000
_UNKNOWN_BEFORE_HOLD = 7
"""So many refusals in unknown words without one line taken are a wrong configuration, not bad lines: the whole, its
halves and its quarters."""

Post = Callable[[bytes], Answer]
"""Sends lines once; raises StoreUnavailable when there is no answer."""


@dataclass(slots=True)
class _Outcome:
    """What one write has come to so far."""

    refused: list[RejectedRow] = field(default_factory=list)
    count: int = 0
    requests: int = 0
    taken: bool = False
    unknown: int = 0

    def refuse(self, lines: Sequence[bytes], words: str) -> None:
        self.count += len(lines)
        room = _MOST_NAMED - len(self.refused)
        self.refused += [_row(line, words) for line in lines[: max(room, 0)]]


class Writer:
    """Writes frames through `post`. One thread at a time."""

    def __init__(self, post: Post, url: str, database: str) -> None:
        self._post, self._url, self._database = post, url, database

    def write(self, frames: Sequence[Frame]) -> None:
        """Stores all rows of all frames.

        Raises:
            StoreUnavailable: nothing is promised; the same again later.
            WriteRejected: some rows were refused for good, all others are stored.
        """
        outcome = _Outcome()
        for body in encode_pieces(frames, BODY_BYTES):
            self._store(body, outcome)
        if outcome.count:
            raise WriteRejected(outcome.refused, count=outcome.count)

    def _store(self, body: bytes, outcome: _Outcome) -> None:
        verdict = self._send(body, outcome)
        if verdict.meaning is not Meaning.STORED:
            self._bisect(body.splitlines(keepends=True), verdict, outcome)

    def _bisect(self, lines: list[bytes], verdict: Verdict, outcome: _Outcome) -> None:
        """Level by level, so that a few bad lines are told from a server that takes nothing."""
        refused = deque([(lines, verdict)])
        budget = outcome.requests + _MOST_REQUESTS
        while refused:
            some, verdict = refused.popleft()
            all_of_them = verdict.meaning is Meaning.DATA and verdict.dropped >= len(some)
            if len(some) == 1 or all_of_them or outcome.requests > budget:
                self._give_up(some, verdict, outcome)
                continue
            middle = len(some) // 2
            for half in (some[:middle], some[middle:]):
                verdict = self._send(b"".join(half), outcome)
                if verdict.meaning is not Meaning.STORED:
                    refused.append((half, verdict))

    def _give_up(self, lines: list[bytes], verdict: Verdict, outcome: _Outcome) -> None:
        if verdict.meaning is Meaning.UNKNOWN and not outcome.taken:
            raise self._held(verdict)
        outcome.refuse(lines, verdict.words)

    def _send(self, body: bytes, outcome: _Outcome) -> Verdict:
        answer = self._post(body)
        outcome.requests += 1
        verdict = judge(answer, time.time())
        if verdict.meaning is Meaning.HOLD:
            raise unavailable(verdict, answer.status, self._url, self._database)
        outcome.taken |= verdict.meaning is Meaning.STORED
        outcome.unknown += verdict.meaning is Meaning.UNKNOWN
        if outcome.unknown >= _UNKNOWN_BEFORE_HOLD and not outcome.taken:
            raise self._held(verdict)
        return verdict

    def _held(self, verdict: Verdict) -> StoreUnavailable:
        return StoreUnavailable(
            f"InfluxDB at {self._url} refuses every write; is it configured for this? It says: {verdict.words}"
        )


def _row(line: bytes, words: str) -> RejectedRow:
    text = line.decode("utf-8", "replace").rstrip("\n")
    head = re.split(r"(?<!\\) ", text, maxsplit=1)[0]
    measurement = scan.measurement(scan.split_tags(head)[0])
    return RejectedRow(measurement, text[:1000], re.sub(r" ?dropped=\d+$", "", words))
