"""An answer that grows before the reader's eyes: a card that is sent once and patched.

https://open.feishu.cn/document/server-docs/im-v1/message-card/patch - five changes a second for each message. Updates
that come too early are left out, never queued.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Callable

from loong_channels.faults import BadAnswer, Fault, Interrupted, Overloaded, Refused, Throttled, Unreachable
from loong_channels.text import first_piece
from loong_channels.waiting import Deadline

from .content import CARD_BYTES, Content, card_content
from .messages import Key, Messages
from .spec import SPEC
from .targets import Target

__all__ = ["GrowingCard"]

_INTERVAL_S = 0.7
_REQUEST_S = 10.0
_MAX_FAILURES = 2


class GrowingCard:
    """The preview of one answer; see contract.Preview. Used by one thread at a time.

    `clock` returns monotonic seconds.
    """

    def __init__(
        self, messages: Messages, target: Target, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._messages = messages
        self._target = target
        self._clock = clock
        # The first card may have arrived although its answer was lost; under this key it arrives only once.
        self._key = Key(f"preview-{secrets.token_hex(16)}")
        self._first: Content | None = None
        self._message_id: str | None = None
        self._shown = ""
        self._failures = 0
        self._next_at = 0.0

    def update(self, text: str) -> None:
        """Show the whole text so far, if it is time to. May block for one request; never raises."""
        now = self._clock()
        if self._failures >= _MAX_FAILURES or now < self._next_at:
            return
        shown = first_piece(text, SPEC.text_limit, SPEC.limit_unit)
        if not shown or shown == self._shown:
            return
        self._next_at = now + _INTERVAL_S
        try:
            self._show(shown)
        except Throttled as fault:
            self._next_at = now + fault.retry_after_s
        except Fault as fault:
            self._failures = (
                _MAX_FAILURES if isinstance(fault, (Refused, Interrupted)) else self._failures + 1
            )
        else:
            self._failures = 0

    def finish(self) -> Mapping[str, object]:
        """End the preview: the card waits to be changed into the answer."""
        return {} if self._message_id is None else {"preview_message_id": self._message_id}

    def abandon(self) -> None:
        """Recall the card. May block for one request."""
        if self._message_id is not None:
            self._messages.recall(self._message_id, deadline=Deadline(_REQUEST_S))
            self._message_id = None
        self._failures = _MAX_FAILURES

    def _show(self, text: str) -> None:
        content = card_content(text)
        if content.size_bytes > CARD_BYTES:
            return
        deadline = Deadline(_REQUEST_S)
        if self._message_id is not None:
            self._messages.patch(self._message_id, content, deadline=deadline)
            self._shown = text
            return
        try:
            self._message_id = self._messages.send(
                self._target, self._first or content, self._key, deadline=deadline
            )
        except (Unreachable, BadAnswer, Overloaded):
            # The next try must say the same again, for the platform only looks at the key.
            self._first = self._first or content
            raise
        self._shown = "" if self._first is not None else text
