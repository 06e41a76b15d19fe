"""HTTP/1.1 around the routes: sockets, who may ask, keep-alive, error bodies. All else is in `handlers`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import threading
import time
from collections.abc import Callable

from aiohttp import web

from serving import ports, tls
from serving.config import SslConfig
from serving.errors import Internal, ResourceExhausted, ServingError, ShuttingDown
from serving.health import Health
from serving.inference import Inference
from serving.messages import ModelSpec
from serving.metrics import Metrics
from serving.rest_api import cors, probes, routes, web_page
from serving.rest_api.bodies import read_body
from serving.rest_api.handlers import Answer
from serving.rest_api.http_server import HttpServer
from serving.rest_api.quick_models import QuickModels
from serving.status import HTTP_STATUS, Code
from serving.telemetry import Telemetry
from serving.tokens import REFUSAL, TokenFile
from serving.workers import Workers, WorkersStopped

_log = logging.getLogger(__name__)

# How long an answer that is ready may take to leave when the server stops.
_SEND_SECONDS = 1.0

_JSON = {"Content-Type": "application/json"}


class RestApi:
    """The HTTP server, on an event loop in a thread of its own.

    The loop reads, answers what takes no time, and hands the rest to threads.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        health: Health,
        *,
        num_threads: int,
        max_waiting: int,
        timeout_seconds: float | None,
        monitoring_path: str | None = None,
        is_strict_format: bool = False,
        ssl: SslConfig | None = None,
        tokens: TokenFile | None = None,
        enable_cors: bool = False,
        enable_listing: bool = False,
        enable_web_page: bool = False,
        telemetry: Telemetry | None = None,
    ) -> None:
        """
        Args:
            inference: Answers the requests.
            metrics: Counts them.
            health: What probes are told.
            num_threads: Requests that are parsed and computed at a time.
            max_waiting: Requests that may wait for a thread, or for their own body; more are RESOURCE_EXHAUSTED.
            timeout_seconds: How long a computation may take; None: as long as it takes.
            monitoring_path: Where the metrics page is; None: nowhere.
            is_strict_format: Whether answers are byte for byte TF Serving's, which takes longer.
            ssl: Key and certificate; None: no TLS.
            tokens: What all but probes must show; None: nothing.
            enable_cors: Whether pages of other origins may ask.
            enable_listing: Whether `GET /v1/models` lists the models; upstream has no answer to it.
            enable_web_page: Whether there is a page at `/`.
            telemetry: Traces the requests; None: nobody does.
        """
        self._inference = inference
        self._metrics = metrics
        self._health = health
        self._timeout_seconds = timeout_seconds or None
        self._monitoring_path = monitoring_path
        self._is_strict_format = is_strict_format
        self._ssl = ssl
        self._tokens = tokens
        self._cors_headers = cors.headers(with_tokens=tokens is not None) if enable_cors else {}
        self._enable_listing = enable_listing
        self._telemetry = telemetry
        self._web_page = web_page.WebPage(inference) if enable_web_page else None
        self._workers = Workers(inference, num_threads=num_threads, name="rest")
        self._max_requests = num_threads + max_waiting
        self._requests = 0  # being read or answered; only the loop's thread counts
        self._quick_models = QuickModels()
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
        handle = self._handle if self._telemetry is None else self._handle_traced
        self._runner = web.ServerRunner(HttpServer(handle), shutdown_timeout=_SEND_SECONDS)
        await self._runner.setup()
        context = tls.http_context(self._ssl) if self._ssl is not None else None
        with contextlib.ExitStack() as undo:
            listener = ports.listen(host, port)
            undo.callback(listener.close)
            await web.SockSite(self._runner, listener, ssl_context=context, backlog=ports.BACKLOG).start()
            undo.pop_all()
        return int(listener.getsockname()[1])

    async def _close(self) -> None:
        if self._runner is None:
            return
        server = self._runner.server
        await self._runner.cleanup()
        if server is not None:
            # A connection that was accepted as the others closed would stay open, and its client would wait.
            for _ in range(3):
                await asyncio.sleep(0)
            await server.shutdown(0)
        # Such as those that read what is left of a body that nobody wants.
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_SEND_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        response: web.Response | None = probes.answer(
            path, self._health, may_know_why=lambda: self._refusal(request) is None
        )
        if response is not None:
            return response
        if self._web_page is not None and (response := self._web_page.file(request.method, path)) is not None:
            return response
        is_api = path[:4].lower() == "/v1/"
        if self._web_page is not None and path == web_page.MODELS_PATH:
            response = self._refusal(request) or self._web_page.models()
        elif self._is_monitoring(path):
            response = self._refusal(request) or self._monitoring_page(path)
        elif not is_api:
            response = self._refusal(request) or web.Response(
                status=404, text="<html><body><h1>Not Found</h1></body></html>", content_type="text/html"
            )
        elif request.method == "OPTIONS":
            # A browser asks before it sends the token.
            response = cors.preflight(request.headers.get("Origin", ""))
        else:
            response = self._refusal(request) or await self._answer_api(request, path)
        if is_api:
            response.headers.update(self._cors_headers)
        if self._health.is_leaving:
            response.force_close()
        return response

    async def _handle_traced(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if self._telemetry is None or path[:4].lower() != "/v1/":
            return await self._handle(request)
        with self._telemetry.http_request(request.method, request.scheme, path, request.headers) as trace:
            response = await self._handle(request)
            trace.end_http(response.status)
            return response

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to who has no token; None for who has, or needs none."""
        if self._tokens is None or self._tokens.allows(request.headers.get("Authorization")):
            return None
        response = _error_response(ServingError(REFUSAL, code=Code.UNAUTHENTICATED))
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _answer_api(self, request: web.BaseRequest, path: str) -> web.Response:
        started = time.perf_counter()
        model_name, api, code = "", "", Code.OK
        try:
            # The route first: what is malformed need not send its body.
            route, spec = routes.find_route(request.method, path, enable_listing=self._enable_listing)
            model_name, api = spec.name, route.api
            answer = await self._answer(route, spec, request)
            response = web.Response(body=answer.body, headers=_JSON)
            if answer.model_version is not None:
                response.headers["X-Model-Version"] = str(answer.model_version)
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
        self._metrics.record_request(model_name, code, api, "REST", time.perf_counter() - started)
        return response

    async def _answer(self, route: routes.Route, spec: ModelSpec, request: web.BaseRequest) -> Answer:
        if self._requests >= self._max_requests:
            raise ResourceExhausted("Too many requests are waiting; ask again later.")
        self._requests += 1
        try:
            body = await read_body(request)
            handler = route.strict_handler if self._is_strict_format and route.strict_handler else route.handler
            answer = functools.partial(handler, self._inference, spec, body, self._timeout_seconds)
            if not route.may_be_quick:
                return await self._loop.run_in_executor(self._workers, answer)
            if self._quick_models.is_quick(spec) and self._inference.is_quick(spec, len(body)):
                timed = _timed(functools.partial(answer, at_once=True))
            else:
                timed = await self._loop.run_in_executor(self._workers, _timed, answer)
            self._quick_models.record(spec, timed[1])
            return timed[0]
        finally:
            self._requests -= 1

    def _is_monitoring(self, path: str) -> bool:
        return self._monitoring_path is not None and path.partition("?")[0] == self._monitoring_path

    def _monitoring_page(self, path: str) -> web.Response:
        if path != self._monitoring_path:
            return web.Response(status=400, text=f"Unexpected path: {path}. Should be {self._monitoring_path}")
        return web.Response(text=self._metrics.expose())


def _timed(answer: Callable[[], Answer]) -> tuple[Answer, float]:
    """An answer, and the processor time that it took in this thread."""
    started = time.thread_time()
    return answer(), time.thread_time() - started


def _error_response(error: ServingError) -> web.Response:
    if isinstance(error, routes.UnreadableVersion):
        return web.Response(status=HTTP_STATUS[error.code])
    body = f'{{\n    "error": {json.dumps(error.message, ensure_ascii=False)}\n}}'
    return web.Response(
        status=HTTP_STATUS[error.code],
        body=body.encode("utf-8", errors="replace"),
        headers=_JSON,
    )
