"""Records any number of activities in parts, each a request of its own that is safe to repeat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import urllib3

from .errors import MeedError
from .models import IngestionProgress
from .transport import Transport

MAX_LINES = 1000
# So that one request takes neither much memory nor much time.
MAX_BYTES = 1 << 20
HEADERS = {"content-type": "application/x-ndjson", "prefer": "handling=lenient"}


def record_lines(
    transport: Transport, activities: Iterable[Mapping[str, Any]], first_line: int
) -> Iterator[IngestionProgress]:
    through, recorded, duplicates, rejected = first_line - 1, 0, 0, 0
    for lines, is_last in _parts(activities):
        try:
            part = transport.send(
                "POST",
                "/activities",
                _read_progress,
                query={"firstLine": through + 1},
                headers=HEADERS,
                raw_body=b"".join(lines),
                is_safe=True,
            )
        except MeedError as error:
            error.through = through
            raise
        through += len(lines)
        recorded += part["recorded"]
        duplicates += part["duplicates"]
        rejected += part["rejected"]
        yield {
            "through": through,
            "recorded": recorded,
            "duplicates": duplicates,
            "rejected": rejected,
            "errors": part["errors"],
            "done": is_last,
        }


def _parts(activities: Iterable[Mapping[str, Any]]) -> Iterator[tuple[list[bytes], bool]]:
    """One activity per line; the last part is known as such."""
    lines: list[bytes] = []
    size = 0
    for activity in activities:
        line = json.dumps(activity).encode() + b"\n"
        if len(lines) >= MAX_LINES or (lines and size + len(line) > MAX_BYTES):
            yield lines, False
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield lines, True


def _read_progress(response: urllib3.BaseHTTPResponse) -> IngestionProgress:
    """The last line of the response, with the errors of all lines."""
    request_id = response.headers.get("x-request-id")
    try:
        lines = [json.loads(line) for line in response.data.splitlines() if line]
    except ValueError:
        lines = []  # The last line is cut off.
    last = lines[-1] if lines else {}
    if "code" in last:
        raise MeedError(response.status, last["code"], last["detail"], request_id=request_id)
    if not last.get("done"):
        detail = "The response ended before the server had read all lines."
        raise MeedError(response.status, "stream-interrupted", detail, request_id=request_id)
    errors = [error for line in lines for error in line["errors"]]
    return cast(IngestionProgress, {**last, "errors": errors})
