from __future__ import annotations

from typing import Any

from meed_client import WebhookEvent, verify_webhook

from .support import FIXTURE, TestCase

WEBHOOK, ROTATED = FIXTURE["webhook"], FIXTURE["rotated"]
SECRET, PREVIOUS = FIXTURE["secret"], FIXTURE["previousSecret"]


def at(webhook: dict[str, Any], seconds: float = 0) -> float:
    return float(webhook["headers"]["webhook-timestamp"]) + seconds


class Webhooks(TestCase):
    def test_a_webhook_verifies_and_its_message_has_a_type(self) -> None:
        headers, body = WEBHOOK["headers"], WEBHOOK["body"]
        event = verify_webhook(headers, body, PREVIOUS, now=at(WEBHOOK))
        self.assertEqual(event["id"], headers["webhook-id"])
        assert event["type"] == "reward.granted"
        self.assertEqual(event["data"]["grants"][0]["quantity"], 1)
        upper_case = {name.upper(): value for name, value in headers.items()}
        self.assertEqual(verify_webhook(upper_case, body.encode(), PREVIOUS, now=at(WEBHOOK)), event)

    def test_a_webhook_that_was_changed_does_not_verify(self) -> None:
        headers, body = WEBHOOK["headers"], WEBHOOK["body"]

        def verify(changed: dict[str, str], text: str = body) -> WebhookEvent:
            return verify_webhook({**headers, **changed}, text, PREVIOUS, now=at(WEBHOOK))

        for changed, text in [
            ({}, body.replace("reward.granted", "reward.reversed")),
            ({}, body + " "),
            ({"webhook-id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}, body),
            ({"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body),
            ({"webhook-signature": "v1,AAAA"}, body),
            ({"webhook-signature": "v1,é"}, body),
            ({"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")}, body),
            ({"webhook-signature": ""}, body),
        ]:
            with self.is_refused("signature"):
                verify(changed, text)
        with self.is_refused("timestamp"):
            verify({"webhook-timestamp": "1e9"})
        with self.is_refused("format"):
            verify_webhook({"webhook-id": "1"}, body, PREVIOUS)
        with self.is_refused("signature"):
            verify_webhook(headers, body, SECRET, now=at(WEBHOOK))

    def test_an_old_webhook_is_refused(self) -> None:
        headers, body = WEBHOOK["headers"], WEBHOOK["body"]
        for now in (None, at(WEBHOOK, 301), at(WEBHOOK, -301)):
            with self.is_refused("timestamp"):
                verify_webhook(headers, body, PREVIOUS, now=now)
        verify_webhook(headers, body, PREVIOUS, now=at(WEBHOOK, 299))
        verify_webhook(headers, body, PREVIOUS, now=at(WEBHOOK, 900), tolerance=1000)

    def test_while_the_secret_is_rotated_both_secrets_verify(self) -> None:
        headers, body = ROTATED["headers"], ROTATED["body"]
        self.assertEqual(len(headers["webhook-signature"].split(" ")), 2)
        for known in (SECRET, PREVIOUS, [PREVIOUS, SECRET]):
            verify_webhook(headers, body, known, now=at(ROTATED))
        # A receiver that knows both, before and after the rotation.
        verify_webhook(WEBHOOK["headers"], WEBHOOK["body"], [SECRET, PREVIOUS], now=at(WEBHOOK))
        with self.assertRaises(ValueError):
            verify_webhook(headers, body, "whsec_", now=at(ROTATED))
