"""The mark that a message was seen: a reaction that stays until the answer is out.

https://open.feishu.cn/document/server-docs/im-v1/message-reaction/create - there is no typing notice on this platform.
"""

from __future__ import annotations

import contextlib
import time
from typing import Callable

from loong_channels.faults import Fault, Refused, Throttled, Unreachable
from loong_channels.remembered import Remembered
from loong_channels.waiting import Deadline

from .api import Api, path_of

__all__ = ["Reactions"]

_EMOJI = "Typing"
_MAX_MARKS = 1024
_OLDEST_MS = 120_000
# Marks are the first thing to go when the app's requests are limited, by the minute or by the month, or get lost.
_PAUSE_S = 300.0
_QUOTA_CODE = "99991403"
# An answer may wait for its mark, so a mark that does not come soon is given up.
_MARK_S = 2.0
_CLEAR_S = 3.0


class Reactions:
    """The marks of one bot. Thread-safe. `clock` returns monotonic seconds, `wall_ms` milliseconds since the epoch."""

    def __init__(
        self,
        api: Api,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self._api = api
        self._clock = clock
        self._wall_ms = wall_ms
        self._marks: Remembered[str, str] = Remembered(_MAX_MARKS)
        self._paused_until = 0.0

    def mark(self, message_id: str, sent_ms: int | None, *, deadline: Deadline) -> None:
        """Mark a message, unless it is old or marks are paused. Blocks for one request, 2 s at most; raises faults."""
        if sent_ms is not None and self._wall_ms() - sent_ms > _OLDEST_MS:
            return
        if message_id in self._marks or self._clock() < self._paused_until:
            return
        body = {"reaction_type": {"emoji_type": _EMOJI}}
        path = path_of("im", "v1", "messages", message_id, "reactions")
        try:
            data = self._api.data("react", "POST", path, body=body, deadline=deadline.within(_MARK_S))
        except (Throttled, Refused, Unreachable) as fault:
            self._consider_pause(fault)
            raise
        reaction = data.get("reaction_id")
        if isinstance(reaction, str) and reaction:
            # One that nobody answers is forgotten and stays visible.
            self._marks.put(message_id, reaction)

    def clear(self, message_id: str | None, *, deadline: Deadline) -> None:
        """Take the mark of a message away, if it has one. Blocks for at most 3 s; raises nothing."""
        reaction = None if message_id is None else self._marks.pop(message_id)
        if message_id is None or reaction is None:
            return
        path = path_of("im", "v1", "messages", message_id, "reactions", reaction)
        # The answer is out; a mark that stays is no reason to say anything else.
        with contextlib.suppress(Fault):
            try:
                self._api.call("unreact", "DELETE", path, deadline=deadline.within(_CLEAR_S))
            except (Throttled, Refused, Unreachable) as fault:
                self._consider_pause(fault)

    def _consider_pause(self, fault: Throttled | Refused | Unreachable) -> None:
        if not isinstance(fault, Refused) or fault.code == _QUOTA_CODE:
            self._paused_until = self._clock() + _PAUSE_S
