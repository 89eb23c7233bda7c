"""Writes through influxdb-client, as InfluxDB 2 and 3 take them. The only module that knows that library.

Only its synchronous mode is used: the batching one has no back-pressure and drops what it cannot send.
"""

from __future__ import annotations

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from fleetwatch_storage.errors import StoreUnavailable
from fleetwatch_storage.influx.http import Answer
from fleetwatch_storage.settings import InfluxSettings


class V2Writes:
    """`/api/v2/write` of one bucket. Connects when it first writes."""

    def __init__(self, settings: InfluxSettings, token: str, *, compress: bool) -> None:
        self._url, self._bucket = settings.influx_url, settings.influx_database
        self._org = settings.influx_org or "-"  # InfluxDB 3 has none, but the client insists
        self._client = InfluxDBClient(
            url=settings.influx_url.rstrip("/"),
            token=token,
            org=self._org,
            timeout=int(settings.influx_timeout * 1000),
            enable_gzip=compress,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def post(self, lines: bytes) -> Answer:
        """The answer to a write of lines with timestamps in milliseconds.

        Raises:
            StoreUnavailable: no answer.
        """
        try:
            # The library's own constants for the precision are plain text too, its annotation is wrong.
            self._api.write(self._bucket, self._org, record=lines, write_precision="ms")  # type: ignore[arg-type]
        except ApiException as error:
            if not error.status:
                raise StoreUnavailable(f"InfluxDB at {self._url} cannot be reached: {error.reason}") from error
            return _answer(error)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(f"InfluxDB at {self._url} cannot be reached: {error}") from error
        return Answer(204)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()  # type: ignore[no-untyped-call]


def _answer(error: ApiException) -> Answer:
    headers = {str(name).lower(): str(value) for name, value in dict(error.headers or {}).items()}
    body = error.body or b""
    return Answer(int(error.status), headers, body if isinstance(body, bytes) else str(body).encode())
