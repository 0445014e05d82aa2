"""A turn of the running gateway whose answer is shown while it grows.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Callable

from loong_gateway.owner.client import ControlClient

__all__ = ["stream_turn"]

LONGEST_LINE = 4 << 20


def stream_turn(
    client: ControlClient, body: Mapping[str, object], on_text: Callable[[str], None], *, timeout_s: float
) -> Mapping[str, object]:
    """Ask, hand each new piece to `on_text`, and return the document that ends the answer.

    Blocks, up to `timeout_s` without a word; who leaves earlier ends the turn. Raises CommandError as ControlClient.
    """
    host, port, token = client.find()
    address = f"{host}:{port}"
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/turn", json.dumps({**body, "stream": True}).encode(), headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK or "json" in answer.headers.get("Content-Type", ""):
            return client.judged(address, answer.status, answer.read())
        while True:
            line = answer.readline(LONGEST_LINE)
            if not line:
                raise client.no_answer(address, "the answer broke off")
            if not line.startswith(b"data: "):
                continue
            told = json.loads(line[len(b"data: ") :])
            if "delta" not in told:
                return client.judged(address, 502 if "error" in told else 200, json.dumps(told).encode())
            on_text(str(told["delta"]))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise client.no_answer(address, str(error) or type(error).__name__) from error
    finally:
        connection.close()
