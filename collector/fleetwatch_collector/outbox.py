"""What one stream is still to be told, merged: however slow an agent reads, little waits for it."""

from __future__ import annotations

from collections.abc import Callable

from fleetwatch_proto.v1.ingest_pb2 import (
    Ack,
    CollectorMessage,
    Drain,
    Nack,
    NeedSchema,
    SetInterval,
    Welcome,
)

from fleetwatch_collector.sequences import Acknowledged

MOST_NACKS = 1000


class Outbox:
    """Messages to one agent, in the order in which they make sense. `wake` is called when there is something."""

    __slots__ = ("_ack_due", "_drain", "_interval", "_nacks", "_needed", "_wake", "_welcome", "waiting")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.waiting = False
        self._welcome: Welcome | None = None
        self._needed: list[int] = []
        self._nacks: list[Nack] = []
        self._ack_due = False
        self._interval: SetInterval | None = None
        self._drain: Drain | None = None

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be read from this agent."""
        return len(self._nacks) + len(self._needed) >= MOST_NACKS

    def welcome(self, welcome: Welcome) -> None:
        """The answer to a Hello."""
        self._welcome = welcome
        self._news()

    def need_schema(self, schema_id: int) -> None:
        """Asks for a schema."""
        self._needed.append(schema_id)
        self._news()

    def nack(self, nack: Nack) -> None:
        """Refuses a batch."""
        self._nacks.append(nack)
        self._news()

    def ack_due(self) -> None:
        """Something became durable; what, is looked up when the message leaves."""
        self._ack_due = True
        self._news()

    def interval(self, interval: SetInterval) -> None:
        """Sets the agent's pace; only the last one counts."""
        self._interval = interval
        self._news()

    def drain(self, drain: Drain) -> None:
        """Asks the agent to connect again."""
        self._drain = drain
        self._news()

    def _news(self) -> None:
        self.waiting = True
        self._wake()

    def take(self, acknowledged: Acknowledged) -> list[bytes]:
        """All that waits, as messages."""
        self.waiting = False
        messages: list[CollectorMessage] = []
        if self._welcome is not None:
            messages.append(CollectorMessage(welcome=self._welcome))
            self._welcome = None
        if self._needed or self._nacks:
            messages += [CollectorMessage(need_schema=NeedSchema(schema_id=one)) for one in self._needed]
            messages += [CollectorMessage(nack=nack) for nack in self._nacks]
            self._needed, self._nacks = [], []
        if self._ack_due:
            ack = Ack(up_to=max(0, acknowledged.up_to), also=acknowledged.take_also())
            messages.append(CollectorMessage(ack=ack))
            self._ack_due = False
        if self._interval is not None:
            messages.append(CollectorMessage(set_interval=self._interval))
            self._interval = None
        if self._drain is not None:
            messages.append(CollectorMessage(drain=self._drain))
            self._drain = None
        return [message.SerializeToString() for message in messages]
