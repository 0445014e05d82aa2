"""An answer that grows before the reader's eyes.

In a private chat a draft is shown, which costs no message and fades by itself
(https://core.telegram.org/bots/api#sendmessagedraft); elsewhere, and where the server knows no drafts, a message is
sent and edited. Too early updates are left out, never queued.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from loong_channels.faults import BadAnswer, Fault, Interrupted, Refused, Throttled, Unreachable
from loong_channels.text import first_piece
from loong_channels.waiting import Deadline

from .messages import Messages, Place, Text
from .pacing import PreviewPaces
from .spec import SPEC

__all__ = ["DraftSupport", "GrowingMessage"]

_REQUEST_S = 10.0
_MAX_FAILURES = 2


class DraftSupport:
    """Whether the server takes drafts; one per channel. Written by any thread; it only ever becomes False."""

    def __init__(self) -> None:
        self.available = True


class GrowingMessage:
    """The preview of one answer; see contract.Preview. Used by one thread at a time."""

    def __init__(
        self,
        messages: Messages,
        paces: PreviewPaces,
        drafts: DraftSupport,
        place: Place,
        reply_to: int | None,
    ) -> None:
        self._messages = messages
        self._paces = paces
        self._drafts = drafts
        self._place = place
        self._reply_to = reply_to
        self._draft_id = 0
        if drafts.available and place.chat.isdecimal():
            self._draft_id = secrets.randbelow(2**31 - 1) + 1
        self._number: int | None = None
        self._shown = ""
        self._failures = 0

    def update(self, text: str) -> None:
        """Show the whole text so far, if it is time to. May block for one request; never raises."""
        shown = first_piece(text, SPEC.text_limit, SPEC.limit_unit)
        if not shown or shown == self._shown or self._failures >= _MAX_FAILURES:
            return
        if not self._paces.claim(self._place.chat):
            return
        try:
            self._show(Text.of(shown, "markdown"))
        except Throttled as fault:
            # The next update comes when that is over.
            self._paces.hold(self._place.chat, fault.retry_after_s)
        except Fault as fault:
            self._failures = _MAX_FAILURES if self._is_final(fault) else self._failures + 1
        else:
            self._shown = shown
            self._failures = 0

    def finish(self) -> Mapping[str, object]:
        """End the preview. A draft fades when the answer arrives; a message waits to be changed into it."""
        return {} if self._number is None else {"preview_message_id": str(self._number)}

    def abandon(self) -> None:
        """Delete what was shown; a draft fades by itself. May block for one request."""
        if self._number is not None:
            self._messages.delete(self._place, self._number, deadline=Deadline(_REQUEST_S))
            self._number = None
        self._failures = _MAX_FAILURES

    def _is_final(self, fault: Fault) -> bool:
        """Whether another try would be refused again, or might leave a second preview behind."""
        if isinstance(fault, Unreachable) and not fault.maybe_processed:
            return False
        lost = isinstance(fault, (Unreachable, BadAnswer)) and not self._draft_id and self._number is None
        return lost or isinstance(fault, (Refused, Interrupted))

    def _show(self, text: Text) -> None:
        deadline = Deadline(_REQUEST_S)
        if self._draft_id:
            try:
                self._show_draft(text, deadline)
            except Refused as refusal:
                if refusal.code not in ("no_method", "no_drafts_here"):
                    raise
                self._draft_id = 0
                if refusal.code == "no_method":
                    self._drafts.available = False
            else:
                return
        if self._number is None:
            self._number = int(self._messages.send(self._place, text, self._reply_to, deadline=deadline))
        else:
            self._messages.edit(self._place, self._number, text, deadline=deadline)

    def _show_draft(self, text: Text, deadline: Deadline) -> None:
        params = {"draft_id": self._draft_id, **text.params}
        del params["link_preview_options"]
        try:
            self._messages.call("sendMessageDraft", self._place, params, deadline, None)
        except Refused as refusal:
            if refusal.code not in ("markup", "empty") or text.html is None:
                raise
            self._show_draft(text.plain(), deadline)
