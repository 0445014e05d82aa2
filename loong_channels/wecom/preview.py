"""An answer that grows before the reader's eyes: one stream, each frame with the whole text so far.

Frames of a preview are sent and not waited for. While one is unanswered, the next are left out, never queued: the last
frame, which is sent like any other part, shows everything.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Callable

from loong_channels.faults import Fault
from loong_channels.text import first_piece

from .frames import RESPOND
from .lines import Ticket
from .link import Link
from .spec import SPEC
from .streams import Bubble, Bubbles, Place, stream_body

__all__ = ["PLACEHOLDER", "GrowingAnswer"]

PLACEHOLDER = "…"
_INTERVAL_S = 0.8
# Later frames of an answer that takes long come less often, so that a stream stays below about 85 of them.
_SLOWER_AFTER = 40
_SLOW_INTERVAL_S = 10.0
_MAX_FRAMES = 85
# The platform shows no change of a stream after ten minutes; the rest of that time is for the last frame.
_LIFETIME_S = 570.0
_KEEP_ALIVE_S = 240.0
_PAUSE_S = 10.0


class GrowingAnswer:
    """The preview of one answer; see contract.Preview. `tick` may come from another thread than the rest.

    `_busy` is held by whoever sends; nobody waits for it. `link` returns the connection of this moment.
    """

    def __init__(
        self,
        place: Place,
        stream_id: str,
        bubbles: Bubbles,
        *,
        link: Callable[[], Link | None],
        ended: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self._place = place
        self._stream_id = stream_id
        self._bubbles = bubbles
        self._link = link
        self._ended = ended
        self._clock = clock
        self._busy = threading.Lock()
        self._shown = ""
        self._frames = 0
        self._first_at = 0.0
        self._next_at = 0.0
        self._last_at = 0.0
        self._waiting: Ticket | None = None
        self._over = False

    def update(self, text: str) -> None:
        """Show the whole text so far, if it is time to. May block while the socket takes no more; never raises."""
        if not self._over and self._clock() >= self._next_at:
            self._try(first_piece(text, SPEC.text_limit, SPEC.limit_unit))

    def tick(self) -> None:
        """Somebody looks whether an answer is being written: show that it is. Never raises."""
        if not self._frames:
            self._try(PLACEHOLDER)
        elif self._clock() - self._last_at >= _KEEP_ALIVE_S:
            self._try(self._shown, repeat=True)

    def finish(self) -> Mapping[str, object]:
        """End the preview. The answer has the same stream by itself, and with it the same bubble."""
        self.abandon()
        return {}

    def abandon(self) -> None:
        """End the preview; its bubble stays for the answer or another try, or until the conversation goes on."""
        self._over = True
        self._ended()
        if self._frames:
            self._bubbles.leave(
                self._place.conversation, Bubble(self._place.req_id, self._stream_id, self._shown)
            )

    def _try(self, shown: str, *, repeat: bool = False) -> None:
        if not shown or self._over or (shown == self._shown and not repeat):
            return
        if not self._busy.acquire(blocking=False):
            return
        try:
            if self._may_send():
                self._send(shown)
        except Fault:
            # The connection is in trouble. A preview is a courtesy; the answer itself will wait for the next one.
            self._next_at = self._clock() + _PAUSE_S
        finally:
            self._busy.release()

    def _may_send(self) -> bool:
        waiting = self._waiting
        # Whatever it was that was refused, a limit among it: from now on only the answer itself is worth a try.
        refused = waiting is not None and waiting.answer is not None and waiting.answer.code != 0
        too_old = self._frames > 0 and self._clock() - self._first_at >= _LIFETIME_S
        if refused or too_old or self._frames >= _MAX_FRAMES:
            self._over = True
        return not self._over

    def _send(self, shown: str) -> None:
        link = self._link()
        if link is None:
            return
        body = stream_body(self._stream_id, shown, finish=False)
        ticket = link.offer(RESPOND, body, self._place.req_id)
        if ticket is None:
            return
        now = self._clock()
        if not self._frames:
            self._first_at = now
        self._waiting = ticket
        self._frames += 1
        self._shown = shown
        self._last_at = now
        self._next_at = now + (_INTERVAL_S if self._frames < _SLOWER_AFTER else _SLOW_INTERVAL_S)
        if self._frames == 1:
            self._bubbles.end_other(link, self._place.conversation, self._stream_id)
