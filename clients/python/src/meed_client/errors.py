"""The two exceptions of this package: a call that failed, and a proof that does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .models import FieldError


class MeedError(Exception):
    """A call that failed. Branch on `code`: a problem code of the API, or

    - `unreachable` (status 0): no response, also after all attempts;
    - `unexpected-response`: a response that is not from Meed, such as one of a proxy;
    - `stream-interrupted` (status 200): a stream ended without a result.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        """The status of the response; 0 if there was none."""
        self.code = code
        self.detail = detail
        """For people: what was wrong, with which value, and what to do."""
        self.errors = list(errors)
        """The invalid fields of the request, by JSON Pointer."""
        self.request_id = request_id
        """Quote it when you report a problem."""
        self.retry_after = retry_after
        """In seconds, if a later retry can succeed."""
        self.problem = problem
        """The whole problem, with the members that only some codes have, such as `rewardRequestId`."""
        self.through: int | None = None
        """For `record_stream`: the last line that was dealt with. Resume with `first_line=through + 1`."""


VerificationCode = Literal["format", "digest", "terms", "path", "untrusted-key", "signature", "timestamp"]


class VerificationError(Exception):
    """A receipt or a webhook that is not authentic.

    The code is `format` (not a document of this kind, or of an unknown format), `digest` (content, salt or digest were
    changed), `terms` (the terms were changed), `path` (the path does not fit the tree), `untrusted-key` (no trusted key has
    this id), `signature` (not by this key), or `timestamp` (a webhook that is too old, or from the future).
    """

    def __init__(self, code: VerificationCode, message: str) -> None:
        super().__init__(message)
        self.code = code
