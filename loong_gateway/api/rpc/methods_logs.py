"""`logs.tail`: the log of this gateway, for whoever follows it."""

from __future__ import annotations

from collections.abc import Callable

from loong_gateway.control import ControlPlane
from loong_gateway.logs.tail import tail

from .calls import READ, Call, Method, RpcFault

__all__ = ["methods"]

MOST_LINES = 5000
MOST_BYTES = 1_000_000
FURTHEST = 2**53


def methods(control: ControlPlane, scrub: Callable[[str], str]) -> list[Method]:
    """The methods over `control`. `scrub` takes secrets out of a text.

    The lines are as they are written, JSON with the level and the subsystem under `_meta`. Their secrets were masked
    on the way in; what became known as one only later is masked on the way out.
    """

    def answer(call: Call) -> object:
        params = call.params
        cursor = params.integer("cursor", minimum=0, maximum=FURTHEST)
        limit = params.integer("limit", minimum=1, maximum=MOST_LINES, default=500)
        max_bytes = params.integer("maxBytes", minimum=1, maximum=MOST_BYTES, default=250_000)
        assert limit is not None
        assert max_bytes is not None
        path = control.log_file()
        try:
            found = tail(path, cursor, limit=limit, max_bytes=max_bytes)
        except OSError as error:
            detail = (error.strerror or "unreadable").lower()
            raise RpcFault("UNAVAILABLE", f"the log cannot be read: {detail}", retryable=True) from error
        document: dict[str, object] = {
            "file": path,
            "cursor": found.cursor,
            "size": found.size,
            "lines": [scrub(line) for line in found.lines],
        }
        if found.is_cut:
            document["truncated"] = True
        if found.is_reset:
            document["reset"] = True
        if found.skipped_bytes:
            document["skippedBytes"] = found.skipped_bytes
        return document

    return [Method("logs.tail", READ, answer, waits=True)]
