"""Reading receivers and the route."""

from __future__ import annotations

from collections.abc import Mapping as Environment

from fleetwatch_alerting.rules import values
from fleetwatch_alerting.rules.document import Mapping
from fleetwatch_alerting.rules.schema import ReceiverConfig, Route, Secret, SlackConfig, WebhookConfig
from fleetwatch_alerting.spelling import suggestion

_KINDS = ("slack", "webhook")
_LATER_KINDS = ("email", "pagerduty", "opsgenie", "apprise")
_COMMON = ("send_resolved", "timeout", "allow_private")
_LATER = ("rate", "give_up_after")
_HEADER_FORBIDDEN = frozenset(
    ["host", "content-length", "transfer-encoding", "connection", "content-type", "idempotency-key", "content-encoding"]
)


def receivers(fields: Mapping, environment: Environment[str, str] | None) -> tuple[ReceiverConfig, ...]:
    """The `receivers` section; what could not be read is among the problems."""
    found = []
    for name in fields.names():
        if not values.NAME.fullmatch(name):
            fields.problem(f'"{name[:80]}" is not a name: letters, digits and _ . : - , starting with a letter', name)
        child = fields.child(name)
        if child is None:
            fields.problem(f"say what it is: {' or '.join(_KINDS)}", name)
        else:
            found.append(_receiver(name, child, environment))
    return tuple(one for one in found if one is not None)


def _receiver(name: str, fields: Mapping, environment: Environment[str, str] | None) -> ReceiverConfig | None:
    for key in _COMMON:
        if key in fields:
            fields.problem(f"{key} belongs under the receiver's kind, beside its address", key)
            fields.value(key)
    fields.done((*_KINDS, *_COMMON), _LATER_KINDS)
    kinds = [kind for kind in (*_KINDS, *_LATER_KINDS) if kind in fields]
    if not kinds:
        fields.missing(f"say what it is: {' or '.join(_KINDS)}", *_KINDS)
    if len(kinds) > 1:
        fields.problem(f"a receiver is one of {', '.join(kinds)}, not all of them")
    if len(kinds) != 1 or kinds[0] in _LATER_KINDS:
        return None
    if getattr(fields.value(kinds[0]), "id", "") == "sequence":
        fields.problem("a list of addresses is not supported yet: write one receiver for each", kinds[0])
        return None
    child = fields.child(kinds[0])
    if child is None:
        fields.problem("its address is missing", kinds[0])
        return None
    return _slack(name, child, environment) if kinds[0] == "slack" else _webhook(name, child, environment)


def _slack(name: str, fields: Mapping, environment: Environment[str, str] | None) -> SlackConfig | None:
    fields.done(("webhook_url", *_COMMON), ("bot_token", "channel", "mode", "mention", *_LATER))
    url = _address(fields, "webhook_url", environment, literal=False)
    if url is None:
        return None
    return SlackConfig(
        name,
        url,
        allow_private=fields.get("allow_private", values.flag, False),
        send_resolved=fields.get("send_resolved", values.flag, True),
        timeout_s=_timeout_s(fields),
    )


def _webhook(name: str, fields: Mapping, environment: Environment[str, str] | None) -> WebhookConfig | None:
    later = ("secret", "format", "body", "tls_verify", "ca_file", *_LATER)
    fields.done(("url", "headers", "max_alerts", *_COMMON), later)
    url = _address(fields, "url", environment, literal=True)
    headers = _headers(fields, environment)
    if url is None:
        return None
    return WebhookConfig(
        name,
        url,
        headers=headers,
        max_alerts=fields.get("max_alerts", values.count(1, 1000), 100),
        allow_private=fields.get("allow_private", values.flag, False),
        send_resolved=fields.get("send_resolved", values.flag, True),
        timeout_s=_timeout_s(fields),
    )


def _timeout_s(fields: Mapping) -> float:
    timeout_ms = fields.get("timeout", values.positive_duration_ms, 10_000)
    if timeout_ms > 60_000:
        fields.problem("a timeout is at most 60s", "timeout")
    return timeout_ms / 1000


def _address(fields: Mapping, key: str, environment: Environment[str, str] | None, *, literal: bool) -> Secret | None:
    if key not in fields:
        fields.missing(f"{key} is missing", key)
        return None
    found = fields.get(key, values.secret(environment, literal=literal), None)
    if found is not None:
        try:
            values.checked_url(found.reveal())
        except ValueError as error:
            fields.problem(str(error), key)
            return None
    return found


def _headers(fields: Mapping, environment: Environment[str, str] | None) -> tuple[tuple[str, Secret], ...]:
    child = fields.child("headers")
    found = []
    for name in child.names() if child else ():
        assert child is not None
        value = child.get(name, values.secret(environment, literal=True), None)
        if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            child.problem("not a header name", name)
        elif name.lower() in _HEADER_FORBIDDEN:
            child.problem(f"{name} is set by the alert manager itself", name)
        elif value is not None and not _is_header_value(value.reveal()):
            child.problem("a header value is printable ASCII on one line", name)
        elif value is not None:
            found.append((name, value))
    return tuple(found)


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def route(fields: Mapping, known: list[str]) -> Route:
    """The `routes` section: in this version one entry, the default route. Without it all receivers are told."""
    entries = fields.children("routes")
    if len(entries) > 1:
        fields.problem("more than one route is not supported yet: the first entry must be the default route", "routes")
    if not entries:
        return Route(to=tuple(known))
    entry = entries[0]
    entry.done(
        ("to", "group_by", "group_wait", "group_interval", "repeat_interval"),
        ("match", "continue", "mute", "active", "on_inactive"),
    )
    plain = Route()
    found = Route(
        to=entry.get("to", values.names, ()),
        group_by=entry.get("group_by", values.labels, plain.group_by),
        group_wait_ms=entry.get("group_wait", values.duration_ms, plain.group_wait_ms),
        group_interval_ms=entry.get("group_interval", values.duration_ms, plain.group_interval_ms),
        repeat_interval_ms=entry.get("repeat_interval", values.positive_duration_ms, plain.repeat_interval_ms),
    )
    _known_receivers(entry, found, known)
    return found


def _known_receivers(entry: Mapping, found: Route, known: list[str]) -> None:
    entry.missing("to is missing: name the receivers", "to")
    for name in found.to:
        if name not in known:
            entry.problem(f'unknown receiver "{name}"{suggestion(name, known)}', "to")
