"""OpenTelemetry traces (`--otlp_endpoint`, extra `telemetry`): a span a request, with spans for what takes its time.

Spans are named and described as OpenTelemetry's semantic conventions for RPC and HTTP servers say. A client that
sends `traceparent` (W3C Trace Context) finds them in its own trace. They are sent by a thread of its own: a
collector that is slow or away costs spans, never requests.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from serving import trace_stages
from serving.errors import InvalidArgument

# A request's end must not wait for the collector; at the end of the process these are all the seconds it has.
_EXPORT_SECONDS = 3.0
_MOST_WAITING_SPANS = 4096

# Which of gRPC's codes are the server's failures and not the client's.
_SERVER_FAULTS = (2, 4, 12, 13, 14, 15)

_ROUTE = re.compile(
    r"/v1/models(?:/[^/:]+?(?P<version>/versions/\d+)?(?P<label>/labels/[^/:]+)?(?P<what>/metadata|:[a-z]+)?)?", re.I
)


class Telemetry:
    """Traces requests."""

    def __init__(self, endpoint: str, *, exporter: Any = None) -> None:
        """
        Args:
            endpoint: The collector, such as "http://localhost:4318"; a path is used as it is, otherwise /v1/traces.
            exporter: Takes the spans instead of the collector.
        Raises: InvalidArgument, if the packages are not there or the endpoint is none.
        """
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise InvalidArgument(
                f"--otlp_endpoint needs packages that are not installed ({error}). "
                "Install them: pip install 'garden[telemetry]'"
            ) from error
        address = urllib.parse.urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise InvalidArgument(
                f"--otlp_endpoint={endpoint} is no HTTP address. OTLP over HTTP is spoken; give the collector's, as in "
                "--otlp_endpoint=http://localhost:4318"
            )
        if address.path in ("", "/"):
            endpoint = urllib.parse.urlunsplit(address._replace(path="/v1/traces"))
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count where they are set.
        is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.getenv("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if is_named else {"service.name": "serving"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is None:
            exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_MOST_WAITING_SPANS))
        self._tracer = self._provider.get_tracer("serving")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = trace.SpanKind
        self._status = trace.StatusCode
        self._in_span = trace.set_span_in_context

    def flush(self) -> bool:
        """Send what is waiting. Returns: whether the collector took it in time."""
        return bool(self._provider.force_flush(int(_EXPORT_SECONDS * 1000)))

    def stop(self) -> None:
        """Send what is waiting, if the collector takes it, and end."""
        # What the exporter says of a collector that is away has been said while it ran.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._provider.shutdown()

    def begin_grpc_call(self, method: str, metadata: Mapping[str, Any]) -> RequestTrace:
        """Trace a call, from now until the trace's `end_grpc`.

        Args:
            method: As on the wire: "/package.Service/Method".
            metadata: The caller's.
        """
        service, _, name = method.lstrip("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        return self._begin(f"{service}/{name}", metadata, attributes)

    @contextlib.contextmanager
    def http_request(self, method: str, scheme: str, path: str, headers: Mapping[str, str]) -> Iterator[RequestTrace]:
        """Trace the request that the `with` block answers.

        Args:
            method: "GET", "POST", …
            scheme: "http" or "https".
            path: As on the request line.
            headers: The client's.
        """
        attributes = {"http.request.method": method, "url.path": path.partition("?")[0], "url.scheme": scheme}
        route = http_route(path)
        if route:
            attributes["http.route"] = route
        trace = self._begin(f"{method} {route}".rstrip(), headers, attributes)
        try:
            with trace.used_here():
                yield trace
        finally:
            trace.end()

    def _begin(self, name: str, carrier: Mapping[str, Any], attributes: dict[str, str]) -> RequestTrace:
        parent = self._propagator.extract({key.lower(): value for key, value in carrier.items()})
        span = self._tracer.start_span(name, context=parent, kind=self._kind.SERVER, attributes=attributes)
        return RequestTrace(self._tracer, span, self._in_span(span), self._status.ERROR)


class RequestTrace:
    """The span of one request; other threads may add to it."""

    def __init__(self, tracer: Any, span: Any, context: Any, error: Any) -> None:
        """
        Args:
            tracer: Makes the spans.
            span: The request's.
            context: The parent of its parts.
            error: OpenTelemetry's status of what failed.
        """
        self._tracer = tracer
        self._span = span
        self._context = context
        self._error = error

    @contextlib.contextmanager
    def used_here(self) -> Iterator[None]:
        """Have this thread or task work for the request for the length of the `with` block."""
        token = trace_stages.ACTIVE.set(self)
        try:
            yield
        finally:
            trace_stages.ACTIVE.reset(token)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a part of the request."""
        span = self._tracer.start_span(name, context=self._context)
        try:
            yield
        finally:
            span.end()

    def describe(self, name: str, version: int | None, signature_name: str) -> None:
        """Tell which model is asked, and which version answers once that is known."""
        self._span.set_attribute("serving.model.name", name)
        if version is not None:
            self._span.set_attribute("serving.model.version", version)
        if signature_name:
            self._span.set_attribute("serving.signature_name", signature_name)

    def end_grpc(self, code: int, message: str) -> None:
        """Tell the outcome of a call: it is over."""
        self._span.set_attribute("rpc.grpc.status_code", code)
        if code in _SERVER_FAULTS:
            self._span.set_status(self._error, message)
        self.end()

    def end_http(self, status: int) -> None:
        """Tell the outcome of an HTTP request."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(self._error)

    def end(self) -> None:
        """The request is over."""
        self._span.end()


def http_route(path: str) -> str:
    """A path without what differs from model to model; "" for one that is not of the REST API."""
    path = path.partition("?")[0]
    match = _ROUTE.fullmatch(path)
    if match is None:
        return ""
    if "/" not in path[len("/v1/models") :]:
        return "/v1/models"
    what = (match["what"] or "").lower()
    version = "/versions/{version}" if match["version"] else "/labels/{label}" if match["label"] else ""
    return "/v1/models/{model}" + version + what
