"""HTTP/1.1 around the routes: sockets, bodies, keep-alive, error bodies. All else is in `handlers`."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from typing import Any

from aiohttp import web

from serving import tls
from serving.config import SslConfig
from serving.errors import Internal, InvalidArgument, ResourceExhausted, ServingError, ShuttingDown
from serving.inference import Inference
from serving.messages import ModelSpec
from serving.metrics import Metrics
from serving.rest_api import routes
from serving.status import HTTP_STATUS, Code
from serving.workers import Workers, WorkersStopped

_log = logging.getLogger(__name__)

# What a compressed body may become: a few kilobytes must not fill the memory. As upstream.
MAX_INFLATED_BYTES = 100 * 10**6
# How long an answer that is ready may take to leave when the server stops.
_SEND_SECONDS = 1.0

# What any other body may be; gRPC's limit for a message.
MAX_BODY_BYTES = 2**31 - 1


class RestApi:
    """The HTTP server, on an event loop in a thread of its own."""

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        *,
        num_threads: int,
        max_waiting: int,
        timeout_seconds: float | None,
        monitoring_path: str | None = None,
        ssl: SslConfig | None = None,
    ) -> None:
        """
        Args:
            inference: Answers the requests.
            metrics: Counts them.
            num_threads: Requests that are parsed and computed at a time.
            max_waiting: Requests that may wait for a thread, or for their own body; more are RESOURCE_EXHAUSTED.
            timeout_seconds: How long a computation may take; None: as long as it takes.
            monitoring_path: Where the metrics page is; None: nowhere.
            ssl: Key and certificate; None: no TLS.
        """
        self._inference = inference
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds or None
        self._monitoring_path = monitoring_path
        self._ssl = ssl
        self._workers = Workers(inference, num_threads=num_threads, name="rest")
        self._max_requests = num_threads + max_waiting
        self._requests = 0  # being read or answered; only the loop's thread counts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="rest-loop", daemon=True)
        self._runner: web.ServerRunner | None = None

    def start(self, host: str, port: int) -> int:
        """Open the port and answer.

        Returns: the port, chosen by the system if 0 was asked for.
        Raises: OSError, if the port cannot be had.
        """
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._open(host, port), self._loop).result()

    def stop(self) -> None:
        """Take no more connections, let answers be sent, and close."""
        if self._thread.is_alive():
            closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
            closing.result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)
        if not self._loop.is_running():
            self._loop.close()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self, host: str, port: int) -> int:
        server = web.Server(self._handle, request_factory=_make_request, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SEND_SECONDS)
        await self._runner.setup()
        context = tls.http_context(self._ssl) if self._ssl is not None else None
        site = web.TCPSite(self._runner, host, port, ssl_context=context)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if request.method == "GET" and self._is_monitoring(path):
            return self._monitoring_page(path)
        if not path.lower().startswith("/v1/"):
            return web.Response(
                status=404, text="<html><body><h1>Not Found</h1></body></html>", content_type="text/html"
            )
        started = time.perf_counter()
        model_name, api, code = "", "", Code.OK
        try:
            # The route first: what is malformed need not send its body.
            route, spec = routes.find_route(request.method, path)
            model_name, api = spec.name, route.api
            answer = await self._answer(route, spec, request)
            response = web.Response(body=answer, content_type="application/json")
        except ServingError as error:
            code = error.code
            response = _error_response(error)
        except WorkersStopped:
            code = Code.UNAVAILABLE
            response = _error_response(ShuttingDown())
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            # The client learns that it failed, the log learns why.
            _log.exception("%s %s failed", request.method, path)
            code = Code.INTERNAL
            response = _error_response(Internal("Internal error; the server's log has the details."))
        if self._inference.is_draining:
            response.force_close()
        self._metrics.record_request(model_name, code, api, "REST", time.perf_counter() - started)
        return response

    async def _answer(self, route: routes.Route, spec: ModelSpec, request: web.BaseRequest) -> bytes:
        if self._requests >= self._max_requests:
            raise ResourceExhausted("Too many requests are waiting; ask again later.")
        self._requests += 1
        try:
            body = await _read_body(request)
            return await self._loop.run_in_executor(
                self._workers, route.handler, self._inference, spec, body, self._timeout_seconds
            )
        finally:
            self._requests -= 1

    def _is_monitoring(self, path: str) -> bool:
        return self._monitoring_path is not None and path.partition("?")[0] == self._monitoring_path

    def _monitoring_page(self, path: str) -> web.Response:
        if path != self._monitoring_path:
            return web.Response(status=400, text=f"Unexpected path: {path}. Should be {self._monitoring_path}")
        return web.Response(text=self._metrics.expose())


def _make_request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: Any, loop: Any = None
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, loop or protocol._loop)


async def _read_body(request: web.BaseRequest) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # aiohttp inflates as it reads, so the limit holds for what comes out.
    limit = MAX_INFLATED_BYTES if request.headers.get("Content-Encoding") else MAX_BODY_BYTES
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise InvalidArgument(f"The request's body is larger than {limit} bytes.")
    except web.RequestPayloadError as error:
        # A body that is not encoded as its headers say; the cause has the sentence without HTTP's code.
        # aiohttp would read on, fail again, and log it as a fault of ours.
        request.content.feed_eof()
        reason = getattr(error.__cause__, "message", str(error)).strip()
        raise InvalidArgument(f"The request's body cannot be read: {reason}") from error
    except (web.PayloadAccessError, ValueError) as error:
        raise InvalidArgument(f"The request's body cannot be read: {error}") from error
    return bytes(body)


def _error_response(error: ServingError) -> web.Response:
    if isinstance(error, routes.UnreadableVersion):
        return web.Response(status=HTTP_STATUS[error.code])
    body = f'{{\n    "error": {json.dumps(error.message, ensure_ascii=False)}\n}}'
    return web.Response(
        status=HTTP_STATUS[error.code],
        body=body.encode("utf-8", errors="replace"),
        content_type="application/json",
    )
