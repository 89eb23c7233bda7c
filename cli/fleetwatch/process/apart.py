"""The parts as processes of their own: `fleetwatch collector`, `fleetwatch alerting`, `fleetwatch dashboard`."""

from __future__ import annotations

import functools
from collections.abc import Callable

from fleetwatch.process import vitals
from fleetwatch.process.addresses import reach, shown
from fleetwatch.process.foundation import Foundation, opened
from fleetwatch.process.jobs import start_control
from fleetwatch.process.parts import Parts, Stop
from fleetwatch.process.stopping import stop_signals
from fleetwatch.settings import ProcessSettings, Source

STOP = Stop(1, 6.0)
"""Of the ten seconds a stop may take; the store gets what is left."""
Announce = Callable[[str], None]


def readiness(base: Foundation) -> tuple[bool, str]:
    """Whether the store can be used, and why not."""
    health = base.store.health()
    return health.ready, health.detail


async def run_collector(source: Source, announce: Announce) -> None:
    """The collector with its store, until a signal.

    Raises:
        ConfigError: a setting or a store that cannot be used.
    """
    from fleetwatch_collector.service import Collector
    from fleetwatch_collector.settings import CollectorSettings

    process, listens = source.read(ProcessSettings), source.read(CollectorSettings)
    with stop_signals() as stop:
        async with opened(source) as base, Parts() as parts:
            collector = Collector(listens, base.store, base.directory)
            figures: dict[str, vitals.Vitals] = {
                "fleetwatch_collector": collector.vitals,
                "fleetwatch_store": functools.partial(vitals.of_store, base.store),
            }
            metrics = functools.partial(vitals.prometheus, figures)
            parts.serve_machines(process.machine_http, metrics, functools.partial(readiness, base))
            await start_control(parts, base)
            await parts.start("collector", collector, STOP)
            write = parts.importer(reach(listens.grpc, collector.port), listens.token_file)
            parts.write_vitals(figures, write, process.vitals_interval)
            announce(f"the collector takes agents at {shown(listens.grpc, collector.port)}")
            await stop.wait()


async def run_alerting(source: Source, announce: Announce) -> None:
    """The alert manager, until a signal.

    Raises:
        ConfigError: a setting or a store that cannot be used.
        RuleFileError: a rule file that cannot be used.
    """
    from fleetwatch_alerting.manager import AlertManager
    from fleetwatch_alerting.settings import AlertingSettings

    process = source.read(ProcessSettings)
    with stop_signals() as stop:
        async with opened(source, beside_collector=True) as base, Parts() as parts:
            manager = AlertManager(source.read(AlertingSettings), base.store, base.database)
            figures: dict[str, vitals.Vitals] = {"fleetwatch_alerting": manager.vitals}
            metrics = functools.partial(vitals.prometheus, figures)
            parts.serve_machines(process.machine_http, metrics, functools.partial(readiness, base))
            await parts.start("alerting", manager, STOP)
            parts.write_vitals(figures, base.store.write, process.vitals_interval)
            announce(f"the alert manager evaluates {len(manager.rules.enabled)} rules")
            await stop.wait()


async def run_dashboard(source: Source, announce: Announce) -> None:
    """Pages and API, until a signal.

    Raises:
        ConfigError: a setting or a store that cannot be used.
    """
    from fleetwatch_dashboard.app import create_app
    from fleetwatch_dashboard.server import DashboardServer
    from fleetwatch_dashboard.settings import DashboardSettings
    from fleetwatch_storage.remote import RemoteLive, remote_options

    shows = source.read(DashboardSettings)
    with stop_signals() as stop:
        async with opened(source, beside_collector=True) as base, Parts() as parts:
            live = RemoteLive(base.settings.collector, remote_options(base.settings))
            parts.push_async_callback(live.close)
            server = DashboardServer(create_app(shows, base.store, live, base.database), shows)
            await parts.start("dashboard", server, STOP)
            announce(f"the page is at http://{shown(shows.http, server.port)}")
            await stop.wait()
