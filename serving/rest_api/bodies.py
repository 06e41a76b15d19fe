"""A request's body, inflated, within limits."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader, web

from serving.errors import InvalidArgument

# What a compressed body may become: a few kilobytes must not fill the memory. As upstream.
MAX_INFLATED_BYTES = 100 * 10**6
# What any other body may be; gRPC's limit for a message.
MAX_BODY_BYTES = 2**31 - 1
# How long nothing of a body may come: one that never ends would keep its place among the requests.
SILENCE_SECONDS = 50.0


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body.

    Raises: InvalidArgument, if it is too large, not encoded as its headers say, or stays away.
    """
    if not request.body_exists:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # aiohttp inflates as it reads, so the limit holds for what comes out.
    limit = MAX_INFLATED_BYTES if "Content-Encoding" in request.headers else MAX_BODY_BYTES
    content = request.content
    try:
        first = await _next_piece(content)
        if content.at_eof() and len(first) <= limit:
            # Nearly every body is here at once: nothing to put together.
            return first
        body = bytearray(first)
        while not content.at_eof():
            if len(body) > limit:
                break
            body += await _next_piece(content)
    except web.RequestPayloadError as error:
        # A body that is not encoded as its headers say; the cause has the sentence without HTTP's code.
        # aiohttp would read on, fail again, and log it as a fault of ours.
        content.feed_eof()
        reason = getattr(error.__cause__, "message", str(error)).strip()
        raise InvalidArgument(f"The request's body cannot be read: {reason}") from error
    except TimeoutError:
        raise InvalidArgument(
            f"The request's body is not complete, and nothing of it came for {SILENCE_SECONDS:g} s."
        ) from None
    except (web.PayloadAccessError, ValueError) as error:
        raise InvalidArgument(f"The request's body cannot be read: {error}") from error
    if len(body) > limit:
        raise InvalidArgument(f"The request's body is larger than {limit} bytes.")
    return bytes(body)


async def _next_piece(content: StreamReader) -> bytes:
    """What has come since, waited for if need be."""
    if content.is_eof():
        return await content.readany()
    async with asyncio.timeout(SILENCE_SECONDS):
        return await content.readany()
