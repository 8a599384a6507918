"""Server-sent events: reads a stream, and opens it again where it broke off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import urllib3

from .errors import MeedError
from .transport import Transport

T = TypeVar("T")

# After this time without a byte, not even a heartbeat, the connection is dead.
SILENCE = 90.0
FIRST_RETRY = 2.0


@dataclass(frozen=True)
class Watched(Generic[T]):
    """An event of a stream."""

    type: str
    # Where to continue; None before the last of the events after a `reset`.
    id: str | None
    data: T


def watch(
    transport: Transport,
    path: str,
    query: Mapping[str, Any],
    names: tuple[str, ...],
    last_event_id: str | None,
) -> Iterator[Watched[Any]]:
    """Yields the events with these names, for ever: it ends when it is closed, or with a `MeedError`."""
    last, retry = last_event_id, FIRST_RETRY
    while True:
        headers = {"accept": "text/event-stream"}
        if last is not None:
            headers["last-event-id"] = last
        response = transport.open(path, query=query, headers=headers, silence=SILENCE)
        try:
            for block in _blocks(response):
                event = _parse(block)
                last = event.get("id", last)
                if event.get("retry", "").isdecimal():
                    retry = int(event["retry"]) / 1000
                if event.get("event") in names and "data" in event:
                    yield Watched(event["event"], event.get("id"), _json(event["data"]))
        finally:
            # The rest is not read, so the connection cannot be used again.
            response.close()
        time.sleep(retry)


def _blocks(response: urllib3.BaseHTTPResponse) -> Iterator[str]:
    """The blocks of lines between empty lines, until the connection ends in any way."""
    read = b""
    # Chunk by chunk, as the server sends them.
    pieces = response.stream()
    while True:
        try:
            piece = next(pieces, None)
        except (urllib3.exceptions.HTTPError, OSError):
            return
        if piece is None:
            return
        *complete, read = (read + piece).split(b"\n\n")
        for block in complete:
            yield block.decode()


def _parse(block: str) -> dict[str, str]:
    event: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        event[name] = f"{event[name]}\n{value}" if name == "data" and name in event else value
    return event


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise MeedError(200, "unexpected-response", "An event is not JSON.") from error
