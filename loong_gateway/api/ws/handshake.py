"""The answer to a request to speak WebSocket. https://www.rfc-editor.org/rfc/rfc6455 section 4.2"""

from __future__ import annotations

import base64
import hashlib
import re

from ..http_request import Refusal, RequestHead

__all__ = ["switching_answer"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# What 16 bytes look like in base64.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")


def switching_answer(head: RequestHead) -> bytes:
    """The 101 answer to an upgrade request, whatever its path. Raises Refusal: 400, or 426 for another version.

    No extension and no subprotocol is ever agreed on, whatever is offered.
    """
    if head.method != "GET" or head.minor == 0:
        raise Refusal(400, "bad_upgrade")
    if "websocket" not in head.words("upgrade") or "upgrade" not in head.words("connection"):
        raise Refusal(400, "bad_upgrade")
    if head.get("sec-websocket-version") != "13":
        raise Refusal(426, "upgrade_required")
    key = head.get("sec-websocket-key")
    if key is None or not _KEY.fullmatch(key):
        raise Refusal(400, "bad_websocket_key")
    # The protocol asks for this hash; nothing is kept secret by it.
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"Server: loong",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"
