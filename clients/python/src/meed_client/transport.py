"""HTTP with retries: what is safe to repeat is repeated after network errors and overload, as the server asks."""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3

from .errors import MeedError

T = TypeVar("T")

FIRST_PAUSE = 0.2
RETRYABLE_STATUS = frozenset({0, 429, 502, 503, 504})
RETRYABLE_CODES = frozenset({"body-timeout", "overloaded", "stream-interrupted", "timed-out", "unavailable"})
# After these, nothing was done.
NOTHING_DONE = frozenset({"rate-limited", "overloaded"})


class Transport:
    """One pool of connections; safe to use by several threads."""

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str] | None,
        *,
        retries: int,
        timeout: float,
        max_pause: float,
        pool: urllib3.PoolManager | None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the URL {url!r} begins with neither https:// nor http://")
        self._url = url.rstrip("/")
        self._key = key
        self._retries = retries
        self._max_pause = max_pause
        self._timeout = urllib3.Timeout(connect=min(timeout, 10), read=timeout)
        self._pool = pool or urllib3.PoolManager(maxsize=10)

    def close(self) -> None:
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        read: Callable[[urllib3.BaseHTTPResponse], T],
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        raw_body: bytes | None = None,
        is_safe: bool | None = None,
    ) -> T:
        """`is_safe`: whether the call may be repeated; by default that of a GET. `read` may raise a `MeedError`."""
        return self._send(method, path, read, query, headers, body, raw_body, is_safe)

    def open(
        self, path: str, *, query: Mapping[str, Any] | None, headers: Mapping[str, str], silence: float
    ) -> urllib3.BaseHTTPResponse:
        """A response whose body takes as long as the server wants, but no part of it longer than `silence`."""
        return self._send("GET", path, lambda response: response, query, headers, silence=silence)

    def _send(
        self,
        method: str,
        path: str,
        read: Callable[[urllib3.BaseHTTPResponse], T],
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        raw_body: bytes | None = None,
        is_safe: bool | None = None,
        silence: float | None = None,
    ) -> T:
        url = f"{self._url}{path}{_search(query)}"
        sent = {"accept": "application/json, application/x-ndjson", **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
            raw_body = json.dumps(body).encode()
        is_safe = method == "GET" if is_safe is None else is_safe
        attempt = 0
        while True:
            try:
                return self._attempt(method, url, sent, raw_body, read, silence)
            except MeedError as error:
                pause = self._pause(error, attempt, is_safe)
                if pause is None:
                    raise
            attempt += 1
            time.sleep(pause)

    def _attempt(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        read: Callable[[urllib3.BaseHTTPResponse], T],
        silence: float | None,
    ) -> T:
        key = self._key() if callable(self._key) else self._key
        if key is not None:
            headers = {**headers, "authorization": f"Bearer {key}"}
        is_stream = silence is not None
        timeout = urllib3.Timeout(connect=self._timeout.connect_timeout, read=silence) if is_stream else self._timeout
        try:
            # A followed redirect would turn a POST into a GET.
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=body,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=not is_stream,
            )
        except urllib3.exceptions.HTTPError as error:
            raise MeedError(0, "unreachable", f"{method} {url} got no response: {error}") from error
        if not 200 <= response.status < 300:
            raise _failure(response, url)
        return read(response)

    def _pause(self, error: MeedError, attempt: int, is_safe: bool) -> float | None:
        """In seconds; `None`: no further attempt."""
        is_retryable = error.status in RETRYABLE_STATUS or error.code in RETRYABLE_CODES
        if attempt >= self._retries or not is_retryable or not (is_safe or error.code in NOTHING_DONE):
            return None
        # Jitter, so that clients that failed together do not return together.
        pause: float = FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1)
        asked = error.retry_after or 0
        return None if asked > self._max_pause else max(asked, min(pause, self._max_pause))


def segment(text: str) -> str:
    """One segment of a path."""
    if text in (".", ".."):
        raise ValueError(f"{text} cannot be part of a path")
    return quote(text, safe="")


def read_json(response: urllib3.BaseHTTPResponse) -> Any:
    if not response.data:
        return None
    try:
        return json.loads(response.data)
    except ValueError as error:
        detail = f"The answer {response.status} is not JSON: is this the URL of Meed?"
        raise MeedError(response.status, "unexpected-response", detail) from error


def _search(query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _failure(response: urllib3.BaseHTTPResponse, url: str) -> MeedError:
    status, headers = response.status, response.headers
    request_id, retry_after = headers.get("x-request-id"), _seconds(headers.get("retry-after"))
    if headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = json.loads(response.data)
            return MeedError(
                status,
                problem["code"],
                problem["detail"],
                errors=problem.get("errors") or (),
                request_id=problem.get("requestId") or request_id,
                retry_after=retry_after,
                problem=problem,
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # Cut off
    detail = f"{url} answered {status} without a problem: is there a proxy before Meed?"
    return MeedError(status, "unexpected-response", detail, request_id=request_id, retry_after=retry_after)


def _seconds(value: str | None) -> float | None:
    """`Retry-After`: seconds or a date."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
