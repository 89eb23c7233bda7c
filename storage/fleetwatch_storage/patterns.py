"""Regular expressions of matchers: RE2, whose matching takes time linear in the text.

The patterns come from outside, and one that backtracks (`(a+)+$`) would hold the interpreter for hours with Python's
own `re`. RE2 is also what InfluxDB speaks; neither has look-around or back-references.
"""

from __future__ import annotations

import functools
from typing import Any

import re2


@functools.lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern; its `fullmatch(text)` is None where the whole text does not match.

    Raises:
        ValueError: not a regular expression; the text says why.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown"
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error
