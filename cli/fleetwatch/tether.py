"""Runs a command that must not outlive its parent: `python -m fleetwatch.tether PARENT_PID COMMAND...`.

When the parent is killed, even with kill -9, the kernel sends the command SIGTERM: an agent started by `fleetwatch up`
ends, and the next `fleetwatch up` finds its spool free.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2); kept over execve(2) unless the new program is setuid."""


def main() -> None:
    """Ties this process to its parent, then becomes the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(0)  # the parent died before the tether was there
    os.execv(command[0], command)  # noqa: S606 - no shell; the command is ours


if __name__ == "__main__":
    main()
