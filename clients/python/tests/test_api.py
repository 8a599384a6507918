from __future__ import annotations

import time
import traceback
import unittest
from collections.abc import Iterator, Mapping
from typing import Any

from meed_client import Meed

from .support import FIXTURE, TestCase, meed, new_user, quest

EVENT, QUESTS = FIXTURE["event"], FIXTURE["quests"]


class Api(TestCase):
    def test_a_user_is_created_once_and_found(self) -> None:
        external_id = new_user()
        user = meed.upsert_user(external_id, {"level": 42})
        self.assertEqual((user["externalId"], user["attributes"]), (external_id, {"level": "42"}))
        self.assertEqual(meed.user(external_id), user)
        upserts = meed.upsert_users(
            [{"externalId": external_id}, {"externalId": external_id + "+", "attributes": {"vip": True}}]
        )
        self.assertEqual((upserts["created"], upserts["unchanged"]), (1, 1))
        with self.fails("no-such-user") as failure:
            meed.user("python-nobody")
        self.assertEqual(failure.error.status, 404)

    def test_a_claim_is_rejected_then_granted_then_already_granted(self) -> None:
        user = new_user()
        rejected = meed.claim(QUESTS, external_user_id=user)
        self.assertEqual(rejected["status"], "REJECTED")
        self.assertEqual(rejected["reasons"][0]["source"], "CONDITION")
        progress = meed.progress(QUESTS, external_user_id=user)
        self.assertFalse(progress["eligible"])
        self.assertEqual((progress["progress"][0]["current"], progress["progress"][0]["target"]), (0, 2))

        recorded = meed.record([quest(user, 1), quest(user, 2)])
        self.assertEqual((recorded["recorded"], recorded["duplicates"]), (2, 0))
        again = meed.record(quest(user, 1))
        self.assertEqual((again["recorded"], again["duplicates"]), (0, 1))
        self.assertTrue(meed.progress(QUESTS, external_user_id=user)["eligible"])
        then = meed.progress(QUESTS, external_user_id=user, known_by="2026-01-01T00:00:00Z")
        self.assertEqual((then["eligible"], then.get("knownBy")), (False, "2026-01-01T00:00:00.000Z"))

        granted = meed.claim(QUESTS, external_user_id=user)
        self.assertEqual(granted["status"], "GRANTED")
        self.assertEqual(meed.reward_request(granted["id"]), granted)
        with self.fails("already-granted") as failure:
            meed.claim(QUESTS, external_user_id=user)
        self.assertEqual(failure.error.status, 409)
        self.assertEqual(failure.error.problem["rewardRequestId"], granted["id"])
        self.assertEqual(failure.error.problem["grantIds"], [granted["grants"][0]["id"]])
        self.assertTrue(failure.error.request_id)

    def test_a_claim_under_the_same_key_is_the_same_claim(self) -> None:
        user, key = new_user(), f"python-{time.time_ns()}"
        granted = meed.claim(EVENT, external_user_id=user, idempotency_key=key)
        self.assertEqual(granted["status"], "GRANTED")
        self.assertEqual(meed.claim(EVENT, external_user_id=user, idempotency_key=key), granted)

    def test_a_pending_claim_is_waited_for(self) -> None:
        pending = meed.claim(EVENT, external_user_id=new_user(), respond_async=True)
        self.assertEqual(pending["status"], "RECEIVED")
        self.assertEqual(meed.wait_for_decision(pending["id"])["status"], "GRANTED")

    def test_an_error_points_to_the_invalid_fields(self) -> None:
        user = new_user()
        with self.fails("invalid-body") as failure:
            meed.record([quest(user, 1), {**quest(user, 2), "kind": "no kind"}])
        self.assertEqual(failure.error.status, 422)
        self.assertEqual([error["pointer"] for error in failure.error.errors], ["/1/kind"])
        self.assertIn("no kind", failure.error.errors[0]["message"])

    def test_a_stream_records_the_valid_activities_and_tells_the_lines_of_the_others(self) -> None:
        user = new_user()

        def activities() -> Iterator[Mapping[str, Any]]:
            for line in range(1, 1501):
                yield {**quest(user, line), "kind": ""} if line % 700 == 0 else quest(user, line)

        progress = list(meed.record_stream(activities()))
        self.assertEqual([(part["through"], part["done"]) for part in progress], [(1000, False), (1500, True)])
        last = progress[-1]
        self.assertEqual((last["recorded"], last["duplicates"], last["rejected"]), (1498, 0, 2))
        errors = [(error["line"], error["pointer"]) for part in progress for error in part["errors"]]
        self.assertEqual(errors, [(700, "/kind"), (1400, "/kind")])
        [resumed] = meed.record_stream([quest(user, 1500)], first_line=1500)
        self.assertEqual((resumed["through"], resumed["duplicates"]), (1500, 1))
        self.assertEqual(list(meed.record_stream([])), [])

    def test_lists_are_read_page_by_page(self) -> None:
        user = new_user()
        meed.claim(EVENT, external_user_id=user)
        meed.claim(QUESTS, external_user_id=user)
        meed.record([quest(user, 1), quest(user, 2)])
        meed.claim(QUESTS, external_user_id=user)
        requests = list(meed.reward_requests(external_user_id=user, page_size=1))
        # The clock of the server stands still, so the order says nothing.
        self.assertCountEqual([request["status"] for request in requests], ["GRANTED", "REJECTED", "GRANTED"])
        self.assertEqual(len({request["id"] for request in requests}), 3)
        granted = list(meed.reward_requests(external_user_id=user, status="GRANTED"))
        grants = list(meed.grants(external_user_id=user, page_size=1))
        self.assertCountEqual([grant["requestId"] for grant in grants], [request["id"] for request in granted])
        acknowledged = meed.acknowledge(grants[0]["id"], "DELIVERED", reference="shipment 4711")
        self.assertEqual(acknowledged["fulfilment"]["state"], "DELIVERED")
        self.assertEqual(acknowledged["fulfilment"].get("reference"), "shipment 4711")

    def test_a_key_that_is_wrong_is_refused_and_not_shown(self) -> None:
        with self.fails("invalid-token") as failure:
            Meed(FIXTURE["url"], lambda: "meed_sk_wrong").progress(EVENT)
        self.assertEqual(failure.error.status, 401)
        self.assertNotIn("meed_sk_wrong", "".join(traceback.format_exception(failure.error)).split("Traceback")[0])
        self.assertNotIn("meed_sk_wrong", str(failure.error))


if __name__ == "__main__":
    unittest.main()
