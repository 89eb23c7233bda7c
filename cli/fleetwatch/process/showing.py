"""The half of `fleetwatch up` that reads the store: alerting and dashboard."""

from __future__ import annotations

import functools

from fleetwatch_alerting.manager import AlertManager
from fleetwatch_alerting.settings import AlertingSettings
from fleetwatch_dashboard.app import create_app
from fleetwatch_dashboard.server import DashboardServer
from fleetwatch_dashboard.settings import DashboardSettings
from fleetwatch_storage.store import LiveSource

from fleetwatch.process import vitals
from fleetwatch.process.addresses import shown
from fleetwatch.process.foundation import Foundation
from fleetwatch.process.parts import Parts, Stop
from fleetwatch.settings import Source

ALERTING_STOP, DASHBOARD_STOP = Stop(3, 1.5), Stop(4, 1.5)


async def start_showing(
    source: Source, base: Foundation, parts: Parts, live: LiveSource, figures: dict[str, vitals.Vitals]
) -> str:
    """Starts both, adds the figures of alerting, and returns the address of the page once it answers.

    Raises:
        ConfigError: a setting that cannot be used.
        RuleFileError: a rule file that cannot be used.
    """
    manager = AlertManager(source.read(AlertingSettings), base.store, base.database)
    figures["fleetwatch_alerting"] = manager.vitals
    settings = source.read(DashboardSettings)
    app = create_app(settings, base.store, live, base.database, vitals=functools.partial(vitals.read, figures))
    server = DashboardServer(app, settings)
    await parts.start("alerting", manager, ALERTING_STOP)
    await parts.start("dashboard", server, DASHBOARD_STOP)
    return f"http://{shown(settings.http, server.port)}"
