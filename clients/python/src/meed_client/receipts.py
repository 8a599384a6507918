"""Offline verification of receipts: salted digest, terms, Merkle path, and signature by a trusted key."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .errors import VerificationError
from .models import Jwk, JwkSet, Receipt, ReversalReceipt, SignedReceipt, SignedReversal, Terms

LEAF, NODE = b"\x00", b"\x01"
MAX_TREE_SIZE = 2**32 - 1
SAFE_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt that is authentic. If its content was erased, only its digest is proven."""

    key_id: str
    digest: str
    receipt: Receipt | None
    terms: Terms | None

    @property
    def erased(self) -> bool:
        return self.receipt is None


@dataclass(frozen=True)
class VerifiedReversal:
    """A reversal that is authentic. `requestDigest` of the receipt is the digest of the receipt of the request."""

    key_id: str
    digest: str
    receipt: ReversalReceipt | None

    @property
    def erased(self) -> bool:
        return self.receipt is None


def verify_receipt(signed: SignedReceipt | Mapping[str, Any], keys: JwkSet | Iterable[Jwk]) -> VerifiedReceipt:
    """Verifies a receipt without a server, or raises a `VerificationError`.

    `keys` are those of `/.well-known/receipt-keys.json`, from a source that you trust: a receipt cannot prove its own key.
    This proves what the server decided; `meed replay` re-runs the decision.
    """
    content = _object(signed, "this is not a signed receipt")
    receipt, terms, salt = content.get("receipt"), content.get("terms"), content.get("salt")
    if receipt is not None or terms is not None or salt is not None:
        if receipt is None or terms is None or salt is None:
            raise VerificationError("format", "receipt, terms and salt are either all there or all erased")
        _check_format(receipt, "meed-receipt/2")
        _check_format(terms, "meed-terms/1")
        _check_digest(receipt, salt, content)
        digest = _digest(_canonical(terms, "terms"))
        if digest != receipt.get("terms"):
            raise VerificationError("terms", f"the terms were changed: their digest is {digest}")
    key_id = _check_signature(content, keys)
    return VerifiedReceipt(key_id, content["digest"], cast("Receipt | None", receipt), cast("Terms | None", terms))


def verify_reversal(signed: SignedReversal | Mapping[str, Any], keys: JwkSet | Iterable[Jwk]) -> VerifiedReversal:
    """The same for the receipt of a reversal."""
    content = _object(signed, "this is not a signed reversal")
    receipt, salt = content.get("receipt"), content.get("salt")
    if receipt is not None or salt is not None:
        if receipt is None or salt is None:
            raise VerificationError("format", "receipt and salt are either both there or both erased")
        _check_format(receipt, "meed-reversal/2")
        _check_digest(receipt, salt, content)
    key_id = _check_signature(content, keys)
    return VerifiedReversal(key_id, content["digest"], cast("ReversalReceipt | None", receipt))


def _object(value: Any, otherwise: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise VerificationError("format", otherwise)
    if not isinstance(value.get("digest"), str) or not isinstance(value.get("signature"), Mapping):
        raise VerificationError("format", otherwise)
    return value


def _check_format(document: Any, known: str) -> None:
    found = document.get("format") if isinstance(document, Mapping) else None
    if found != known:
        raise VerificationError("format", f"the format is {found!r}; this version verifies {known}")


def _check_digest(document: Any, salt: Any, content: Mapping[str, Any]) -> None:
    salt_bytes = _hex(salt, 16)
    if salt_bytes is None:
        raise VerificationError("digest", "the salt is not 16 bytes in hexadecimal")
    digest = _digest(salt_bytes + _canonical(document, "digest"))
    if digest != content["digest"]:
        raise VerificationError("digest", f"the receipt was changed: its digest is {digest}")


def _canonical(document: Any, code: Any) -> bytes:
    try:
        return rfc8785.dumps(_as_doubles(document))
    except rfc8785.CanonicalizationError as error:
        raise VerificationError(code, f"the content is not JSON: {error}") from error


def _as_doubles(value: Any) -> Any:
    """RFC 8785 rounds numbers to doubles. Python reads integers exactly, and rfc8785 refuses those beyond 2^53 - 1."""
    if isinstance(value, Mapping):
        return {key: _as_doubles(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_doubles(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return float(value) if abs(value) < 2**1023 else value
    return value


def _check_signature(content: Mapping[str, Any], keys: Any) -> str:
    """Returns the id of the key."""
    signature = content["signature"]
    root = _root_of(content["digest"], signature)
    if root is None:
        raise VerificationError("path", "the path does not lead from the digest to a root of this tree")
    key_id = signature.get("keyId")
    trusted = keys["keys"] if isinstance(keys, Mapping) else keys
    key = next((key for key in trusted if key["kid"] == key_id), None)
    if key is None or key["kty"] != "OKP" or key["crv"] != "Ed25519":
        raise VerificationError("untrusted-key", f"the key {key_id!r} is not among the trusted keys")
    public_key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4)))
    statement = f"meed-receipts/2\n{signature['treeSize']}\n{root.hex()}"
    try:
        if signature.get("algorithm") != "Ed25519":
            raise InvalidSignature
        public_key.verify(base64.b64decode(signature.get("value"), validate=True), statement.encode())
    except (InvalidSignature, TypeError, ValueError):
        raise VerificationError("signature", f"the key {key_id} did not sign this receipt") from None
    return cast(str, key_id)


def _root_of(digest: str, signature: Mapping[str, Any]) -> bytes | None:
    """The root to which the path leads (RFC 9162, section 2.1.3.2). `None`: the path does not fit the tree."""
    size, index, path = signature.get("treeSize"), signature.get("leafIndex"), signature.get("path")
    leaf = _hex(digest[len("sha256:") :], 32) if re.fullmatch("sha256:[0-9a-f]{64}", digest) else None
    if leaf is None or type(size) is not int or type(index) is not int or not isinstance(path, list):
        return None
    last = size - 1
    if not 0 <= index <= last < MAX_TREE_SIZE:
        return None
    node = hashlib.sha256(LEAF + leaf).digest()
    for text in path:
        sibling = _hex(text, 32)
        if sibling is None or last == 0:
            return None
        if index % 2 == 1 or index == last:
            node = hashlib.sha256(NODE + sibling + node).digest()
            while index % 2 == 0 and index != 0:
                index, last = index // 2, last // 2
        else:
            node = hashlib.sha256(NODE + node + sibling).digest()
        index, last = index // 2, last // 2
    return node if last == 0 else None


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hex(text: Any, length: int) -> bytes | None:
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-fA-F]{{{2 * length}}}", text):
        return None
    return bytes.fromhex(text)
