"""Webhook: Alertmanager's version 4 body, so that every receiver written for it works; ours stands under `x`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fleetwatch_alerting.egress import Egress
from fleetwatch_alerting.notification import Missed, Notification, NotifiedAlert
from fleetwatch_alerting.outbox import Job
from fleetwatch_alerting.outcome import Outcome, retry_after_ms
from fleetwatch_alerting.receivers.http import Sender, classify
from fleetwatch_alerting.rules.schema import WebhookConfig
from fleetwatch_alerting.units import iso


def payload(
    one: Notification, *, sent_at_ms: int, attempt: int = 1, plain: bool = False, max_alerts: int | None = None
) -> dict[str, Any]:
    """The body. `plain` leaves out everything that is not Alertmanager's own."""
    shown = one.alerts[:max_alerts]
    body = {
        "version": "4",
        "groupKey": one.group_key,
        "truncatedAlerts": one.left_out + len(one.alerts) - len(shown),
        "status": "firing" if one.is_firing else "resolved",
        "receiver": one.receiver,
        "groupLabels": dict(one.group_labels),
        "commonLabels": _common([alert.labels for alert in shown]),
        "commonAnnotations": _common([alert.annotations for alert in shown]),
        "externalURL": one.external_url,
        "notification_reason": one.reason,
        "routeLabels": {},
        "alerts": [_alert(alert, one.external_url, plain=plain) for alert in shown],
    }
    if plain:
        return body
    return body | {
        "x": {
            "deliveryId": one.idempotency_key,
            "seq": one.seq,
            "sentAt": iso(sent_at_ms),
            "attempt": attempt,
            "missed": [_missed(missed) for missed in one.missed],
        }
    }


def _common(all_of: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The pairs that all have."""
    if not all_of:
        return {}
    return {name: value for name, value in all_of[0].items() if all(other.get(name) == value for other in all_of)}


def _alert(alert: NotifiedAlert, external_url: str, *, plain: bool) -> dict[str, Any]:
    body = {
        "status": "firing" if alert.firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": iso(alert.starts_at_ms),
        "endsAt": iso(alert.ends_at_ms),
        "generatorURL": alert.host_link or external_url,
        "fingerprint": alert.fingerprint,
    }
    return body if plain else body | {"x": _extra(alert)}


def _extra(alert: NotifiedAlert) -> dict[str, Any]:
    return {
        "changed": bool(alert.change),
        "change": alert.change,
        "previousSeverity": alert.previous_level,
        "activeAt": iso(alert.active_at_ms),
        "value": alert.value,
        "valueAtFire": alert.value_at_fire,
        "peak": alert.peak,
        "threshold": alert.threshold,
        "unit": alert.unit,
        "metric": alert.metric,
        "health": alert.health,
        "reason": alert.reason,
        "ruleUid": alert.rule_uid,
        "flapping": False,
    }


def _missed(one: Missed) -> dict[str, str]:
    return {
        "fingerprint": one.fingerprint,
        "severity": one.level,
        "startsAt": iso(one.starts_at_ms),
        "endsAt": iso(one.ends_at_ms),
    }


class WebhookReceiver:
    """Sends to one webhook."""

    def __init__(self, config: WebhookConfig, egress: Egress) -> None:
        self._config = config
        self._sender = Sender(egress, private=config.allow_private, timeout_s=config.timeout_s)

    async def send(self, job: Job) -> Outcome:
        """One attempt; never raises but for cancellation."""
        body = payload(
            job.notification,
            sent_at_ms=int(time.time() * 1000),
            attempt=job.attempt,
            plain=job.plain,
            max_alerts=job.max_alerts,
        )
        key = job.notification.idempotency_key
        own = {name: value.reveal() for name, value in self._config.headers}
        headers = {**own, "Idempotency-Key": key, "X-Alert-Delivery-Id": key}
        answer = await self._sender.post(self._config.url.reveal(), body, headers)
        if isinstance(answer, Outcome):
            return answer
        return classify(answer, retry_after_ms(answer.headers.get("retry-after"), time.time()))

    async def close(self) -> None:
        """Closes idle connections."""
        await self._sender.close()
