"""One outbound part to the platform: as the answer to a message where that works, else as a message of its own.

An answer's last frame may be repeated: it replaces. A message of our own would appear twice, so it is only sent when
the answer is surely not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from loong_channels.contract import Outbound, OutboundFile, Receipt
from loong_channels.faults import Fault, Refused, Throttled, TimedOut, Unreachable
from loong_channels.remembered import Remembered
from loong_channels.text import clean, measure, split
from loong_channels.waiting import Deadline, StopToken

from .answers import (
    ALREADY_RESPONDED,
    BAD_MEDIA_ID,
    BAD_REQ_ID,
    TOO_FREQUENT,
    TOO_LONG,
    fault_of,
    pushable,
)
from .frames import RESPOND, SEND, UNREADABLE, Frame, as_text, tidy_message
from .link import Link
from .quota import Quota
from .streams import Bubbles, Place, stream_body, stream_id_of
from .uploads import Uploads

__all__ = ["Sender"]

# When the server counts differently than we do, pieces of this many bytes are surely small enough.
_SMALLER_LIMIT = 4000
_MAX_REMEMBERED = 1024
_MAX_CONVERSATIONS = 4096

Note = Callable[..., None]


@dataclass(frozen=True)
class _Way:
    """How one part is sent: over which link, where to, and until when."""

    link: Link
    place: Place
    deadline: Deadline
    stop: StopToken


class Sender:
    """Sends the parts of one account. Thread-safe. `note` takes an event name to be counted, and details."""

    def __init__(self, quota: Quota, bubbles: Bubbles, uploads: Uploads, note: Note) -> None:
        self._quota = quota
        self._bubbles = bubbles
        self._uploads = uploads
        self._note = note
        # Streams whose last frame left without an answer: it may be there.
        self._in_doubt: Remembered[str, bool] = Remembered(_MAX_REMEMBERED)
        # Requests that take no more answers.
        self._spent: Remembered[str, bool] = Remembered(_MAX_REMEMBERED)
        self._unfinished: Remembered[str, int] = Remembered(_MAX_REMEMBERED)
        self._chat_types: Remembered[str, int] = Remembered(_MAX_CONVERSATIONS)

    def send(self, link: Link, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """Send one part. Blocks; raises faults."""
        place = self._place(outbound)
        self._quota.check(place.conversation)
        way = _Way(link, place, deadline, stop)
        if outbound.file is not None:
            ids: tuple[str, ...] = (self._send_file(way, outbound.file, outbound.idempotency_key),)
            # A bubble that was begun for the answer is not that of this message.
            self._bubbles.end_other(link, place.conversation, "")
        else:
            stream_id = stream_id_of(outbound)
            ids = self._send_text(way, stream_id, clean(outbound.text))
            self._bubbles.end_other(link, place.conversation, stream_id)
        return Receipt(ids)

    def _send_file(self, way: _Way, file: OutboundFile, key: str) -> str:
        """Upload a file and push a message with it: as a reply it would be the last one to its request."""
        for last in (False, True):
            body = self._uploads.message(way.link, file, key, deadline=way.deadline, stop=way.stop)
            try:
                return self._push(way, body)
            except Refused as refusal:
                if refusal.code != str(BAD_MEDIA_ID) or last:
                    raise
                self._uploads.forget(key)
        raise AssertionError("the last try returns or raises")

    def _send_text(self, way: _Way, stream_id: str, text: str) -> tuple[str, ...]:
        if not text.strip():
            raise Refused("the text has no visible character", code="empty")
        try:
            return (self._send_piece(way, stream_id, text),)
        except Refused as refusal:
            if refusal.code != str(TOO_LONG) or measure(text, "utf8") <= _SMALLER_LIMIT:
                raise
            return self._send_pieces(way, stream_id, text)

    def _place(self, outbound: Outbound) -> Place:
        place = Place.of(outbound)
        if place.chat_type is not None:
            self._chat_types.put(place.conversation, place.chat_type)
            return place
        # Better what the conversation's last answer said than the platform's guess.
        return Place(place.conversation, self._chat_types.get(place.conversation), place.req_id)

    def _send_pieces(self, way: _Way, stream_id: str, text: str) -> tuple[str, ...]:
        done = self._unfinished.get(stream_id) or 0
        ids = []
        for number, piece in enumerate(split(text, _SMALLER_LIMIT, "utf8")):
            if number >= done:
                # The first piece keeps the bubble that may be there already.
                ids.append(self._send_piece(way, f"{stream_id}-{number}" if number else stream_id, piece))
                self._unfinished.put(stream_id, number + 1)
        self._unfinished.pop(stream_id)
        return tuple(ids)

    def _send_piece(self, way: _Way, stream_id: str, text: str) -> str:
        place = way.place
        if place.req_id and place.req_id not in self._spent:
            if self._reply(way, stream_id, text):
                self._quota.taken(place.conversation)
                return stream_id
            self._note("pushed_instead_of_reply", chat=place.conversation)
        return self._push(way, {"msgtype": "markdown", "markdown": {"content": text}})

    def _reply(self, way: _Way, stream_id: str, text: str) -> bool:
        """Show the text as the answer; False when it cannot be shown so and must be pushed."""
        doubtful = stream_id in self._in_doubt
        body = stream_body(stream_id, text, finish=True)

        def leaving() -> None:
            self._in_doubt.put(stream_id, True)
            self._quota.spend(way.place.conversation)

        try:
            answer = way.link.call(
                RESPOND,
                body,
                req_id=way.place.req_id,
                deadline=way.deadline,
                stop=way.stop,
                leaving=leaving,
            )
        except Unreachable as fault:
            if not fault.maybe_processed and not doubtful:
                self._in_doubt.pop(stream_id)
            if isinstance(fault, TimedOut) and fault.maybe_processed:
                # Repeating it does no harm, so it is repeated as patiently as after a broken connection.
                raise Unreachable(str(fault), maybe_processed=True) from fault
            raise
        if answer.code != UNREADABLE:
            self._in_doubt.pop(stream_id)
        if answer.code == 0 or (answer.code == ALREADY_RESPONDED and doubtful):
            return True
        if answer.code in (BAD_REQ_ID, ALREADY_RESPONDED):
            self._spent.put(way.place.req_id, True)
        if answer.code == TOO_LONG or not pushable(answer.code):
            raise self._fault(way, "reply", answer)
        self._note("reply_refused", code=answer.code, reason=tidy_message(answer.errmsg))
        return False

    def _push(self, way: _Way, content: Mapping[str, object]) -> str:
        place = way.place
        body: dict[str, object] = {"chatid": place.conversation}
        if place.chat_type is not None:
            body["chat_type"] = place.chat_type
        answer = way.link.call(
            SEND,
            {**body, **content},
            deadline=way.deadline,
            stop=way.stop,
            leaving=lambda: self._quota.spend(place.conversation),
        )
        if answer.code != 0:
            raise self._fault(way, "send", answer)
        self._quota.taken(place.conversation)
        return as_text(answer.body.get("msgid")) or answer.req_id

    def _fault(self, way: _Way, action: str, answer: Frame) -> Fault:
        fault = fault_of(action, answer)
        if answer.code == TOO_FREQUENT:
            return Throttled(str(fault), retry_after_s=self._quota.refused(way.place.conversation))
        return fault
