"""What the tests know about the running server: the file that `MEED_CLIENT_FIXTURE` names."""

from __future__ import annotations

import itertools
import json
import os
import unittest
from contextlib import AbstractContextManager
from typing import Any

from meed_client import Meed, MeedError, VerificationError
from meed_client.models import NewActivity

if "MEED_CLIENT_FIXTURE" not in os.environ:
    raise SystemExit("MEED_CLIENT_FIXTURE is not set: run `cargo xtask test clients::`")
with open(os.environ["MEED_CLIENT_FIXTURE"], encoding="utf-8") as file:
    # `url`, `key`: a service key. `event` grants every user one reward, `quests` one who completed two quests. `receipts`
    # were signed together. `foreignKeys` are those of another server. `rotated` is a webhook during a rotation.
    FIXTURE: dict[str, Any] = json.load(file)

meed = Meed(FIXTURE["url"], FIXTURE["key"])
numbers = itertools.count()


def new_user() -> str:
    """A new user by external id."""
    external_id = f"python/{os.getpid()}-{next(numbers)} é"
    meed.upsert_user(external_id)
    return external_id


def quest(external_user_id: str, number: object) -> NewActivity:
    return {
        "source": "python",
        "id": f"{external_user_id}/{number}",
        "externalUserId": external_user_id,
        "kind": "quest.completed",
    }


class TestCase(unittest.TestCase):
    def fails(self, code: str) -> AbstractContextManager[Any]:
        return _Fails(self, MeedError, code)

    def is_refused(self, code: str) -> AbstractContextManager[Any]:
        return _Fails(self, VerificationError, code)


class _Fails:
    """Requires an exception with this code. Its `error` is the exception."""

    error: Any

    def __init__(self, test: unittest.TestCase, kind: type[Exception], code: str) -> None:
        self.test, self.kind, self.code = test, kind, code

    def __enter__(self) -> _Fails:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        self.test.assertIsNotNone(error, f"{self.code} was not raised")
        if not isinstance(error, self.kind):
            return False
        self.error = error
        self.test.assertEqual(self.error.code, self.code, str(error))
        return True
