"""Sending, changing and deleting messages, with the ways out that Telegram's refusals leave.

https://core.telegram.org/bots/api#sendmessage
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Callable

from loong_channels.contract import Address, Outbound, OutboundFile, Receipt
from loong_channels.faults import BadAnswer, Fault, Overloaded, Refused, Unreachable
from loong_channels.files import ending, form_with, read_file
from loong_channels.remembered import Remembered
from loong_channels.text import clean, split
from loong_channels.waiting import Deadline, StopToken

from .api import BotApi
from .markup import to_html
from .spec import SPEC
from .updates import message_number

__all__ = ["Messages", "Place", "Text"]

GENERAL_TOPIC = "1"
_CHAT = re.compile(r"(?:-?[0-9]{1,18}|@[A-Za-z0-9_]{1,64})\Z")
_TOPIC = re.compile(r"[0-9]{1,18}\Z")
# When the server counts differently than we do, pieces of half the size are surely small enough.
_SMALLER_LIMIT = 2000
_MAX_UNFINISHED = 256
# How a file is sent, and the kinds of file that the method takes by the ending; every other file is a document.
_DOCUMENT = ("sendDocument", "document")
_WAYS = {
    "image": ("sendPhoto", "photo", ()),
    "audio": ("sendAudio", "audio", ("mp3", "m4a")),
    "video": ("sendVideo", "video", ("mp4",)),
}


@dataclass(frozen=True)
class Place:
    """A chat (a number, or @name of a public one) and perhaps a topic in it. The General topic has no number."""

    chat: str
    thread: int | None = None

    @classmethod
    def of(cls, address: Address) -> Place:
        """The place that an address means. Raises Refused when it can be none."""
        chat, thread = address.conversation, address.thread
        if _CHAT.match(chat) is None:
            raise Refused("a Telegram chat is a number or @name", code="bad_target")
        if thread is None or thread == GENERAL_TOPIC:
            return cls(chat)
        if _TOPIC.match(thread) is None:
            raise Refused("a Telegram topic is a number", code="bad_target")
        return cls(chat, int(thread))

    @property
    def params(self) -> dict[str, object]:
        """How a request names the place."""
        params: dict[str, object] = {"chat_id": self.chat if self.chat.startswith("@") else int(self.chat)}
        if self.thread is not None:
            params["message_thread_id"] = self.thread
        return params


@dataclass(frozen=True)
class Text:
    """A text as it was written, and as HTML where it holds markup."""

    source: str
    html: str | None = None

    @classmethod
    def of(cls, source: str, markup: str) -> Text:
        """Render `source`; `markup` is "markdown" or "plain"."""
        return cls(source, to_html(source) if markup == "markdown" else None)

    @property
    def params(self) -> dict[str, object]:
        """How a request carries the text."""
        params: dict[str, object] = {"link_preview_options": {"is_disabled": True}}
        if self.html is None:
            params["text"] = self.source
        else:
            params.update(text=self.html, parse_mode="HTML")
        return params

    def plain(self) -> Text:
        """The same text without markup."""
        return Text(self.source)


class Messages:
    """The messages of one bot. Thread-safe. `note` takes an event name to be counted."""

    def __init__(self, api: BotApi, note: Callable[[str], None]) -> None:
        self._api = api
        self._note = note
        # How far split sends have come, so that another try does not repeat their first pieces.
        self._unfinished: Remembered[str, tuple[str, ...]] = Remembered(_MAX_UNFINISHED)

    def call(
        self, method: str, place: Place, params: dict[str, object], deadline: Deadline, stop: StopToken | None
    ) -> object:
        """Carry out a method in a chat. Blocks; raises faults."""
        return self._api.call(method, {**place.params, **params}, deadline=deadline, stop=stop)

    def send(
        self,
        place: Place,
        text: Text,
        reply_to: int | None,
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
    ) -> str:
        """Send one message, without its markup or its reply if these are refused; returns its id."""
        while True:
            params = text.params
            if reply_to is not None:
                params["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
            try:
                sent = self.call("sendMessage", place, params, deadline, stop)
            except Refused as refusal:
                if refusal.code in ("markup", "empty") and text.html is not None:
                    self._note("markup_refused")
                    text = text.plain()
                elif refusal.code == "no_reply_target" and reply_to is not None:
                    reply_to = None
                else:
                    raise
            else:
                return _message_id(sent)

    def edit(
        self, place: Place, message_id: int, text: Text, *, deadline: Deadline, stop: StopToken | None = None
    ) -> None:
        """Change a message of ours, without markup if that is refused. That it says this already is success."""
        # A message is named by chat and number alone; its topic is known.
        chat = Place(place.chat)
        while True:
            try:
                self.call("editMessageText", chat, {"message_id": message_id, **text.params}, deadline, stop)
            except Refused as refusal:
                if refusal.code == "not_modified":
                    return
                if refusal.code not in ("markup", "empty") or text.html is None:
                    raise
                self._note("markup_refused")
                text = text.plain()
            else:
                return

    def delete(self, place: Place, message_id: int, *, deadline: Deadline) -> None:
        """Delete a message of ours, if that can be done; raises nothing."""
        # What stays visible is a preview; nothing depends on it.
        with contextlib.suppress(Fault):
            self.call("deleteMessage", Place(place.chat), {"message_id": message_id}, deadline, None)

    def deliver(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:
        """Send one part of an answer, in place of its preview when it has one. Blocks; raises faults."""
        place = Place.of(outbound.address)
        if outbound.file is not None:
            return Receipt((self._send_file(place, outbound.file, outbound.reply_to, deadline, stop),))
        source = clean(outbound.text)
        if not source.strip():
            # Telegram has no empty messages, and cuts white space at the ends anyway.
            return Receipt(())
        preview = outbound.extra.get("preview_message_id")
        number = message_number(str(preview), place.chat) if preview is not None else None
        if number is None:
            return Receipt(self._send_whole(place, source, outbound, deadline, stop))
        if self._replace(place, number, Text.of(source, outbound.markup), deadline, stop):
            return Receipt((str(number),))
        receipt = Receipt(self._send_whole(place, source, outbound, deadline, stop))
        self.delete(place, number, deadline=deadline.within(5))
        return receipt

    def _send_file(
        self, place: Place, file: OutboundFile, reply_to: str | None, deadline: Deadline, stop: StopToken
    ) -> str:
        """Send a file; a picture that is refused as one goes as a document."""
        fields = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in place.params.items()
        }
        number = message_number(reply_to, place.chat)
        if number is not None:
            reply = {"message_id": number, "allow_sending_without_reply": True}
            fields["reply_parameters"] = json.dumps(reply)
        data = read_file(file, SPEC.file_limit(file.kind))
        method, part = _way_of(file)
        while True:
            form = form_with(fields, part, file.name, data)
            try:
                return _message_id(self._api.upload(method, form, deadline=deadline, stop=stop))
            except Refused as refusal:
                if refusal.code != "photo" or method == _DOCUMENT[0]:
                    raise
                self._note("photo_refused")
                method, part = _DOCUMENT

    def _replace(self, place: Place, number: int, text: Text, deadline: Deadline, stop: StopToken) -> bool:
        """Turn a preview into the final text; False when it has to be sent anew."""
        for last in (False, True):
            try:
                self.edit(place, number, text, deadline=deadline, stop=stop)
            except (Unreachable, Overloaded, BadAnswer):
                # Unlike a message, an edit may be repeated: if the lost one was made, this one changes nothing.
                if last:
                    return False
            except Refused as refusal:
                if refusal.code == "forbidden":
                    raise
                return False
            else:
                return True
        return False

    def _send_whole(
        self, place: Place, source: str, outbound: Outbound, deadline: Deadline, stop: StopToken
    ) -> tuple[str, ...]:
        key = outbound.idempotency_key
        reply_to = message_number(outbound.reply_to, place.chat)
        sent = self._unfinished.get(key)
        if sent is None:
            try:
                text = Text.of(source, outbound.markup)
                return (self.send(place, text, reply_to, deadline=deadline, stop=stop),)
            except Refused as refusal:
                if refusal.code != "too_long":
                    raise
            sent = ()
        for piece in split(source, _SMALLER_LIMIT, "utf16")[len(sent) :]:
            if piece.strip():
                text = Text.of(piece, outbound.markup)
                number = self.send(place, text, None if sent else reply_to, deadline=deadline, stop=stop)
            else:
                number = ""
            sent = (*sent, number)
            self._unfinished.put(key, sent)
        self._unfinished.pop(key)
        return tuple(number for number in sent if number)


def _way_of(file: OutboundFile) -> tuple[str, str]:
    """The method for a file, and what it calls the file."""
    method, part, endings = _WAYS.get(file.kind, (*_DOCUMENT, ()))
    return (method, part) if not endings or ending(file.name) in endings else _DOCUMENT


def _message_id(sent: object) -> str:
    if isinstance(sent, dict) and isinstance(sent.get("message_id"), int):
        return str(sent["message_id"])
    raise BadAnswer("the answer names no message")
