"""Sending, changing and recalling messages, with the ways out that the platform's refusals leave.

https://open.feishu.cn/document/server-docs/im-v1/message/create and its neighbours reply, patch and delete.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, replace
from typing import Callable

from loong_channels.contract import Outbound, Receipt
from loong_channels.faults import BadAnswer, Fault, Overloaded, Refused, Unreachable
from loong_channels.text import clean
from loong_channels.waiting import Deadline, StopToken

from .api import Api, path_of
from .content import Content, card_content, own_content, render, text_content
from .targets import Target, message_id_of
from .uploads import Uploads

__all__ = ["Key", "Messages", "Style", "uuid_of"]

# Recalled, its topic is gone, deleted, not found.
_GONE_CODES = frozenset({"230011", "230019", "230110", "231003"})
_GONE_WORDS = ("withdrawn", "not found")
# Bad parameter, too long, bad card, and the same of cards on their own.
_CONTENT_CODES = frozenset({"230001", "230025", "230099", "200621", "200860", "200861"})
_RECALL_S = 5.0
_LONGEST_UUID = 50


@dataclass(frozen=True)
class Style:
    """How an account writes. `form` is content.render's, `default_type` that of targets.Target."""

    account: str
    form: str = "card"
    default_type: str = "chat_id"


def uuid_of(account: str, key: str, purpose: str) -> str:
    """What makes the platform drop a repetition: at most 50 characters, good for one hour.

    The same for every try of the same thing; `purpose` tells apart what one part may have to be sent as.
    """
    return hashlib.sha256("\0".join((account, key, purpose)).encode("utf-8", "replace")).hexdigest()[:40]


@dataclass(frozen=True)
class Key:
    """What one part is known by: its key, or the uuid that an operator `chose` for it."""

    key: str
    chosen: str = ""

    def uuid(self, account: str, purpose: str) -> str:
        """The uuid of a try; the chosen one where it can be sent."""
        if 0 < len(self.chosen) <= _LONGEST_UUID:
            return self.chosen
        return uuid_of(account, self.chosen or self.key, purpose)

    def other(self) -> Key:
        """The key for saying the same in another way, which must not be taken for the first."""
        return replace(self, key=self.chosen or self.key, chosen="")


class Messages:
    """The messages of one bot. Thread-safe. `note` hears of oddities, by name."""

    def __init__(self, api: Api, style: Style, note: Callable[[str], None]) -> None:
        self._api = api
        self._style = style
        self._note = note
        self._uploads = Uploads(api)

    def deliver(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """Send one part of an answer, in place of its preview when it has one. Blocks; raises faults.

        `outbound.extra` may hold "preview_message_id", "message_id" (see targets.Target) and the options of the spec.
        """
        target = self.target(outbound)
        chosen = outbound.extra.get("uuid")
        key = Key(outbound.idempotency_key, chosen if isinstance(chosen, str) else "")
        own = self._own(outbound, deadline, stop)
        if own is not None:
            number = self.send(target, own, key, deadline=deadline, stop=stop)
            self._uploads.forget(outbound)
            return Receipt((number,))
        text = clean(outbound.text)
        if not text.strip():
            # Empty messages are refused.
            return Receipt(())
        preview = message_id_of(outbound.extra.get("preview_message_id"))
        if preview is not None and self._replace(preview, text, deadline, stop):
            return Receipt((preview,))
        content = card_content(text) if outbound.extra.get("card") is True else None
        content = content or render(text, outbound.markup, self._style.form)
        number = self._send_somehow(target, content, text, key, deadline, stop)
        if preview is not None:
            self.recall(preview, deadline=deadline.within(_RECALL_S))
        return Receipt((number,))

    def target(self, outbound: Outbound) -> Target:
        """Where a part goes. Raises Refused."""
        return Target.of(outbound.address, outbound.reply_to, outbound.extra, self._style.default_type)

    def send(
        self, target: Target, content: Content, key: Key, *, deadline: Deadline, stop: StopToken | None = None
    ) -> str:
        """Send one message and return its id. Blocks; raises faults.

        When the message to answer is gone, it goes into the chat as a fresh one; not so what belongs to a thread:
        better no answer than one in front of the wrong people.
        """
        if target.reply_to is not None:
            try:
                return self._reply(target, target.reply_to, content, key, deadline, stop)
            except Refused as refusal:
                if target.in_thread or not target.receive_id or not _is_gone(refusal):
                    raise
                self._note("reply_target_gone")
                key = key.other()
        body = self._body(content, key, "new")
        body["receive_id"] = target.receive_id
        data = self._api.data(
            "send",
            "POST",
            path_of("im", "v1", "messages"),
            query={"receive_id_type": target.receive_id_type},
            body=body,
            deadline=deadline,
            stop=stop,
        )
        return _message_id("send", data.get("message_id"))

    def patch(
        self, message_id: str, content: Content, *, deadline: Deadline, stop: StopToken | None = None
    ) -> None:
        """Change a card of ours. Blocks; raises faults. Doing it twice changes nothing."""
        self._api.call(
            "patch",
            "PATCH",
            path_of("im", "v1", "messages", message_id),
            body={"content": content.content},
            deadline=deadline,
            stop=stop,
        )

    def recall(self, message_id: str, *, deadline: Deadline) -> None:
        """Take a message of ours away, if that can be done; raises nothing."""
        # What stays visible is a preview; nothing depends on it.
        with contextlib.suppress(Fault):
            self._api.call("recall", "DELETE", path_of("im", "v1", "messages", message_id), deadline=deadline)

    def _send_somehow(
        self, target: Target, content: Content, text: str, key: Key, deadline: Deadline, stop: StopToken
    ) -> str:
        """Send a message; as plain text when what it was to be is refused."""
        try:
            return self.send(target, content, key, deadline=deadline, stop=stop)
        except Refused as refusal:
            about_target = "receive_id" in str(refusal)
            if content.msg_type == "text" or refusal.code not in _CONTENT_CODES or about_target:
                raise
            self._note("markup_refused")
        return self.send(target, text_content(text), key.other(), deadline=deadline, stop=stop)

    def _own(self, outbound: Outbound, deadline: Deadline, stop: StopToken) -> Content | None:
        """What a part is that is no text."""
        if outbound.file is not None:
            return self._uploads.content(outbound, deadline=deadline, stop=stop)
        return own_content(outbound.extra)

    def _reply(
        self,
        target: Target,
        message_id: str,
        content: Content,
        key: Key,
        deadline: Deadline,
        stop: StopToken | None,
    ) -> str:
        body = self._body(content, key, "reply")
        if target.in_thread:
            body["reply_in_thread"] = True
        path = path_of("im", "v1", "messages", message_id, "reply")
        data = self._api.data("reply", "POST", path, body=body, deadline=deadline, stop=stop)
        return _message_id("reply", data.get("message_id"))

    def _body(self, content: Content, key: Key, way: str) -> dict[str, object]:
        return {
            "msg_type": content.msg_type,
            "content": content.content,
            "uuid": key.uuid(self._style.account, f"{way}:{content.msg_type}"),
        }

    def _replace(self, preview: str, text: str, deadline: Deadline, stop: StopToken) -> bool:
        """Turn a preview into the final text; False when it has to be sent anew."""
        for last in (False, True):
            try:
                self.patch(preview, card_content(text), deadline=deadline, stop=stop)
            except (Unreachable, Overloaded, BadAnswer):
                # Unlike a message, a patch may be repeated without a key.
                if last:
                    return False
            except Refused:
                return False
            else:
                return True
        return False


def _is_gone(refusal: Refused) -> bool:
    """Whether the message to answer is not there any more."""
    said = str(refusal).lower()
    return refusal.code in _GONE_CODES or any(words in said for words in _GONE_WORDS)


def _message_id(what: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise BadAnswer(f"{what}: the answer names no message")
