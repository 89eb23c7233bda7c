"""`fleetwatch up`: collector, store, alerting and dashboard in one process, an agent for this host beside it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetwatch_alerting.manager import AlertManager
from fleetwatch_alerting.settings import AlertingSettings
from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings
from fleetwatch_dashboard.app import create_app
from fleetwatch_dashboard.server import DashboardServer
from fleetwatch_dashboard.settings import DashboardSettings

from fleetwatch.process import vitals
from fleetwatch.process.addresses import reach, shown
from fleetwatch.process.foundation import Foundation, foundation
from fleetwatch.process.jobs import control_server
from fleetwatch.process.local_agent import LocalAgent, agent_arguments
from fleetwatch.process.parts import Parts
from fleetwatch.process.stopping import stop_signals
from fleetwatch.settings import ProcessSettings, Source

AGENT_STOP_S, COLLECTOR_STOP_S, ALERTING_STOP_S, DASHBOARD_STOP_S, CONTROL_STOP_S = 2.5, 3.0, 1.5, 1.5, 0.2
"""Of the ten seconds a stop may take; the store gets what is left."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is reached."""

    page: str
    agents: str
    data_dir: Path
    engine: str


async def run_everything(source: Source, announce: Callable[[Running], None], *, agent_log_level: str) -> None:
    """Runs until a signal; `announce` is called once the page answers and the agent is started.

    Parts start in the order store, dashboard, alerting, collector, agent and stop in the reverse.

    Raises:
        ConfigError: a setting or a store that cannot be used.
        RuleFileError: a rule file that cannot be used.
    """
    with stop_signals() as stop, foundation(source) as base:
        async with Parts() as parts:
            announce(await _start(source, base, parts, agent_log_level))
            await stop.wait()


async def _start(source: Source, base: Foundation, parts: Parts, agent_log_level: str) -> Running:
    process, listens = source.read(ProcessSettings), source.read(CollectorSettings)
    shows = source.read(DashboardSettings)
    collector = Collector(listens, base.store, base.directory)
    figures: dict[str, vitals.Vitals] = {
        "fleetwatch_collector": collector.vitals,
        "fleetwatch_store": functools.partial(vitals.of_store, base.store),
    }
    app = create_app(shows, base.store, collector.live, base.database, vitals=functools.partial(vitals.read, figures))
    server = DashboardServer(app, shows)
    page = f"http://{shown(shows.http, server.port)}"
    alerts = source.read(AlertingSettings)
    alerts = dataclasses.replace(alerts, external_url=alerts.external_url or page)
    manager = AlertManager(alerts, base.store, base.database)
    figures["fleetwatch_alerting"] = manager.vitals
    await parts.start("control", control_server(base), CONTROL_STOP_S)
    await parts.start("dashboard", server, DASHBOARD_STOP_S)
    await parts.start("alerting", manager, ALERTING_STOP_S)
    await parts.start("collector", collector, COLLECTOR_STOP_S)
    agents = reach(listens.grpc, collector.port)
    if process.agent:
        arguments = agent_arguments(process, agents, listens.token_file, base.settings.data_dir)
        await parts.start("agent", LocalAgent(arguments, agent_log_level), AGENT_STOP_S)
    parts.write_vitals(figures, parts.importer(agents, listens.token_file), process.vitals_interval)
    return Running(page, shown(listens.grpc, collector.port), base.settings.data_dir, base.settings.store)
