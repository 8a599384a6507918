"""Verification of webhooks, as specified by Standard Webhooks, and the types of their messages: CloudEvents 1.0."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypedDict, cast

from typing_extensions import NotRequired

from .errors import VerificationError
from .models import Event, Grant, Reason, ReversedGrant


class _Message(TypedDict):
    specversion: Literal["1.0"]
    id: str
    """The same message can arrive more than once: deduplicate by the id."""
    source: str
    subject: str
    time: str
    datacontenttype: str
    requestid: NotRequired[str]
    """The `X-Request-Id` of the HTTP request that caused the message."""


class _Granted(TypedDict):
    requestId: str
    eventId: str
    userId: str


class GrantedData(_Granted):
    grants: list[Grant]
    grantedAt: str


class RewardGranted(_Message):
    type: Literal["reward.granted"]
    data: GrantedData


class ReversedData(_Granted):
    reversalId: str
    grants: list[ReversedGrant]
    reason: str
    reversedAt: str


class RewardReversed(_Message):
    type: Literal["reward.reversed"]
    data: ReversedData


class LimitReachedData(_Granted):
    code: str
    rejectedAt: str


class RewardLimitReached(_Message):
    type: Literal["reward.limit-reached"]
    data: LimitReachedData


class CodesLowData(TypedDict):
    rewardId: str
    remaining: int
    total: int
    lowWater: int


class RewardCodesLow(_Message):
    type: Literal["reward.codes-low"]
    data: CodesLowData


class HeldData(_Granted):
    reasons: list[Reason]
    heldAt: str
    heldUntil: str


class ClaimHeld(_Message):
    type: Literal["claim.held"]
    data: HeldData


class DeniedData(_Granted):
    outcome: Literal["DENIED", "EXPIRED"]
    reason: str | None
    deniedAt: str


class ClaimDenied(_Message):
    type: Literal["claim.denied"]
    data: DeniedData


class RejectedData(_Granted):
    status: Literal["REJECTED", "FAILED"]
    reasons: list[Reason]
    decidedAt: str


class ClaimRejected(_Message):
    type: Literal["claim.rejected"]
    data: RejectedData


class EventChangedData(TypedDict):
    eventId: str
    revision: int
    event: Event | None
    changedBy: str
    changedAt: str


class EventChanged(_Message):
    type: Literal["event.created", "event.changed", "event.deleted"]
    data: EventChangedData


class ReleaseChangedData(TypedDict):
    releaseId: str
    eventId: str
    revision: int
    state: str
    title: str
    hash: str
    by: str | None
    at: str
    text: str | None


class ReleaseChanged(_Message):
    type: Literal[
        "release.created",
        "release.submitted",
        "release.edited",
        "release.waived",
        "release.approved",
        "release.rejected",
        "release.outdated",
        "release.schedule-missed",
        "release.started",
        "release.advanced",
        "release.held",
        "release.resumed",
        "release.activated",
        "release.rolled-back",
        "release.withdrawn",
    ]
    data: ReleaseChangedData


class PluginChangedData(TypedDict):
    plugin: str
    version: str
    digest: str
    by: str | None
    at: str
    detail: str | None


class PluginChanged(_Message):
    type: Literal[
        "plugin.uploaded",
        "plugin.signed",
        "plugin.disabled",
        "plugin.enabled",
        "plugin.quarantined",
        "plugin.released",
        "plugin.deleted",
    ]
    data: PluginChangedData


class AuditCheckpointData(TypedDict):
    size: int
    rootHash: str
    createdAt: str
    checkpoint: str


class AuditCheckpoint(_Message):
    type: Literal["audit.checkpoint"]
    data: AuditCheckpointData


class PingData(TypedDict):
    endpointId: str


class WebhookPing(_Message):
    type: Literal["webhook.ping"]
    data: PingData


WebhookEvent = (
    RewardGranted
    | RewardReversed
    | RewardLimitReached
    | RewardCodesLow
    | ClaimHeld
    | ClaimDenied
    | ClaimRejected
    | EventChanged
    | ReleaseChanged
    | PluginChanged
    | AuditCheckpoint
    | WebhookPing
)
"""Every message of this version of Meed. Later ones may have more types and members: ignore what you do not know."""


class Headers(Protocol):
    """The headers of a request: a dictionary, or those of a web framework."""

    def items(self) -> Iterable[tuple[str, str]]: ...


def verify_webhook(
    headers: Headers,
    body: bytes | str,
    secret: str | Sequence[str],
    *,
    tolerance: float = 300,
    now: float | None = None,
) -> WebhookEvent:
    """Verifies a webhook and returns its message, or raises a `VerificationError`.

    `body` is the raw body, before any JSON parser; the case of the headers' names does not matter. While a secret is
    rotated, Meed signs with the new and the previous one, so either verifies; `secret` may be several, too. `tolerance` is
    how far `webhook-timestamp` may be from `now` (the system clock), in seconds.
    """
    found = {name.lower(): value for name, value in headers.items()}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if name not in found:
            raise VerificationError("format", f"the header {name} is missing")
    message_id, timestamp = found["webhook-id"], found["webhook-timestamp"]
    if not re.fullmatch("[0-9]{1,15}", timestamp):
        raise VerificationError("timestamp", "webhook-timestamp is not a number of seconds")
    raw = body.encode() if isinstance(body, str) else bytes(body)
    signed = f"{message_id}.{timestamp}.".encode() + raw
    keys = [_key(text) for text in ([secret] if isinstance(secret, str) else secret)]
    good = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    given = [_signature(text) for text in found["webhook-signature"].split(" ")[:10]]
    if not any(hmac.compare_digest(one, other) for one in good for other in given):
        raise VerificationError("signature", "no signature of the webhook is by this secret")
    # After the signature, so that the error of a forged webhook does not depend on its time.
    age = (time.time() if now is None else now) - int(timestamp)
    if abs(age) > tolerance:
        when = f"{age:.0f} seconds old" if age > 0 else f"{-age:.0f} seconds in the future"
        raise VerificationError("timestamp", f"the webhook is {when}: possibly a replay attack")
    return _parse(raw, message_id)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("the secret of a webhook endpoint is `whsec_` and Base64")
    return key


def _signature(text: str) -> bytes:
    """Empty, which no signature is, if it is of another version."""
    try:
        return base64.b64decode(text[len("v1,") :], validate=True) if text.startswith("v1,") else b""
    except ValueError:
        return b""


def _parse(body: bytes, message_id: str) -> WebhookEvent:
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    if not isinstance(event, dict) or event.get("specversion") != "1.0" or event.get("id") != message_id:
        raise VerificationError("format", "the body of the webhook is not the CloudEvent of its webhook-id")
    return cast(WebhookEvent, event)
