"""The bubbles of answers: their ids, their frames, and those that were left unfinished.

A stream is shown as one bubble. Every frame replaces all of its text; the last one, with `finish`, ends it for good.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

from loong_channels.contract import Outbound
from loong_channels.faults import Fault, Refused
from loong_channels.remembered import Remembered

from .frames import RESPOND
from .link import Link

__all__ = ["Bubble", "Bubbles", "Place", "answer_stream_id", "stream_body", "stream_id_of"]

_CHAT_TYPES = {"single": 1, "group": 2}
_MAX_CONVERSATION = 512
_MAX_BUBBLES = 1024


@dataclass(frozen=True)
class Place:
    """Where a message goes. `req_id` is that of the message being answered, "" for a message of our own."""

    conversation: str
    chat_type: int | None = None
    req_id: str = ""

    @classmethod
    def of(cls, outbound: Outbound) -> Place:
        """The place that an outbound part means. Raises Refused when it can be none."""
        conversation = outbound.address.conversation
        if not conversation or len(conversation) > _MAX_CONVERSATION or not conversation.isprintable():
            raise Refused("a WeCom conversation is a userid or a chatid", code="bad_target")
        chat_type = outbound.extra.get("chat_type")
        req_id = outbound.extra.get("req_id")
        return cls(
            conversation,
            _CHAT_TYPES.get(chat_type) if isinstance(chat_type, str) else None,
            req_id if isinstance(req_id, str) else "",
        )


@dataclass(frozen=True)
class Bubble:
    """A stream that was begun and not ended. `shown` is the text in it."""

    req_id: str
    stream_id: str
    shown: str


class Bubbles:
    """The unfinished bubbles, at most one per conversation. Thread-safe."""

    def __init__(self) -> None:
        self._left: Remembered[str, Bubble] = Remembered(_MAX_BUBBLES)

    def leave(self, conversation: str, bubble: Bubble) -> None:
        """An answer was given up. Another try at the same message continues its bubble."""
        self._left.put(conversation, bubble)

    def end_other(self, link: Link, conversation: str, stream_id: str) -> None:
        """A stream is shown in the conversation now: end the unfinished one, unless it is the same. Never raises.

        While an earlier frame of that one is under way it has to wait for the next opportunity.
        """
        left = self._left.pop(conversation)
        if left is None or left.stream_id == stream_id:
            return
        # Whoever needs the link next is told that it is lost, if it is.
        with contextlib.suppress(Fault):
            body = stream_body(left.stream_id, left.shown, finish=True)
            if link.offer(RESPOND, body, left.req_id) is not None:
                return
        self._left.put(conversation, left)


def answer_stream_id(message_id: str) -> str:
    """The stream of the answer to a message. It outlives the process, so a second try replaces the first."""
    return f"answer-{hashlib.sha256(message_id.encode('utf-8', 'replace')).hexdigest()[:32]}"


def stream_id_of(outbound: Outbound) -> str:
    """The stream of an outbound part: the same on every try."""
    if outbound.reply_to:
        return answer_stream_id(outbound.reply_to)
    key = outbound.idempotency_key
    return f"part-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}"


def stream_body(stream_id: str, text: str, *, finish: bool) -> dict[str, object]:
    """The body of a frame that shows `text`."""
    return {"msgtype": "stream", "stream": {"id": stream_id, "finish": finish, "content": text}}
