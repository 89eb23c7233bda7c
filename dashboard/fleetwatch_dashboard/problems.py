"""Errors of the HTTP API as RFC 9457 problem documents, and as a page for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One field of a request that cannot be used: where it is, what was sent, what is wrong with it."""

    field: str
    value: str
    message: str


@dataclass(eq=False)
class Problem(Exception):
    """An answer other than success. `field` and `value` name what was wrong in the request."""

    status: int
    detail: str
    field: str = ""
    value: str = ""
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The problem document."""
        found = self.faults or ((Fault(self.field, self.value, self.detail),) if self.field else ())
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if found:
            body["errors"] = [{"field": one.field, "value": one.value[:200], "message": one.message} for one in found]
        return body
