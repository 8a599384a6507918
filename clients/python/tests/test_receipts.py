from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from meed_client import verify_receipt, verify_reversal
from meed_client.models import Jwk
from meed_client.receipts import _canonical

from .support import FIXTURE, TestCase, meed, new_user

KEYS, FOREIGN = FIXTURE["keys"], FIXTURE["foreignKeys"]
RECEIPTS: list[dict[str, Any]] = FIXTURE["receipts"]


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The grouped receipt with the longest path, changed."""
    longest = max(RECEIPTS, key=lambda receipt: len(receipt["signature"]["path"]))
    assert len(longest["signature"]["path"]) > 1, "no receipt was signed together with others"
    receipt = copy.deepcopy(longest)
    change(receipt)
    return receipt


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a member to the last argument, or to the result of it."""
    *steps, name, value = path

    def change(receipt: Any) -> None:
        for step in steps:
            receipt = receipt[step]
        receipt[name] = value(receipt[name]) if callable(value) else value

    return change


def flipped(hexadecimal: str) -> str:
    return ("1" if hexadecimal[0] == "0" else "0") + hexadecimal[1:]


class Receipts(TestCase):
    def test_the_receipt_of_a_claim_verifies_with_the_keys_of_the_server(self) -> None:
        granted = meed.claim(FIXTURE["event"], external_user_id=new_user())
        verified = verify_receipt(meed.receipt(granted["id"]), meed.receipt_keys())
        assert verified.receipt is not None and verified.terms is not None
        self.assertEqual((verified.receipt["requestId"], verified.receipt["status"]), (granted["id"], "GRANTED"))
        self.assertEqual(verified.terms["eventId"], FIXTURE["event"])
        self.assertIn(verified.key_id, [key["kid"] for key in KEYS["keys"]])

    def test_receipts_that_were_signed_together_verify(self) -> None:
        self.assertGreater(len(RECEIPTS), 2)
        for receipt in RECEIPTS:
            self.assertEqual(verify_receipt(receipt, KEYS["keys"]).digest, receipt["digest"])
        # Text and the order of keys do not matter.
        reordered = dict(reversed(RECEIPTS[0].items()))
        verify_receipt(json.loads(json.dumps(reordered, indent=2)), KEYS)

    def test_a_receipt_that_was_changed_does_not_verify(self) -> None:
        verify_receipt(changed(lambda receipt: None), KEYS)
        changes: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
            ("digest", put("receipt", "status", "REJECTED")),
            ("digest", put("receipt", "awards", 0, "quantity", lambda quantity: quantity + 1)),
            ("digest", put("receipt", "slot", float("nan"))),
            ("digest", put("salt", flipped)),
            ("digest", put("salt", lambda salt: salt + "00")),
            ("digest", put("digest", lambda digest: "sha256:" + flipped(digest[7:]))),
            ("terms", put("terms", "title", "Another")),
            ("format", put("receipt", "format", "meed-receipt/3")),
            ("format", put("terms", None)),
            ("format", lambda receipt: receipt.pop("salt")),
            ("path", lambda receipt: receipt["signature"]["path"].pop()),
            ("path", lambda receipt: receipt["signature"]["path"].append("00" * 32)),
            ("path", put("signature", "path", 0, "00")),
            ("path", put("signature", "leafIndex", lambda _: 6)),
            ("path", put("signature", "leafIndex", -1)),
            ("path", put("signature", "treeSize", float("nan"))),
            ("signature", put("signature", "path", 0, flipped)),
            ("signature", put("signature", "leafIndex", lambda index: index ^ 1)),
            ("signature", put("signature", "value", lambda value: ("B" if value[0] == "A" else "A") + value[1:])),
            ("signature", put("signature", "value", "")),
            ("signature", put("signature", "value", None)),
            ("signature", put("signature", "algorithm", "none")),
            ("untrusted-key", put("signature", "keyId", FOREIGN["keys"][0]["kid"])),
        ]
        for code, change in changes:
            with self.is_refused(code):
                verify_receipt(changed(change), KEYS)

    def test_a_receipt_by_a_foreign_key_does_not_verify_even_if_it_brings_the_key(self) -> None:
        receipt = changed(lambda receipt: None)
        foreign: Jwk = FOREIGN["keys"][0]
        with self.is_refused("untrusted-key"):
            verify_receipt(receipt, FOREIGN)
        with self.is_refused("untrusted-key"):
            verify_receipt(receipt, [])
        renamed = copy.copy(foreign)
        renamed["kid"] = receipt["signature"]["keyId"]
        with self.is_refused("signature"):
            verify_receipt(receipt, [renamed])
        receipt["signature"].update(keyId=foreign["kid"], publicKey=foreign["x"])
        with self.is_refused("untrusted-key"):
            verify_receipt(receipt, KEYS)

    def test_an_erased_receipt_verifies_and_its_digest_cannot_be_changed(self) -> None:
        erased = FIXTURE["erased"]
        verified = verify_receipt(erased, KEYS)
        self.assertEqual((verified.erased, verified.receipt, verified.digest), (True, None, erased["digest"]))
        other = next(receipt for receipt in RECEIPTS if receipt["digest"] != erased["digest"])
        with self.is_refused("signature"):
            verify_receipt({**erased, "digest": other["digest"]}, KEYS)
        with self.is_refused("path"):
            verify_receipt({**erased, "digest": "sha256:00"}, KEYS)

    def test_the_receipt_of_a_reversal_verifies(self) -> None:
        reversal = FIXTURE["reversal"]
        verified = verify_reversal(reversal, KEYS)
        assert verified.receipt is not None
        self.assertIn(verified.receipt["requestDigest"], [receipt["digest"] for receipt in RECEIPTS])
        with self.is_refused("digest"):
            verify_reversal({**reversal, "receipt": {**reversal["receipt"], "reason": "Other"}}, KEYS)
        with self.is_refused("untrusted-key"):
            verify_reversal(reversal, FOREIGN)
        self.assertTrue(verify_reversal({**reversal, "receipt": None, "salt": None}, KEYS).erased)

    def test_what_is_no_receipt_is_told_as_such(self) -> None:
        others: list[Any] = [None, [], {}, "text", {"digest": "sha256:00"}]
        for other in others:
            with self.is_refused("format"):
                verify_receipt(other, KEYS)

    def test_numbers_are_doubles_as_in_other_languages(self) -> None:
        value = json.loads('{"\\ufffd": 1, "\\ud800\\udc00": 2, "n": [9007199254740993, 1E30, 4.50, -0.0, 1e-27]}')
        text = '{"n":[9007199254740992,1e+30,4.5,0,1e-27],"\U00010000":2,"\ufffd":1}'
        self.assertEqual(_canonical(value, "digest").decode(), text)
