"""The shop of the README."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import urllib3

from .support import FIXTURE, TestCase

FOLDER = Path(__file__).parent.parent
EXAMPLE = FOLDER / "examples/shop.py"
KEY = b"the secret of the shop's endpoint"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Shop(TestCase):
    def test_the_shop_of_the_readme_records_claims_verifies_and_delivers(self) -> None:
        port = free_port()
        env = {
            **os.environ,
            "MEED_URL": FIXTURE["url"],
            "MEED_KEY": FIXTURE["key"],
            "MEED_EVENT": FIXTURE["event"],
            "WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
            "PORT": str(port),
            "PYTHONIOENCODING": "utf-8",
        }
        with subprocess.Popen(
            [sys.executable, EXAMPLE],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        ) as shop:
            assert shop.stdout is not None
            try:
                self.assertEqual(shop.stdout.readline(), "the shop is open\n")
                self.shop(port)
                self.assertEqual(shop.stdout.readline(), "deliver 3 × COUPON\n")
                shop.kill()
                self.assertEqual(shop.stdout.read(), "", "the shop delivered twice")
            finally:
                shop.kill()

    def shop(self, port: int) -> None:
        def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
            url = f"http://127.0.0.1:{port}{path}"
            return urllib3.request("POST", url, body=body, headers=headers, retries=False)

        order = {"id": str(uuid.uuid4()), "customer": f"python-shop-{uuid.uuid4()}", "cents": 2500}
        granted = post("/orders", json.dumps(order).encode()).json()
        self.assertEqual((granted["granted"], granted["awards"][0]["quantity"]), (True, 1))
        again = post("/orders", json.dumps(order).encode()).json()
        self.assertEqual(again, {"granted": False, "why": ["Granted before"]})

        message_id, at = str(uuid.uuid4()), str(int(time.time()))
        data = {"grants": [{"quantity": 3, "reward": {"type": "COUPON"}}]}
        message = json.dumps({"specversion": "1.0", "id": message_id, "type": "reward.granted", "data": data}).encode()
        signature = hmac.new(KEY, f"{message_id}.{at}.".encode() + message, hashlib.sha256).digest()
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": at,
            "webhook-signature": "v1," + base64.b64encode(signature).decode(),
        }
        # The second delivery of a message changes nothing.
        for _ in range(2):
            self.assertEqual(post("/meed", message, headers).status, 200)
        with self.assertRaises(urllib3.exceptions.HTTPError):
            post("/meed", message + b" ", headers)

    def test_the_readme_shows_this_shop(self) -> None:
        readme = (FOLDER / "README.md").read_text(encoding="utf-8")
        self.assertIn(f"```python\n{EXAMPLE.read_text(encoding='utf-8')}```\n", readme)
