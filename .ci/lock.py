"""Writes requirements.lock and requirements-dev.lock: versions pinned with hashes, no index URLs, not our own packages.

The first line of each file is a digest of the requirements it was made from, so `--check` needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("proto", "agents", "storage", "collector", "alerting", "dashboard", "cli")
OURS = (
    "fleetwatch",
    *(f"fleetwatch-{one}" for one in ("proto", "agent", "storage", "collector", "alerting", "dashboard")),
)
RUN, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
OPTIONS = (
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
    "--no-header",
    "--python-version",
    "3.11",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the files are current")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions than the locked ones")
    options = parser.parse_args()
    if options.check:
        return check()
    extra = ("--upgrade",) if options.upgrade else ()
    lock(
        RUN,
        ("pyproject.toml", "--group", "build", *(f"--no-emit-package={name}" for name in OURS), *extra),
        digest("build"),
    )
    lock(DEV, ("--group", "dev", *extra), digest("build", "dev"))
    return 0


def check() -> int:
    stale = [
        file.name
        for file, groups in ((RUN, ("build",)), (DEV, ("build", "dev")))
        if first_line(file) != digest(*groups)
    ]
    if stale:
        print(
            f"{', '.join(stale)}: made from other requirements than pyproject.toml names: run make lock",
            file=sys.stderr,
        )
        return 1
    print("the lock files are current")
    return 0


def first_line(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0] if file.exists() else ""


def digest(*groups: str) -> str:
    """A comment line that changes with any requirement the lock file is made from."""
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = [tomllib.loads((ROOT / one / "pyproject.toml").read_text(encoding="utf-8")) for one in DISTRIBUTIONS]
    wanted = [one["project"]["dependencies"] for one in named] + [root["dependency-groups"][group] for group in groups]
    return f"# made by `make lock` from requirements {hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]}"


def lock(file: Path, options: tuple[str, ...], head: str) -> None:
    """Resolves into a temporary file first: a failure leaves the old lock in place."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / file.name
        if file.exists():
            shutil.copy(file, fresh)  # the locked versions are kept where they still fit
        uv = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "-q", *OPTIONS, *options, "-o", str(fresh)]
        constraint = ["--constraint", str(RUN)] if file == DEV else []
        subprocess.run([*uv, *constraint], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        pins = [line for line in fresh.read_text(encoding="utf-8").splitlines() if not line.startswith(("-e ", "#"))]
    file.write_text("\n".join([head, *pins]) + "\n", encoding="utf-8")
    print(f"{file.name}: {sum('==' in line for line in pins)} requirements")


if __name__ == "__main__":
    sys.exit(main())
