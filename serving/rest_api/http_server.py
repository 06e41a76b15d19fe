"""aiohttp's HTTP server, hardened: clients that say nothing are not waited for, and what is no HTTP fills no log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import http_exceptions, web

# Until the first request; TF Serving waits for ever.
REQUEST_SECONDS = 50.0


class _ProtocolErrors(logging.Filter):
    """Leaves out requests that are no HTTP: their clients are told, and a port scan is no fault of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], http_exceptions.HttpProcessingError))


_log = logging.getLogger(__name__)
_log.addFilter(_ProtocolErrors())


class HttpServer(web.Server):
    """Makes requests without the mappings that only aiohttp's applications need."""

    def __init__(self, handler: Any) -> None:
        """
        Args:
            handler: Called with each request.
        """
        super().__init__(handler, request_factory=self._begin_request, access_log=None, logger=_log)
        self._silent: dict[Any, asyncio.TimerHandle] = {}

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Give a connection a while to send its first request; aiohttp itself ends those that wait for another."""
        super().connection_made(handler, transport)
        self._silent[handler] = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self._give_up, handler)

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._is_heard(handler)
        super().connection_lost(handler, exc)

    def _give_up(self, handler: Any) -> None:
        del self._silent[handler]
        handler.force_close()

    def _is_heard(self, handler: Any) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def _begin_request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any, loop: Any = None
    ) -> web.BaseRequest:
        self._is_heard(protocol)
        return web.BaseRequest(message, payload, protocol, writer, task, loop or protocol._loop)
