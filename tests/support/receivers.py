"""Real HTTP receivers on 127.0.0.1: a webhook that holds bodies against Alertmanager's version 4, and a mock Slack.

Each answers what it is told to (`script`), notes every request, and keeps what it accepted apart from what it refused.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}

ALERTMANAGER_V4: dict[str, Any] = {
    "type": "object",
    "required": [
        *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"),
        *("commonAnnotations", "externalURL", "alerts"),
    ],
    "properties": {
        "version": {"const": "4"},
        "groupKey": {"type": "string", "minLength": 1},
        "truncatedAlerts": {"type": "integer", "minimum": 0},
        "status": {"enum": ["firing", "resolved"]},
        "receiver": {"type": "string", "minLength": 1},
        "groupLabels": _TEXTS,
        "commonLabels": _TEXTS,
        "commonAnnotations": _TEXTS,
        "externalURL": {"type": "string"},
        "notification_reason": {
            "enum": [
                *("first notification", "new alerts added", "some alerts resolved", "all alerts resolved"),
                *("repeat interval elapsed", "severity changed"),
            ]
        },
        "routeLabels": _TEXTS,
        "x": {"type": "object"},
        "alerts": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"],
                "properties": {
                    "status": {"enum": ["firing", "resolved"]},
                    "labels": _TEXTS | {"required": ["alertname"]},
                    "annotations": _TEXTS,
                    "startsAt": _TIME,
                    "endsAt": _TIME,
                    "generatorURL": {"type": "string"},
                    "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
                    "x": {"type": "object"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
"""The fields of Alertmanager's webhook body; ours stand under `x`."""


def v4_problems(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with a webhook body, schema and what the schema cannot say."""
    problems = [error.message for error in jsonschema.Draft202012Validator(ALERTMANAGER_V4).iter_errors(body)]
    if problems:
        return problems
    firing = any(alert["status"] == "firing" for alert in body["alerts"])
    if (body["status"] == "firing") != firing and not body["truncatedAlerts"]:
        problems.append("status must be firing exactly when an alert fires")
    ends = [(alert["status"] == "firing") == (alert["endsAt"] == "0001-01-01T00:00:00Z") for alert in body["alerts"]]
    return problems if all(ends) else [*problems, "endsAt is the zero time exactly while an alert fires"]


def slack_problems(body: Mapping[str, Any]) -> list[str]:
    """What Slack would refuse, by the limits it documents for incoming webhooks and Block Kit."""
    problems = []
    if not isinstance(body.get("text"), str) or not body["text"]:
        problems.append("text is missing: no preview")
    if len(json.dumps(body, ensure_ascii=False)) > 13_000:
        problems.append("msg_blocks_too_long")
    for attachment in body.get("attachments", []):
        blocks = attachment.get("blocks", [])
        if not 1 <= len(blocks) <= 50:
            problems.append(f"{len(blocks)} blocks")
        problems += [problem for block in blocks for problem in _block_problems(block)]
    return problems


def _block_problems(block: Mapping[str, Any]) -> list[str]:
    match block.get("type"):
        case "section":
            texts = [(block["text"], 3000)] if "text" in block else []
            fields = block.get("fields", [])
            if not texts and not 1 <= len(fields) <= 10:
                return [f"a section of {len(fields)} fields"]
            return [found for text, most in [*texts, *((one, 2000) for one in fields)] for found in _text(text, most)]
        case "context":
            elements = block.get("elements", [])
            if not 1 <= len(elements) <= 10:
                return [f"a context of {len(elements)} elements"]
            return [found for one in elements for found in _text(one, 3000)]
        case "actions":
            return [found for one in block.get("elements", []) for found in _button(one)]
        case other:
            return [f"block type {other!r}"]


def _text(text: Mapping[str, Any], most: int) -> list[str]:
    if text.get("type") not in ("mrkdwn", "plain_text"):
        return [f"text type {text.get('type')!r}"]
    said = text.get("text", "")
    return [] if 1 <= len(said) <= most else [f"text of {len(said)} characters, at most {most}"]


def _button(button: Mapping[str, Any]) -> list[str]:
    if button.get("type") != "button" or button["text"].get("type") != "plain_text":
        return ["not a button"]
    if len(button["text"]["text"]) > 75 or not button.get("url", "").startswith("http") or len(button["url"]) > 3000:
        return ["a button's text or address"]
    return []


@dataclass(frozen=True)
class Answer:
    """What to answer: a status with a body, after a pause; `drop`: close the connection without an answer."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: Any
    answered: int

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.headers.get("Idempotency-Key", "")


class Receiver:
    """An HTTP server; `script` holds answers to come, then everything that is valid is accepted."""

    def __init__(self, *, slack: bool = False, port: int = 0) -> None:
        self.script: deque[Answer] = deque()
        self.always: Answer | None = None
        self.requests: list[Request] = []
        self.accepted: list[Any] = []
        self.problems: list[str] = []
        self._check = slack_problems if slack else v4_problems
        self._refusal = "invalid_blocks" if slack else "not a version 4 body"
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/services/T0/B0/secret"

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        """Notes a request and says what to answer."""
        body = json.loads(raw)
        with self._lock:
            answer = self.script.popleft() if self.script else self.always or Answer()
            if answer.status == 200 and answer.body == "ok" and not answer.drop:
                if found := self._check(body):
                    self.problems += found
                    answer = Answer(400, self._refusal)
                else:
                    self.accepted.append(body)
            self.requests.append(Request(time.time(), path, headers, body, 0 if answer.drop else answer.status))
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                answer = receiver.take(self.path, dict(self.headers.items()), self.rfile.read(length))
                if answer.after_s:
                    time.sleep(answer.after_s)
                if answer.drop:
                    self.close_connection = True
                    return
                self._reply(answer)

            def _reply(self, answer: Answer) -> None:
                content = answer.body.encode()
                try:
                    self.send_response(answer.status)
                    for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler
