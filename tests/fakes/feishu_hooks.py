"""The open platform as it calls a webhook: encrypted, signed, with the token. Needs the package cryptography."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["challenge", "deliver"]

WAIT_S = 10.0


def deliver(url: str, envelope: Mapping[str, Any], token: str, key: str) -> int:
    """Push an event; the HTTP status. Raises urllib.error.HTTPError for one that is no success."""
    header = {**envelope["header"], "token": token}
    return _post(url, {**envelope, "header": header}, key)[0]


def challenge(url: str, token: str, key: str) -> str:
    """Ask whether the address is the app's; what it answers."""
    body = {"challenge": "a-challenge", "token": token, "type": "url_verification"}
    return str(json.loads(_post(url, body, key)[1])["challenge"])


def _post(url: str, value: object, key: str) -> tuple[int, bytes]:
    body = _seal(json.dumps(value, ensure_ascii=False).encode(), key)
    stamp, nonce = str(int(time.time())), os.urandom(8).hex()
    signature = hashlib.sha256(f"{stamp}{nonce}{key}".encode() + body).hexdigest()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "X-Lark-Request-Timestamp": stamp,
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": signature,
    }
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=WAIT_S) as answer:
        return answer.status, answer.read()


def _seal(plain: bytes, key: str) -> bytes:
    """https://open.feishu.cn/document/event-subscription-guide/event-subscriptions/event-subscription-configure-/encrypt-key-encryption-configuration-case"""
    size = 16 - len(plain) % 16
    iv = os.urandom(16)
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(iv)).encryptor()
    sealed = iv + cipher.update(plain + bytes([size]) * size) + cipher.finalize()
    return json.dumps({"encrypt": base64.b64encode(sealed).decode()}).encode()
