"""One InfluxDB server: its version, how it is written to, and who asks."""

from __future__ import annotations

import base64
import gzip
from urllib.parse import urlsplit

from fleetwatch_proto.settings import ConfigError, read_secret

from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.influx.http import Answer, Http
from fleetwatch_storage.influx.v2 import V2Writes
from fleetwatch_storage.settings import InfluxSettings

_NEARBY = ("localhost", "127.0.0.1", "::1")


class Server:
    """Thread-safe. Nothing is sent before it is asked for something."""

    def __init__(self, settings: InfluxSettings) -> None:
        """
        Raises:
            ConfigError: a secret file or address that cannot be used.
        """
        address = urlsplit(settings.influx_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"influx_url = {settings.influx_url!r}: write http://host:8086 or https://host:8086")
        self.settings = settings
        self.url = settings.influx_url.rstrip("/")
        self.database = settings.influx_database
        self._token = read_secret(settings.influx_token_file) if settings.influx_token_file else ""
        self.http = Http(self.url, _authorization(settings, self._token))
        self._compress = address.hostname not in _NEARBY
        self._version = ""
        self._v2: V2Writes | None = None

    def version(self) -> str:
        """The version the server says it has, `unknown` where it does not say.

        Raises:
            StoreUnavailable: it does not answer.
        """
        answer = self.http.send("GET", "/ping", {}, within_s=min(5.0, self.settings.influx_timeout))
        if answer.status >= 500:
            raise StoreUnavailable(f"InfluxDB at {self.url} answered {answer.status} to a ping: {answer.error}")
        self._version = answer.headers.get("x-influxdb-version", "unknown").removeprefix("v")
        return self._version

    @property
    def dialect(self) -> str:
        """`v1` or `v2`: as set, else by the server's version.

        Raises:
            StoreUnavailable: it does not answer.
        """
        if self.settings.influx_dialect != "auto":
            return self.settings.influx_dialect
        version = self._version or self.version()
        return "v2" if version.split(".")[0] in ("2", "3") else "v1"

    def post(self, lines: bytes) -> Answer:
        """The answer to a write of lines with timestamps in milliseconds.

        Raises:
            StoreUnavailable: no answer.
        """
        if self.dialect == "v2":
            return self._v2_writes().post(lines)
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._compress and lines:
            lines, headers["Content-Encoding"] = gzip.compress(lines, 1), "gzip"
        where = {"db": self.database, "precision": "ms"}
        within_s = self.settings.influx_timeout
        return self.http.send("POST", "/write", where, body=lines, headers=headers, within_s=within_s)

    def probe(self) -> Answer:
        """The answer to a write of nothing: whether the database is there and may be written to.

        Raises:
            StoreUnavailable: no answer.
        """
        within_s = min(5.0, self.settings.influx_timeout)
        if self.dialect == "v1":
            return self.http.send("POST", "/write", {"db": self.database, "precision": "ms"}, within_s=within_s)
        where = {"org": self.settings.influx_org or "-", "bucket": self.database, "precision": "ms"}
        return self.http.send("POST", "/api/v2/write", where, within_s=within_s)

    def _v2_writes(self) -> V2Writes:
        if self._v2 is None:
            self._v2 = V2Writes(self.settings, self._token, compress=self._compress)
        return self._v2

    def close(self) -> None:
        """Closes the connections; idempotent."""
        self.http.close()
        if self._v2 is not None:
            self._v2.close()


def _authorization(settings: InfluxSettings, token: str) -> dict[str, str]:
    if token:
        return {"Authorization": f"Token {token}"}
    if settings.influx_user:
        password = read_secret(settings.influx_password_file) if settings.influx_password_file else ""
        basic = base64.b64encode(f"{settings.influx_user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {basic}"}
    return {}
