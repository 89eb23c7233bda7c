"""A real influxd 1.x of the Debian package: own ports, own folders, killed and started again on the same data."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Process, free_port

needs_influxd = pytest.mark.skipif(shutil.which("influxd") is None, reason="the influxdb package is not installed")

ADMIN, PASSWORD = "admin", "admin's word"

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{backup_port}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "{index}"
  query-log-enabled = false
  {data}
[retention]
  check-interval = "1s"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  auth-enabled = {auth}
  log-enabled = false
  {http}
[logging]
  level = "warn"
  suppress-logo = true
"""


class Influxd(Process):
    """influxd on `url`, its data in `folder`; a context manager. `data` and `http` are more lines of these sections.

    `data_folder` is where it keeps its data when that is not `folder`.
    With `auth` an administrator (`ADMIN`, `PASSWORD`) is made at the first start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        auth: bool = False,
        index: str = "tsi1",
        data: str = "",
        http: str = "",
        data_folder: Path | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._auth = auth
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "influxd.conf"
        config.write_text(
            _CONFIG.format(
                backup_port=free_port(),
                port=self.port,
                folder=data_folder or folder,
                auth="true" if auth else "false",
                index=index,
                data=data,
                http=http,
            )
        )
        super().__init__("influxd", ["influxd", "-config", str(config)], folder, ready=self._answers)

    def _answers(self) -> bool:
        try:
            httpx.get(f"{self.url}/ping", timeout=1.0)
        except httpx.HTTPError:
            return False
        if self._auth:
            self.query(f"CREATE USER {ADMIN} WITH PASSWORD '{_quoted(PASSWORD)}' WITH ALL PRIVILEGES", admin=False)
        return True

    def __enter__(self) -> Influxd:
        self.start()
        return self

    def query(self, text: str, database: str = "", *, admin: bool = True, **parameters: str) -> list[dict[str, object]]:
        """The results of InfluxQL as a user of the server would ask it; errors of the server are assertion errors."""
        answer = httpx.post(
            f"{self.url}/query",
            params={"q": text, "db": database, "epoch": "ms", **parameters},
            auth=(ADMIN, PASSWORD) if self._auth and admin else None,
            timeout=30.0,
        )
        body = answer.json()
        if admin:
            assert "error" not in body, body
        results: list[dict[str, object]] = body.get("results", [])
        assert not admin or all("error" not in one for one in results), results
        return results

    def add_user(self, name: str, password: str, database: str = "", right: str = "ALL") -> None:
        """A user with a right (READ, WRITE or ALL) on a database, or on none."""
        self.query(f"CREATE USER \"{name}\" WITH PASSWORD '{_quoted(password)}'")
        if database:
            self.query(f'GRANT {right} ON "{database}" TO "{name}"')


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
