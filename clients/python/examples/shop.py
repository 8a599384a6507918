import json
import os
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meed_client import Meed, MeedError, verify_receipt, verify_webhook

meed = Meed(os.environ["MEED_URL"], os.environ["MEED_KEY"])
keys = meed.receipt_keys()  # Better: keep them in a file that you trust.
handled: set[str] = set()  # Better: a table, written together with the delivery.


def paid(order: dict[str, Any]) -> dict[str, Any]:
    """A customer paid for an order: records the purchase and claims the reward."""
    user = meed.upsert_user(order["customer"])["id"]
    meed.record(
        {"source": "shop", "id": order["id"], "userId": user, "kind": "shop.purchase", "amount": order["cents"]}
    )
    try:
        request = meed.claim(os.environ["MEED_EVENT"], user_id=user)
    except MeedError as error:
        if error.code != "already-granted":
            raise
        return {"granted": False, "why": ["Granted before"]}
    if request["status"] != "GRANTED":
        return {"granted": False, "why": [reason["message"] for reason in request["reasons"]]}
    receipt = verify_receipt(meed.receipt(request["id"]), keys).receipt
    return {"granted": True, "awards": receipt and receipt["awards"]}


def webhook(headers: Message, body: bytes) -> dict[str, Any]:
    """Meed granted something: hands it out, once."""
    event = verify_webhook(headers, body, os.environ["WEBHOOK_SECRET"])
    if event["type"] == "reward.granted" and event["id"] not in handled:
        for grant in event["data"]["grants"]:
            print(f"deliver {grant['quantity']} × {grant['reward']['type']}", flush=True)
    handled.add(event["id"])
    return {}


class Shop(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = webhook(self.headers, body) if self.path == "/meed" else paid(json.loads(body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
print("the shop is open", flush=True)
server.serve_forever()
