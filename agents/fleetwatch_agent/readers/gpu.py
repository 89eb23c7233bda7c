"""Graphics processors, from what their kernel drivers show in /sys/class/drm.

amdgpu shows load, memory, temperature and power; nouveau, i915 and xe temperature and power where they have sensors.
NVIDIA's own driver shows nothing in files; reading it would need its library or its command, which the agent does not
use.
"""

from __future__ import annotations

import re

from fleetwatch_agent.readers.context import Context
from fleetwatch_agent.readers.source import Files
from fleetwatch_agent.samples import Reader, Series, Values

READS = (
    "/sys/class/drm/card*/device/gpu_busy_percent, mem_info_vram_used, mem_info_vram_total",
    "/sys/class/drm/card*/device/hwmon/hwmon*/temp1_input, power1_average or power1_input",
)


def make(context: Context) -> Reader:
    """One row of `gpu` per card that tells anything.

    Raises:
        LookupError: there is none.
    """
    files = context.files
    cards = [card for card in files.names("sys/class/drm") if re.fullmatch(r"card\d+", card)]
    sources = {card: found for card in cards if (found := inputs(files, card))}
    if not sources:
        raise LookupError("no card tells its load, memory, temperature or power")
    series = {card: Series("gpu", (("name", card),), tuple(found)) for card, found in sources.items()}

    def read() -> Values:
        readings: Values = []
        for card, found in sources.items():
            values = [_scaled(files, path, scale) for path, scale in found.values()]
            readings.append((series[card], values))
        return readings

    return read


def inputs(files: Files, card: str) -> dict[str, tuple[str, float]]:
    """Path and scale of each field this card has; units after scaling are the catalogue's."""
    device = f"sys/class/drm/{card}/device"
    candidates = {
        "utilisation": (f"{device}/gpu_busy_percent", 1.0),
        "memory_used": (f"{device}/mem_info_vram_used", 1.0),
        "memory_total": (f"{device}/mem_info_vram_total", 1.0),
    }
    for sensor in files.names(f"{device}/hwmon")[:1]:
        folder = f"{device}/hwmon/{sensor}"
        candidates["temperature"] = (f"{folder}/temp1_input", 0.001)
        power = "power1_average" if files.number(f"{folder}/power1_average") is not None else "power1_input"
        candidates["power"] = (f"{folder}/{power}", 1e-6)
    return {field: source for field, source in candidates.items() if files.number(source[0]) is not None}


def _scaled(files: Files, path: str, scale: float) -> float:
    """Raises OSError when the card went away; the sampler then leaves the row out."""
    return float(files.read(path)) * scale
