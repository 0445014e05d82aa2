"""Where a message goes: a chat, a person, or below another message. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from loong_channels.contract import Address
from loong_channels.faults import Refused

__all__ = ["Target", "message_id_of", "receive_id_type"]

_ID = re.compile(r"[!-~]{1,256}")
_MESSAGE = re.compile(r"om_[A-Za-z0-9_\-]{1,128}")
# https://open.feishu.cn/document/server-docs/im-v1/message/create tells ids by how they begin.
_PREFIXES = (("ou_", "open_id"), ("oc_", "chat_id"), ("on_", "union_id"))
_HAS_PREFIX = frozenset(kind for _, kind in _PREFIXES)


@dataclass(frozen=True)
class Target:
    """Either or both of `receive_id` (with its type) and `reply_to`, a message to answer.

    `in_thread` says that the answer belongs to a thread: then it is a reply or nothing.
    """

    receive_id: str = ""
    receive_id_type: str = ""
    reply_to: str | None = None
    in_thread: bool = False

    @classmethod
    def of(
        cls, address: Address, reply_to: str | None, extra: Mapping[str, object], default_type: str
    ) -> Target:
        """What an address means. `default_type` is for ids whose form does not tell.

        A conversation that is a message id stands for a reply to that message. Within a thread every part has to
        reply: to `reply_to`, to the message that `extra` keeps as "message_id", or to the message that began it.
        "receive_id_type" in `extra` is what an operator says the id is, whatever its form. Raises Refused (bad_target,
        no_thread).
        """
        conversation, thread = address.conversation, address.thread
        replied = message_id_of(reply_to)
        if message_id_of(conversation) is not None:
            return cls(reply_to=conversation, in_thread=thread is not None)
        if _ID.fullmatch(conversation) is None:
            raise Refused("an id of Feishu is printable ASCII without blanks", code="bad_target")
        kind = str(extra.get("receive_id_type") or receive_id_type(conversation, default_type))
        if thread is None:
            return cls(conversation, kind, replied)
        anchor = replied or message_id_of(extra.get("message_id")) or message_id_of(thread)
        if anchor is None:
            raise Refused("no message of the thread is known that could be answered", code="no_thread")
        return cls(conversation, kind, anchor, in_thread=True)


def message_id_of(value: object) -> str | None:
    """The value if it is a message id, else None."""
    return value if isinstance(value, str) and _MESSAGE.fullmatch(value) else None


def receive_id_type(receive_id: str, default_type: str) -> str:
    """The type of an id: by its form, else `default_type` unless ids of that type are known by their form."""
    if "@" in receive_id:
        return "email"
    for prefix, kind in _PREFIXES:
        if receive_id.startswith(prefix):
            return kind
    return "user_id" if default_type in _HAS_PREFIX else default_type
