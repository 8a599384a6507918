"""Client of Meed: claims, activities, users, receipts and webhooks.

`meed_client.models` has the names of the API, generated from the OpenAPI document of the server. They are types of plain
dictionaries: what you get is the JSON of the server, and what you give may be any dictionary.
"""

from .client import Meed
from .errors import MeedError, VerificationError
from .receipts import VerifiedReceipt, VerifiedReversal, verify_receipt, verify_reversal
from .watch import Watched
from .webhooks import WebhookEvent, verify_webhook

__all__ = [
    "Meed",
    "MeedError",
    "VerificationError",
    "VerifiedReceipt",
    "VerifiedReversal",
    "Watched",
    "WebhookEvent",
    "verify_receipt",
    "verify_reversal",
    "verify_webhook",
]
