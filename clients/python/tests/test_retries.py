"""Retries through a proxy that loses responses and is overloaded, before the running server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import urllib3

from meed_client import Meed

from .support import FIXTURE, TestCase, new_user, quest

# A status, headers and a body; or what happens to a forwarded request.
Fault = Literal["forward", "lose the response"] | tuple[int, dict[str, str], str]


class Proxy:
    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        # The `Idempotency-Key` of each attempt.
        self.keys: list[str | None] = []
        self.meed: Meed


@contextmanager
def behind(*faults: Fault) -> Iterator[Proxy]:
    """A proxy that answers the first requests with these faults, and forwards the others."""
    proxy, pool = Proxy(list(faults)), urllib3.PoolManager()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            proxy.keys.append(self.headers.get("idempotency-key"))
            fault = proxy.faults.pop(0) if proxy.faults else "forward"
            if isinstance(fault, tuple):
                self.reply(*fault)
                return
            hop = ("host", "connection", "content-length", "transfer-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in hop}
            url = FIXTURE["url"] + self.path
            response = pool.request(self.command, url, headers=headers, body=body or None, retries=False)
            if fault == "lose the response":
                self.close_connection = True
            else:
                self.reply(response.status, {"content-type": response.headers["content-type"]}, response.data.decode())

        do_GET = do_POST = do_PUT = answer

        def reply(self, status: int, headers: dict[str, str], body: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with Meed(url, FIXTURE["key"], max_pause=2) as proxy.meed:
            yield proxy
    finally:
        server.shutdown()
        server.server_close()


def problem(code: str, retry_after: str) -> Fault:
    body = {"type": f"urn:meed:problem:{code}", "title": "", "status": 503, "code": code, "detail": "later"}
    return 503, {"content-type": "application/problem+json", "retry-after": retry_after}, json.dumps(body)


class Retries(TestCase):
    def test_a_claim_whose_response_was_lost_is_repeated_with_its_key_and_granted_once(self) -> None:
        user = new_user()
        with behind("lose the response", problem("unavailable", "1"), (504, {}, "")) as proxy:
            begin = time.monotonic()
            granted = proxy.meed.claim(FIXTURE["event"], external_user_id=user)
            self.assertEqual(granted["status"], "GRANTED")
            self.assertGreaterEqual(time.monotonic() - begin, 1, "Retry-After was not honoured")
            self.assertEqual(len(proxy.keys), 4)
            self.assertEqual(len(set(proxy.keys)), 1)
            self.assertTrue(proxy.keys[0])
            requests = list(proxy.meed.reward_requests(external_user_id=user))
            self.assertEqual([request["id"] for request in requests], [granted["id"]])

    def test_two_claims_have_two_keys(self) -> None:
        user = new_user()
        with behind() as proxy:
            proxy.meed.claim(FIXTURE["event"], external_user_id=user)
            proxy.meed.claim(FIXTURE["quests"], external_user_id=user)
            self.assertEqual(len(set(proxy.keys)), 2)

    def test_a_call_fails_when_the_server_asks_for_a_longer_pause_and_when_a_refusal_is_final(self) -> None:
        user = new_user()
        with behind(problem("unavailable", "60")) as proxy:
            with self.fails("unavailable") as failure:
                proxy.meed.claim(FIXTURE["event"], external_user_id=user)
            self.assertEqual((failure.error.status, failure.error.retry_after, len(proxy.keys)), (503, 60, 1))
        with behind((500, {}, "<html>")) as proxy:
            with self.fails("unexpected-response") as failure:
                proxy.meed.claim(FIXTURE["event"], external_user_id=user)
            self.assertEqual((failure.error.status, len(proxy.keys)), (500, 1))

    def test_what_is_not_safe_to_repeat_is_repeated_only_if_nothing_was_done(self) -> None:
        with behind(problem("overloaded", "0"), problem("unavailable", "0")) as proxy:
            with self.fails("unavailable"):
                path = f"/reward-requests/{FIXTURE['event']}/reversal"
                proxy.meed.request("POST", path, body={"reason": "x"})
            self.assertEqual(len(proxy.keys), 2)

    def test_a_server_that_does_not_answer_is_told_as_unreachable_after_all_attempts(self) -> None:
        with self.fails("unreachable") as failure:
            Meed("http://127.0.0.1:1", FIXTURE["key"], retries=2).receipt_keys()
        self.assertEqual(failure.error.status, 0)
        with self.assertRaises(ValueError):
            Meed("127.0.0.1:1")

    def test_a_stream_repeats_an_interrupted_part_and_says_where_to_resume(self) -> None:
        user = new_user()
        activities = [quest(user, number) for number in range(1001)]
        ndjson = {"content-type": "application/x-ndjson"}
        too_large = json.dumps({"through": 1000, "code": "body-too-large", "detail": "Line 1001 has more bytes."})
        cut_off: Fault = (200, ndjson, '{"through": 10')
        with behind(cut_off, "lose the response", "forward", (200, ndjson, too_large)) as proxy:
            stream = proxy.meed.record_stream(activities)
            first = next(stream)
            self.assertEqual((first["through"], first["duplicates"], len(proxy.keys)), (1000, 1000, 3))
            with self.fails("body-too-large") as failure:
                next(stream)
            through = failure.error.through
            self.assertEqual(through, 1000)
            [rest] = proxy.meed.record_stream(activities[through:], first_line=through + 1)
            self.assertEqual((rest["through"], rest["recorded"]), (1001, 1))
