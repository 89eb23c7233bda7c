"""The shipped rules: on at the first start, quiet on a healthy fleet."""

from __future__ import annotations

from pathlib import Path

DEFAULT = Path(__file__).parent / "default.yaml"
"""The rule file that runs when no other is given."""
