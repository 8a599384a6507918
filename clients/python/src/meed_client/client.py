"""The calls of a back end that uses Meed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, cast

import urllib3

from .errors import MeedError
from .models import (
    Attributes,
    EventProgress,
    ExternalUser,
    FulfilmentState,
    GrantDetail,
    IngestionProgress,
    JwkSet,
    NewActivity,
    Recorded,
    RewardRequest,
    SignedReceipt,
    SignedReversal,
    Status,
    Upserts,
    UserDetails,
)
from .stream import record_lines
from .transport import Transport, read_json, segment
from .watch import Watched, watch


class Meed:
    """A client with a service key or an access token (or a function that returns the current one).

    All calls that are safe to repeat are repeated after network errors and overload; a failed call raises a `MeedError`.
    A client may be used by several threads.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str] | None = None,
        *,
        retries: int = 4,
        timeout: float = 30.0,
        max_pause: float = 30.0,
        pool: urllib3.PoolManager | None = None,
    ) -> None:
        """`timeout` is that of one attempt, in seconds. If the server asks for a pause above `max_pause`, the call fails.
        `pool` is for proxies and own certificates."""
        self._transport = Transport(url, key, retries=retries, timeout=timeout, max_pause=max_pause, pool=pool)

    def __enter__(self) -> Meed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def claim(
        self,
        event_id: str,
        *,
        user_id: str | None = None,
        external_user_id: str | None = None,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> RewardRequest:
        """Claims an event's rewards for a user; a user's own token names none.

        The result may be `GRANTED`, `REJECTED` with reasons, `HELD`, `FAILED` or `RECEIVED`; a repeat after a grant raises a
        `MeedError` with the code `already-granted`. By default all attempts use a new `Idempotency-Key`; give one to repeat
        a claim in another process. With `respond_async` the request is `RECEIVED`: `wait_for_decision` waits for the
        decision.
        """
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        if respond_async:
            headers["prefer"] = "respond-async"
        body = {"eventId": event_id, **_user(user_id, external_user_id)}
        claimed = self.request("POST", "/reward-requests", headers=headers, body=body, is_safe=True)
        return cast(RewardRequest, claimed)

    def wait_for_decision(self, request_id: str, *, timeout: float = 60.0) -> RewardRequest:
        """Polls a claim until it is decided. After the timeout it returns the claim as it is, still `RECEIVED`."""
        end, pause = time.monotonic() + timeout, 0.1
        while True:
            request = self.reward_request(request_id)
            if request["status"] != "RECEIVED" or time.monotonic() + pause > end:
                return request
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def progress(
        self,
        event_id: str,
        *,
        user_id: str | None = None,
        external_user_id: str | None = None,
        as_of: str | None = None,
        known_by: str | None = None,
    ) -> EventProgress:
        """What a claim would say now, or at another instant. Nothing is stored.

        `as_of` is when things had happened, `known_by` when they had been recorded (RFC 3339; both need `audit:read`).
        """
        instants = {"asOf": as_of, "knownBy": known_by}
        query = _user(user_id, external_user_id) | {name: at for name, at in instants.items() if at is not None}
        return cast(EventProgress, self.request("GET", f"/events/{segment(event_id)}/progress", query=query))

    def watch_reward_requests(
        self, *, user_id: str | None = None, external_user_id: str | None = None, last_event_id: str | None = None
    ) -> Iterator[Watched[RewardRequest]]:
        """Yields a user's reward requests as they change, from now on or after `last_event_id`, without an end.

        After an event of the type `reset`, some changes are lost and the newest requests follow. A broken connection is
        opened again, and nothing is lost or repeated.
        """
        query = _user(user_id, external_user_id)
        names = ("reward-request", "reset")
        return watch(self._transport, "/reward-requests/stream", query, names, last_event_id)

    def watch_progress(
        self,
        event_id: str,
        *,
        user_id: str | None = None,
        external_user_id: str | None = None,
        last_event_id: str | None = None,
    ) -> Iterator[Watched[EventProgress]]:
        """Yields a user's progress in an event: now, and after each change, without an end."""
        query = _user(user_id, external_user_id)
        return watch(
            self._transport, f"/events/{segment(event_id)}/progress/stream", query, ("progress",), last_event_id
        )

    def record(self, activities: NewActivity | Sequence[NewActivity]) -> Recorded:
        """Records one activity or up to 1000: all of them or none.

        `errors` of a `MeedError` points to the invalid ones: `/3/kind` is the kind of the fourth.
        """
        return cast(Recorded, self.request("POST", "/activities", body=activities, is_safe=True))

    def record_stream(
        self, activities: Iterable[NewActivity | Mapping[str, Any]], *, first_line: int = 1
    ) -> Iterator[IngestionProgress]:
        """Records any number of activities (or CloudEvents), in parts of up to 1000, and yields the totals and the errors
        after each part; nothing happens unless you iterate.

        Invalid activities are left out. If it raises, the error's `through` is the last one that was dealt with: continue
        with `first_line=through + 1`. A part that was repeated counts as duplicates.
        """
        return record_lines(self._transport, cast(Iterable[Mapping[str, Any]], activities), first_line)

    def upsert_user(self, external_id: str, attributes: Attributes | None = None) -> UserDetails:
        """Creates the user of this external id if there is none. `attributes`, if given, replace all attributes."""
        body = {} if attributes is None else {"attributes": attributes}
        path = f"/users/external/{segment(external_id)}"
        return cast(UserDetails, self.request("PUT", path, body=body, is_safe=True))

    def upsert_users(self, users: Sequence[ExternalUser]) -> Upserts:
        """The same for up to 1000 users: all of them or none."""
        return cast(Upserts, self.request("POST", "/users/external", body=users, is_safe=True))

    def user(self, external_id: str) -> UserDetails:
        """A user by external id; a `MeedError` with the code `no-such-user` if there is none."""
        return cast(UserDetails, self.request("GET", f"/users/external/{segment(external_id)}"))

    def grants(
        self,
        *,
        user_id: str | None = None,
        external_user_id: str | None = None,
        event_id: str | None = None,
        fulfilment: FulfilmentState | None = None,
        request_status: Status | None = None,
        from_: str | None = None,
        to: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[GrantDetail]:
        """All grants, newest first; the iterator gets the next page when it needs it. Times are RFC 3339."""
        query = {
            **_user(user_id, external_user_id),
            "eventId": event_id,
            "fulfilment": fulfilment,
            "requestStatus": request_status,
            "from": from_,
            "to": to,
            "pageSize": page_size,
        }
        return cast(Iterator[GrantDetail], self.list("/grants", query=query))

    def acknowledge(
        self,
        grant_id: str,
        state: Literal["DELIVERED", "FAILED"],
        *,
        reason: str | None = None,
        reference: str | None = None,
    ) -> GrantDetail:
        """Says whether the user has received a grant."""
        body = {"state": state, "reason": reason, "reference": reference}
        path = f"/grants/{segment(grant_id)}/acknowledgement"
        return cast(GrantDetail, self.request("POST", path, body=body, is_safe=True))

    def reward_requests(
        self,
        *,
        user_id: str | None = None,
        external_user_id: str | None = None,
        event_id: str | None = None,
        status: Status | None = None,
        from_: str | None = None,
        to: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[RewardRequest]:
        """All reward requests, newest first; the iterator gets the next page when it needs it. Times are RFC 3339."""
        query = {
            **_user(user_id, external_user_id),
            "eventId": event_id,
            "status": status,
            "from": from_,
            "to": to,
            "pageSize": page_size,
        }
        return cast(Iterator[RewardRequest], self.list("/reward-requests", query=query))

    def reward_request(self, request_id: str) -> RewardRequest:
        return cast(RewardRequest, self.request("GET", f"/reward-requests/{segment(request_id)}"))

    def receipt(self, request_id: str) -> SignedReceipt:
        """The proof of a decision; `verify_receipt` verifies it."""
        return cast(SignedReceipt, self.request("GET", f"/reward-requests/{segment(request_id)}/receipt"))

    def reversal_receipt(self, request_id: str) -> SignedReversal:
        """The proof of a reversal; `verify_reversal` verifies it."""
        return cast(SignedReversal, self.request("GET", f"/reward-requests/{segment(request_id)}/reversal/receipt"))

    def receipt_keys(self) -> JwkSet:
        """The keys that sign receipts. Get them once over a connection that you trust, and keep them."""
        return cast(JwkSet, self.request("GET", "/.well-known/receipt-keys.json"))

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        is_safe: bool | None = None,
    ) -> Any:
        """Any other route of the API that responds with JSON or without a body. `is_safe`: whether it may be repeated."""
        return self._transport.send(
            method, path, read_json, query=query, headers=headers, body=body, is_safe=is_safe
        )

    def list(self, path: str, *, query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Any other list of the API, item by item."""
        token: str | None = None
        while True:
            page = self.request("GET", path, query={**(query or {}), "pageToken": token})
            if not isinstance(page, dict) or "items" not in page:
                raise MeedError(200, "unexpected-response", f"{path} is not a list")
            yield from page["items"]
            token = page.get("nextPageToken")
            if token is None:
                return


def _user(user_id: str | None, external_user_id: str | None) -> dict[str, str]:
    named = {"userId": user_id, "externalUserId": external_user_id}
    return {name: value for name, value in named.items() if value is not None}
