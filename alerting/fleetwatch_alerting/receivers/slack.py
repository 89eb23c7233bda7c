"""Slack incoming webhooks (and what speaks like them): blocks within Slack's limits, a text for previews, no mentions.

Limits (docs.slack.dev, Block Kit): section text 3,000 characters, 10 fields of 2,000, 50 blocks, buttons' text 75 and
address 3,000; about 13,000 characters for the whole message.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from fleetwatch_alerting.egress import Egress
from fleetwatch_alerting.notification import Missed, Notification, NotifiedAlert
from fleetwatch_alerting.outbox import Job
from fleetwatch_alerting.outcome import Kind, Outcome, retry_after_ms
from fleetwatch_alerting.receivers.http import Answer, Sender, classify
from fleetwatch_alerting.rules.schema import SlackConfig
from fleetwatch_alerting.units import clock_time, duration, quantity

LINES = 15
SECTION = 3000
FIELD = 2000
TITLE = 300
LINK = 800
BUDGET = 8000

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_COLOURS = {"critical": "#D0342C", "warning": "#E8A317", "info": "#3B6FD4"}
_RESOLVED = "#2E9E5B"
_EMOJI = {"critical": ":red_circle:", "warning": ":large_yellow_circle:", "info": ":large_blue_circle:"}
_RANKS = {"critical": 2, "warning": 1, "info": 0}

_REJECTED = frozenset(
    ["invalid_blocks", "invalid_attachments", "msg_too_long", "msg_blocks_too_long", "invalid_payload", "no_text"]
)
_REFUSED = frozenset(
    ["invalid_token", "action_prohibited", "channel_not_found", "channel_is_archived", "no_service", "no_team"]
)


def payload(one: Notification, *, now_ms: int, plain: bool = False) -> dict[str, Any]:
    """The message. `plain`: text alone, for receivers that refuse the blocks."""
    title = headline(one)
    if plain:
        said = "\n".join([title, *(_plain_line(alert) for alert in one.alerts[:LINES])])
        return {"text": escaped(said, SECTION)}
    blocks = _single(one, one.alerts[0], now_ms) if len(one.alerts) == 1 and not one.left_out else _group(one, now_ms)
    attachment = {"color": _colour(one), "fallback": escaped(title, TITLE), "blocks": [*blocks, *_footer(one)]}
    return {"text": f"{_emoji(one)} {escaped(title, TITLE)}", "attachments": [attachment]}


def headline(one: Notification) -> str:
    """`CRITICAL: disk.used_percent 96.1 % on web-7`, or how many of what."""
    if len(one.alerts) == 1 and not one.left_out:
        return _title(one.alerts[0])
    level = _worst(one)
    what = " ".join(one.group_labels.values()) or "alerts"
    counts = [f"{one.firing_count} firing"] if one.firing_count else []
    if one.resolved_count:
        counts.append(f"{one.resolved_count} resolved")
    word = level.upper() if one.is_firing else "RESOLVED"
    return f"{word}: {what}: {', '.join(counts)}"


def _title(alert: NotifiedAlert) -> str:
    word = alert.level.upper() if alert.firing else "RESOLVED"
    host = alert.labels.get("host", "")
    where = f" on {host}" if host else ""
    if not alert.metric:
        return f"{word}: {alert.rule}{where}"
    rest = _place(alert)
    return f"{word}: {alert.rule} {quantity(alert.value, alert.unit)}{where}{f' ({rest})' if rest else ''}"


def _place(alert: NotifiedAlert) -> str:
    """The labels that tell alerts of a rule apart, other than the host."""
    known = {"alertname", "severity", "host"}
    return ", ".join(f"{name} {value}" for name, value in alert.labels.items() if name not in known)


def _single(one: Notification, alert: NotifiedAlert, now_ms: int) -> list[dict[str, Any]]:
    blocks = [_section(f"{_emoji(one)} *{_linked(_title(alert), alert.host_link)}*")]
    blocks.append({"type": "section", "fields": [_mrkdwn(text, FIELD) for text in _facts(alert, now_ms)]})
    if summary := alert.annotations.get("summary"):
        blocks.append(_section(escaped(summary, 1000)))
    if description := alert.annotations.get("description"):
        blocks.append(_section(escaped(description, 2000)))
    details = [escaped(line, 500)] if (line := alert.annotations.get("sparkline")) else []
    if top := alert.annotations.get("top_processes"):
        details.append(f"Top processes: {escaped(top, 600)}")
    if details:
        blocks.append({"type": "context", "elements": [_mrkdwn(text, FIELD) for text in details]})
    return blocks + _buttons(alert)


def _facts(alert: NotifiedAlert, now_ms: int) -> list[str]:
    """Value, threshold, since, for how long."""
    ends = now_ms if alert.ends_at_ms is None else alert.ends_at_ms
    value = quantity(alert.value, alert.unit)
    if not alert.firing and alert.peak is not None:
        value = f"{value} (peak {quantity(alert.peak, alert.unit)})"
    limit = f"{alert.comparison} {quantity(alert.threshold, alert.unit)}"
    label = "Value" if alert.metric else "Silent"
    return [
        f"*{label}*\n{escaped(value, 200)}",
        f"*Threshold*\n{escaped(limit, 200)}",
        f"*Since*\n{_date(alert.active_at_ms or alert.starts_at_ms)}",
        f"*{'For' if alert.firing else 'Lasted'}*\n{duration(max(0, ends - alert.starts_at_ms))}",
    ]


def _date(ms: int) -> str:
    """A moment in the reader's own time zone."""
    return f"<!date^{ms // 1000}^{{date_short_pretty}} {{time}}|{clock_time(ms)}>"


def _group(one: Notification, now_ms: int) -> list[dict[str, Any]]:
    """One line for each alert, changed first."""
    blocks = [_section(f"{_emoji(one)} *{_linked(headline(one), one.external_url)}*")]
    lines = _within_budget([_line(alert, now_ms) for alert in one.alerts[:LINES]])
    if more := one.left_out + len(one.alerts) - len(lines):
        link = f": {_linked('see all', one.external_url)}" if one.external_url else ""
        lines.append(f"…and {more:,} more".replace(",", " ") + link)
    return blocks + [_section("\n".join(some)) for some in _packed(lines)]


def _within_budget(lines: list[str]) -> list[str]:
    """As many lines as keep the whole message within what Slack takes; at least one."""
    lengths = itertools.accumulate(map(len, lines))
    return lines[: max(1, sum(1 for _ in itertools.takewhile(lambda length: length <= BUDGET, lengths)))]


def _packed(lines: list[str]) -> list[list[str]]:
    """Lines in sections that each stay within the limit."""
    found: list[list[str]] = [[]]
    for line in lines:
        if sum(len(one) + 1 for one in found[-1]) + len(line) > SECTION:
            found.append([])
        found[-1].append(line)
    return [some for some in found if some]


def _line(alert: NotifiedAlert, now_ms: int) -> str:
    mark = _EMOJI.get(alert.level, ":white_circle:") if alert.firing else ":white_check_mark:"
    name = alert.labels.get("host") or alert.rule
    rest = escaped(_place(alert), 200)
    ends = now_ms if alert.ends_at_ms is None else alert.ends_at_ms
    lasted = duration(max(0, ends - alert.starts_at_ms))
    said = f"{mark} {_linked(name, alert.host_link, 120)} {rest} {quantity(alert.value, alert.unit)}".replace("  ", " ")
    if not alert.firing:
        return f"{said} _resolved after {lasted}_"
    return f"{said} _{alert.change}_" if alert.change else f"{said} for {lasted}"


def _plain_line(alert: NotifiedAlert) -> str:
    return f"{_title(alert)}: {alert.annotations.get('summary', '')}"[:400]


def _buttons(alert: NotifiedAlert) -> list[dict[str, Any]]:
    wanted = {
        "Runbook": alert.annotations.get("runbook_url", ""),
        "Host page": alert.host_link,
        "Dashboard": alert.annotations.get("dashboard", ""),
    }
    buttons = [
        {"type": "button", "text": {"type": "plain_text", "text": text}, "url": url}
        for text, url in wanted.items()
        if _is_link(url)
    ]
    return [{"type": "actions", "elements": buttons}] if buttons else []


def _footer(one: Notification) -> list[dict[str, Any]]:
    pairs = [f"{name}={value}".replace("`", "'") for name, value in one.group_labels.items()]
    labels = " · ".join(f"`{escaped(pair, 150)}`" for pair in pairs)
    parts = [part for part in (labels, one.reason, _missed(one.missed)) if part]
    return [{"type": "context", "elements": [_mrkdwn(" · ".join(parts), FIELD)]}]


def _missed(missed: tuple[Missed, ...]) -> str:
    if not missed:
        return ""
    last = missed[-1]
    said = f"{_date(last.starts_at_ms)} to {_date(last.ends_at_ms)}"
    return f"came and went while this channel could not be reached: {len(missed)}, the last {said}"


def escaped(text: str, most: int) -> str:
    """Text from outside: the three characters that mean something to Slack are escaped; cut to `most` characters."""
    full = text.translate(_ESCAPES)
    if len(full) <= most:
        return full
    lengths = itertools.accumulate(len(char.translate(_ESCAPES)) for char in text)
    fitting = sum(1 for _ in itertools.takewhile(lambda length: length < most, lengths))
    return f"{text[:fitting].translate(_ESCAPES)}…"


def _linked(text: str, url: str, most: int = TITLE) -> str:
    shown = escaped(text, most)
    if not _is_link(url):
        return shown
    return f"<{url}|{shown.replace('|', '¦')}>"


def _is_link(url: str) -> bool:
    return len(url) <= LINK and url.startswith(("http://", "https://")) and not any(char in url for char in "<>| \n")


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text, SECTION)}


def _mrkdwn(text: str, most: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text if len(text) <= most else text[:most]}


def _worst(one: Notification) -> str:
    firing = [alert.level for alert in one.alerts if alert.firing] or [alert.level for alert in one.alerts]
    return max(firing, key=lambda level: _RANKS.get(level, 0), default="warning")


def _colour(one: Notification) -> str:
    return _COLOURS.get(_worst(one), _COLOURS["warning"]) if one.is_firing else _RESOLVED


def _emoji(one: Notification) -> str:
    return _EMOJI.get(_worst(one), ":white_circle:") if one.is_firing else ":large_green_circle:"


def outcome(answer: Answer, now_s: float) -> Outcome:
    """Slack answers `ok`, one word of error, or JSON with `ok` and `error`."""
    said = _said(answer.body)
    retry_ms = retry_after_ms(answer.headers.get("retry-after"), now_s)
    if said in _REJECTED:
        return Outcome(Kind.REJECTED, said, f"Slack did not accept the message: {said}")
    if said in _REFUSED:
        return Outcome(Kind.REFUSED, said, f"Slack: {said}")
    if said in ("rate_limited", "ratelimited"):
        return Outcome(Kind.PAUSE, said, "asks for rest", retry_after_ms=retry_ms)
    if 200 <= answer.status < 300 and said != "ok":
        return Outcome(Kind.RETRY, str(answer.status), "answered something other than ok")
    return classify(answer, retry_ms)


def _said(body: str) -> str:
    text = body.strip()
    if not text.startswith("{"):
        return text[:100]
    try:
        parsed = json.loads(text)
    except ValueError:
        return ""
    return "ok" if parsed.get("ok") is True else str(parsed.get("error", ""))[:100]


class SlackReceiver:
    """Sends to one incoming webhook."""

    def __init__(self, config: SlackConfig, egress: Egress) -> None:
        self._config = config
        self._sender = Sender(egress, private=config.allow_private, timeout_s=config.timeout_s)

    async def send(self, job: Job) -> Outcome:
        """One attempt; never raises but for cancellation."""
        body = payload(job.notification, now_ms=int(time.time() * 1000), plain=job.plain)
        key = job.notification.idempotency_key
        headers = {"Idempotency-Key": key, "X-Alert-Delivery-Id": key}
        answer = await self._sender.post(self._config.webhook_url.reveal(), body, headers)
        return answer if isinstance(answer, Outcome) else outcome(answer, time.time())

    async def close(self) -> None:
        """Closes idle connections."""
        await self._sender.close()
