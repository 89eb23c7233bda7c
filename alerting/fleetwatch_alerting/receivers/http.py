"""One POST to a receiver, within the egress rules and a deadline."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from fleetwatch_alerting import egress
from fleetwatch_alerting.egress import Egress, Resolve
from fleetwatch_alerting.errors import EgressRefused
from fleetwatch_alerting.outcome import Kind, Outcome

USER_AGENT = "fleetwatch-alerting"
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered; `body` is at most its first 4 kB and is for deciding, never shown to users."""

    status: int
    headers: Mapping[str, str]
    body: str = field(repr=False, default="")


class Sender:
    """An HTTP client of one receiver: no redirects, no proxies, connects only where the egress rules allow."""

    def __init__(self, rules: Egress, *, private: bool, timeout_s: float, resolve: Resolve = egress.resolve) -> None:
        self._rules, self._private, self._timeout_s, self._resolve = rules, private, timeout_s, resolve
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
        )

    async def post(self, address: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer | Outcome:
        """The answer to a JSON body, or the outcome where there was none. Never raises but for cancellation."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(httpx.URL(address), content, headers)
        except EgressRefused as error:
            return Outcome(Kind.REFUSED, "egress", str(error))
        except TimeoutError:
            return Outcome(Kind.RETRY, "timeout", f"no answer within {self._timeout_s:g} s")
        except httpx.TimeoutException as error:
            return Outcome(Kind.RETRY, "timeout", type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, socket.gaierror, OSError) as error:
            return Outcome(Kind.RETRY, "network", f"{type(error).__name__}: {_without_address(error)}")

    async def _post(self, url: httpx.URL, content: bytes, headers: Mapping[str, str]) -> Answer:
        port = url.port or (443 if url.scheme == "https" else 80)
        answers = await self._resolve(url.host, port)
        target, names, extensions = egress.pinned(url, self._rules.choose(url.host, answers, private=self._private))
        fixed = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **names}
        request = self._client.build_request(
            "POST", target, content=content, headers={**headers, **fixed}, extensions=extensions
        )
        response = await self._client.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers, await _start_of(response))
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Closes idle connections."""
        await self._client.aclose()


async def _start_of(response: httpx.Response) -> str:
    found = b""
    async for chunk in response.aiter_raw():
        found += chunk
        if len(found) >= egress.MAX_ANSWER_BYTES:
            break
    return found[: egress.MAX_ANSWER_BYTES].decode("utf-8", "replace")


def _without_address(error: Exception) -> str:
    """The error's words; the address may hold a secret and httpx does not put it there, but a proxy's text could."""
    text = str(error)
    return text if "://" not in text else "connection failed"


def classify(answer: Answer, retry_ms: int) -> Outcome:
    """The outcome by HTTP status alone; receivers that say more in the body look there first."""
    status = str(answer.status)
    if 200 <= answer.status < 300:
        return Outcome(Kind.SENT, status)
    if answer.status == 429:
        return Outcome(Kind.PAUSE, status, "asks for rest", retry_after_ms=retry_ms)
    if answer.status in (408, 425) or answer.status >= 500:
        return Outcome(Kind.RETRY, status, f"answered {status}")
    if answer.status == 413:
        return Outcome(Kind.SMALLER, status, "too large")
    if answer.status in (401, 403, 404, 410):
        return Outcome(Kind.REFUSED, status, f"answered {status}: check the address and its secret")
    if 300 <= answer.status < 400:
        return Outcome(Kind.REFUSED, status, f"redirects to {answer.headers.get('location', '?')[:200]}; not followed")
    return Outcome(Kind.REJECTED, status, f"answered {status}")
