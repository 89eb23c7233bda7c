"""`fleetwatch up`: collector, store, alerting and dashboard in one process, an agent for this host beside it.

Parts start in the order of the data: store, collector, agent, alerting, dashboard. While the agent starts on another
processor, this one imports what the last two need, which is most of the start.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fleetwatch_collector.service import Collector
from fleetwatch_collector.settings import CollectorSettings

from fleetwatch.process import vitals
from fleetwatch.process.addresses import reach, shown
from fleetwatch.process.foundation import Foundation, opened
from fleetwatch.process.jobs import start_control
from fleetwatch.process.local_agent import LocalAgent, agent_arguments
from fleetwatch.process.parts import Parts, Stop
from fleetwatch.process.stopping import stop_signals
from fleetwatch.settings import ProcessSettings, Source

AGENT_STOP, COLLECTOR_STOP = Stop(1, 2.5), Stop(2, 3.0)
"""Of the ten seconds a stop may take; alerting and dashboard have theirs in showing.py, the store gets what is left."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is reached."""

    page: str
    agents: str
    data_dir: Path
    engine: str


async def run_everything(source: Source, announce: Callable[[Running], None], *, agent_log_level: str) -> None:
    """Runs until a signal; `announce` is called once the page answers.

    Raises:
        ConfigError: a setting or a store that cannot be used.
        RuleFileError: a rule file that cannot be used.
    """
    with stop_signals() as stop:
        async with opened(source) as base, Parts() as parts:
            announce(await _start(source, base, parts, agent_log_level))
            await stop.wait()


async def _start(source: Source, base: Foundation, parts: Parts, agent_log_level: str) -> Running:
    process, listens = source.read(ProcessSettings), source.read(CollectorSettings)
    collector = Collector(listens, base.store, base.directory)
    await start_control(parts, base)
    await parts.start("collector", collector, COLLECTOR_STOP)
    agents = reach(listens.grpc, collector.port)
    if process.agent:
        arguments = agent_arguments(process, agents, listens.token_file, base.settings.data_dir)
        await parts.start("agent", LocalAgent(arguments, agent_log_level), AGENT_STOP)
    figures: dict[str, vitals.Vitals] = {
        "fleetwatch_collector": collector.vitals,
        "fleetwatch_store": functools.partial(vitals.of_store, base.store),
    }
    start_showing = await asyncio.to_thread(_import_showing)
    page = await start_showing(source, base, parts, collector.live, figures)
    parts.write_vitals(figures, parts.importer(agents, listens.token_file), process.vitals_interval)
    return Running(page, shown(listens.grpc, collector.port), base.settings.data_dir, base.settings.store)


def _import_showing() -> Callable[..., Awaitable[str]]:
    from fleetwatch.process.showing import start_showing

    return start_showing
