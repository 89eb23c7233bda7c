"""All streams of agents: who may open one, and which one counts when there are two."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fleetwatch_proto import PROTOCOL
from fleetwatch_proto.v1.ingest_pb2 import Hello

from fleetwatch_collector.accounts import Accounts
from fleetwatch_collector.batches import LARGEST_SEQ
from fleetwatch_collector.errors import CallRefused, Why
from fleetwatch_collector.identity import Identity
from fleetwatch_collector.names import tags_problem, text_problem
from fleetwatch_collector.session import Parts, Session

_ID_BYTES = 128
_LOOK_EVERY_S = 0.01


class Stream(Protocol):
    """The call that a session belongs to."""

    @property
    def writing(self) -> bool:
        """Whether a message is on its way out."""

    def wake(self) -> None:
        """Sends what waits in the session's outbox."""

    def end(self, refused: CallRefused) -> None:
        """Ends the call in these words."""


class Sessions:
    """Live sessions by agent and by host: at most one of each. Event loop's thread only."""

    def __init__(self, accounts: Accounts, max_future_ms: float) -> None:
        self._accounts = accounts
        self._max_future_ms = max_future_ms
        self._by_agent: dict[str, tuple[Session, Stream]] = {}
        self._by_host: dict[str, Session] = {}
        self._ahead = 0

    def __len__(self) -> int:
        return len(self._by_agent)

    def hosts(self) -> list[str]:
        """Connected hosts."""
        return list(self._by_host)

    def of_host(self, host: str) -> Session | None:
        """The live session of a host."""
        return self._by_host.get(host)

    def all(self) -> list[Session]:
        """All live sessions."""
        return [session for session, _ in self._by_agent.values()]

    def own_clock_suspect(self) -> bool:
        """Whether most agents, three at least, have clocks far ahead: then it is rather this machine that is behind."""
        return len(self) >= 3 and self._ahead * 2 > len(self)

    def open(
        self, identity: Identity, hello: Hello, parts: Parts, stream: Stream, now_ms: int, now_s: float
    ) -> Session:
        """Takes a stream by its Hello and answers it.

        Raises:
            CallRefused: unusable names, a newer protocol, another machine is live under this identity.
        """
        check_hello(identity, hello)
        self._make_way(identity, hello, parts, now_ms, now_s)
        account = self._accounts.find_or_make(identity.agent_id, now_s)
        spool = self._accounts.spool(account, hello.spool_id, _oldest(hello), hello.next_seq)
        session = Session(identity, hello, account, spool, parts, stream.wake)
        session.heard_s = now_s
        parts.presence.came(session, hello, now_ms)
        account.idle_since_s = None
        self._by_agent[identity.agent_id] = session, stream
        self._by_host[identity.host] = session
        self._ahead += session.clock_offset_ms > self._max_future_ms
        session.greet(hello, now_ms)
        return session

    def close(self, session: Session, parts: Parts, now_ms: int, now_s: float) -> None:
        """The stream ended. Idempotent."""
        if session.gone:
            return
        session.gone = True
        session.account.idle_since_s = now_s
        self._ahead -= session.clock_offset_ms > self._max_future_ms
        current = self._by_agent.get(session.identity.agent_id)
        if current is not None and current[0] is session:
            del self._by_agent[session.identity.agent_id]
        if self._by_host.get(session.host) is session:
            del self._by_host[session.host]
        parts.presence.left(session, now_ms)

    async def all_told(self, within_s: float) -> None:
        """Waits until everybody was sent what they are to be told; not for those that do not read."""
        deadline = asyncio.get_running_loop().time() + within_s
        while any(stream.writing for _, stream in self._by_agent.values()):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def end_all(self, refused: CallRefused) -> None:
        """Ends every stream."""
        for _, stream in list(self._by_agent.values()):
            stream.end(refused)

    def _make_way(self, identity: Identity, hello: Hello, parts: Parts, now_ms: int, now_s: float) -> None:
        """Ends the stream that this one replaces.

        A stream of the same boot is the same agent connecting again. One of another boot that is still heard is another
        machine with the same identity; one that fell silent is a host that was reset without a word.
        """
        namesake = self._by_host.get(identity.host)
        if namesake is not None and namesake.identity.agent_id != identity.agent_id:
            detail = (
                f"host {identity.host!r} is live as agent {namesake.identity.agent_id}: give one of them another name"
            )
            raise CallRefused(Why.PRECONDITION, detail)
        current = self._by_agent.get(identity.agent_id)
        if current is None:
            return
        session, stream = current
        if session.boot_id != hello.boot_id and not session.is_silent(now_s):
            session.has_rival(hello.boot_id)
            detail = (
                f"agent {identity.agent_id} is live on another boot as host {session.host!r}: a cloned machine needs "
                "an agent id of its own; a rebooted one is taken once the old stream is silent"
            )
            raise CallRefused(Why.PRECONDITION, detail)
        self.close(session, parts, now_ms, now_s)
        stream.end(CallRefused(Why.REPLACED, "the agent has opened a newer stream"))


def _oldest(hello: Hello) -> int:
    """The oldest batch that the agent still has or says it lost: nothing before it concerns us."""
    lost = [one.from_seq for one in hello.lost if one.from_seq]
    return min([hello.first_unacked or hello.next_seq, *lost])


def check_hello(identity: Identity, hello: Hello) -> None:
    """Refuses a Hello that cannot be served.

    Raises:
        CallRefused: and why, in words for the agent's log.
    """
    if not identity.agent_id or not identity.host:
        raise CallRefused(Why.UNAUTHENTICATED, "an agent must say its agent id and its host in the call metadata")
    if hello.protocol > PROTOCOL:
        detail = (
            f"the agent speaks protocol {hello.protocol}, this collector up to {PROTOCOL}: upgrade the collector; "
            "until then the agent keeps its samples"
        )
        raise CallRefused(Why.PRECONDITION, detail)
    problem = text_problem("spool id", hello.spool_id, _ID_BYTES) or text_problem("boot id", hello.boot_id, _ID_BYTES)
    problem = problem or tags_problem([(tag.key, tag.value) for tag in hello.tags])
    if hello.next_seq > LARGEST_SEQ or hello.first_unacked > max(hello.next_seq, 1):
        problem = problem or f"sequence numbers {hello.first_unacked} to {hello.next_seq} are out of range"
    if problem:
        raise CallRefused(Why.INVALID, problem)
