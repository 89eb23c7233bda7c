"""Who this agent is, and that it is the only one on its state folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import uuid
from pathlib import Path

from fleetwatch_proto.settings import ConfigError

_log = logging.getLogger(__name__)


def take_lock(folder: Path) -> int | None:
    """Holds the state folder for this process; the descriptor is to be kept open. None where it cannot be written.

    Raises:
        ConfigError: another agent holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"{folder}: another agent is running with this state folder; give this one its own"
        ) from error
    return descriptor


def agent_id(folder: Path, machine_id: str) -> str:
    """The agent's UUID, kept in the state folder; made from the machine's id where the folder cannot be written."""
    path = folder / "agent-id"
    with contextlib.suppress(OSError, ValueError):
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    made = str(uuid.uuid4())
    try:
        fresh = path.with_name("agent-id.new")
        fresh.write_text(made + "\n", encoding="ascii")
        fresh.chmod(0o600)
        fresh.replace(path)
    except OSError as error:
        _log.warning("the agent's id cannot be kept", extra={"path": path, "error": error})
        return str(uuid.uuid5(uuid.NAMESPACE_OID, machine_id)) if machine_id else made
    return made
