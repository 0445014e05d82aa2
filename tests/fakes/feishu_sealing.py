"""What the platform posts to a webhook, encrypted and signed; written from the published rules, shared with nobody.

signature = hex(sha256(timestamp + nonce + key + body)); AES-256-CBC under sha256(key), the IV in front, in base64.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import time

__all__ = ["sealed", "signed_delivery"]


def signed_delivery(event: object, key: str, *, at_s: float | None = None) -> tuple[bytes, dict[str, str]]:
    """(body, headers) of a delivery. `event` is JSON, or plain bytes in its place."""
    body = json.dumps({"encrypt": sealed(event, key)}).encode()
    timestamp, nonce = str(int(time.time() if at_s is None else at_s)), os.urandom(8).hex()
    signature = hashlib.sha256(f"{timestamp}{nonce}{key}".encode() + body).hexdigest()
    return body, {
        "X-Lark-Request-Timestamp": timestamp,
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": signature,
    }


def sealed(event: object, key: str) -> str:
    """The `encrypt` field. Needs the package `cryptography`."""
    ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
    plain = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    count = 16 - len(plain) % 16
    iv = os.urandom(16)
    mode = ciphers.modes.CBC(iv)
    cipher = ciphers.Cipher(ciphers.algorithms.AES(hashlib.sha256(key.encode()).digest()), mode).encryptor()
    data = cipher.update(plain + bytes([count]) * count) + cipher.finalize()
    return base64.b64encode(iv + data).decode()
