"""Log lines as key=value pairs on standard error."""

from __future__ import annotations

import datetime
import json
import logging
import sys

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogfmtFormatter(logging.Formatter):
    """`time=... level=info logger=... event="..." key=value`; values with spaces or quotes are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback becomes one quoted value, so that a line stays a line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        pairs = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        pairs |= {key: str(value) for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info and record.exc_info[0] is not None:
            pairs["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


def set_up(level: str) -> None:
    """Sends the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogfmtFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _quoted(value: str) -> str:
    simple = value and all(33 <= ord(letter) < 127 and letter not in '"=\\' for letter in value)
    return value if simple else json.dumps(value, ensure_ascii=False)
