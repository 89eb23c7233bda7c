"""The gRPC server: options, services, and who is asked at the door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from fleetwatch_proto.settings import ConfigError
from fleetwatch_proto.v1 import import_pb2, ingest_pb2, query_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleetwatch_collector.imports import ImportService
from fleetwatch_collector.ingest import Ingest
from fleetwatch_collector.interceptors import Doorkeeper, Handler
from fleetwatch_collector.metrics import CallMetrics
from fleetwatch_collector.queries import LARGEST_ANSWER, QueryService
from fleetwatch_collector.settings import CollectorSettings, address

_LARGEST_METADATA = 16 * 1024

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in ((ingest_pb2, "Ingest"), (import_pb2, "Import"), (query_pb2, "Query"))
)


@dataclass(frozen=True, slots=True)
class Services:
    """What the server offers."""

    ingest: Ingest
    imports: ImportService
    queries: QueryService


class Server:
    """The listening server; made, then started, then stopped."""

    def __init__(
        self, settings: CollectorSettings, services: Services, metrics: CallMetrics, token: str | None
    ) -> None:
        doorkeeper = Doorkeeper(metrics, token, settings.streams_per_address)
        self._server = grpc.aio.server(interceptors=[doorkeeper], options=options(settings))
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in the stubs
        self._address = settings.grpc
        self._add(services)

    async def start(self) -> int:
        """Listens; the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, port = address(self._address)
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(where)
        except RuntimeError as error:
            raise ConfigError(
                f"grpc = {self._address!r}: cannot listen there: the port is taken, perhaps by a collector that is "
                "already running, or the address is not this machine's"
            ) from error
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def announce_end(self) -> None:
        """Health checks say that this server is going away."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Ends all calls, at the latest after `grace_s`."""
        await self._server.stop(grace_s)

    def _add(self, services: Services) -> None:
        for name, methods in zip(SERVICES, (_ingest(services), _import(services), _query(services)), strict=True):
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)


def _ingest(services: Services) -> dict[str, Handler]:
    """Bytes in and out: a message is parsed once, by the session, which can refuse it in words."""
    return {"Stream": grpc.stream_stream_rpc_method_handler(services.ingest.stream)}


def _import(services: Services) -> dict[str, Handler]:
    take, give = import_pb2.WriteChunk.FromString, import_pb2.WriteReply.SerializeToString
    return {"Write": grpc.stream_unary_rpc_method_handler(services.imports.write, take, give)}


def _query(services: Services) -> dict[str, Handler]:
    queries, wire = services.queries, query_pb2
    one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    question, frame = wire.QueryRequest.FromString, wire.FrameMessage.SerializeToString
    series, host = wire.SeriesKey.SerializeToString, wire.HostRecord.SerializeToString
    return {
        "Read": one(queries.read, question, frame),
        "ReadStream": many(queries.read_stream, question, frame),
        "Latest": many(queries.latest, wire.LatestRequest.FromString, frame),
        "ListSeries": many(queries.list_series, wire.SeriesRequest.FromString, series),
        "ListHosts": many(queries.list_hosts, wire.HostsRequest.FromString, host),
        "Watch": many(queries.watch, wire.WatchRequest.FromString, frame),
        "StoreHealth": one(queries.store_health, wire.HealthRequest.FromString, wire.HealthReply.SerializeToString),
    }


def options(settings: CollectorSettings) -> Sequence[tuple[str, int]]:
    """Options of gRPC's core.

    Without the two for pending requests a reconnect storm of ten thousand agents loses a third of them at the door.
    `ping_timeout_ms` is what really decides when a silent peer is given up. Messages may be twice the limit, so that a
    batch over it is refused by name instead of breaking the stream again and again. Messages are taken as they are:
    gRPC's own decompression has no limit that a small message could not be inflated beyond.
    """
    age_ms = int(settings.max_connection_age * 1000)
    return (
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 100_000),
        ("grpc.max_receive_message_length", 2 * settings.max_message + 64 * 1024),
        ("grpc.max_send_message_length", 2 * LARGEST_ANSWER),
        ("grpc.max_metadata_size", _LARGEST_METADATA),
        ("grpc.per_message_decompression", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", 30_000),
        ("grpc.so_reuseport", 0),
    )
