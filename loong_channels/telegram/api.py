"""Calls of the Bot API: one request in, a result or a fault out. https://core.telegram.org/bots/api#making-requests

The token is part of every URL, so nothing here ever shows a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from loong_channels.decoding import load_json
from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Conflict,
    Fault,
    Moved,
    Overloaded,
    Refused,
    Throttled,
    Unreachable,
)
from loong_channels.files import Form
from loong_channels.net import Call, HttpAnswer, HttpClient
from loong_channels.waiting import Deadline, StopToken

from .updates import BotIdentity

__all__ = ["BotApi", "interpret"]

_TOKEN = re.compile(r"\b(?:bot)?\d{3,20}:[A-Za-z0-9_-]{8,}")
_MAX_DESCRIPTION = 200
_DEFAULT_RETRY_S = 5.0
_FILE_S = 20.0
_MAX_RETRY_S = 24 * 3600.0
# What a 400 is about, by a part of its description. Wording and case of the rest vary.
_REFUSALS = (
    ("can't parse entities", "markup"),
    ("unsupported start tag", "markup"),
    ("can't find end", "markup"),
    ("message is too long", "too_long"),
    ("text is too long", "too_long"),
    ("message is not modified", "not_modified"),
    ("message to edit not found", "no_message"),
    ("message to delete not found", "no_message"),
    ("message can't be edited", "no_message"),
    ("message to be replied not found", "no_reply_target"),
    ("replied message not found", "no_reply_target"),
    ("message thread not found", "no_thread"),
    ("message text is empty", "empty"),
    ("text must be non-empty", "empty"),
    ("textdraft_peer_invalid", "no_drafts_here"),
    ("chat not found", "chat_not_found"),
    ("not enough rights", "no_rights"),
    ("file is too big", "too_large"),
    ("file_id", "media_gone"),
    # A picture that is none, or too long for its width; the code stands as it is.
    ("photo_", "photo"),
    ("image_process_failed", "photo"),
)


class BotApi:
    """The methods of one bot over one HTTP client. Thread-safe as far as the client is."""

    def __init__(self, client: HttpClient, base_url: str, token: str) -> None:
        self._client = client
        bot = f"bot{quote(token, safe=':')}"
        self._root = f"{base_url.rstrip('/')}/{bot}/"
        self._files_root = f"{base_url.rstrip('/')}/file/{bot}/"
        self._token = token

    def call(
        self,
        method: str,
        params: Mapping[str, object],
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
        first_byte_s: float = 60.0,
    ) -> object:
        """Carry out one method and return its result. Blocks; raises faults."""
        url = self._root + method
        call = Call("POST", url, deadline, json=params, stop=stop, first_byte_s=first_byte_s)
        return interpret(method, self._client.request(call), self._token)

    def upload(self, method: str, form: Form, *, deadline: Deadline, stop: StopToken | None = None) -> object:
        """As `call`, with a form that holds a file. https://core.telegram.org/bots/api#sending-files"""
        headers = {"Content-Type": form.content_type}
        call = Call("POST", self._root + method, deadline, headers=headers, body=form.body, stop=stop)
        return interpret(method, self._client.request(call), self._token)

    def get_me(self, *, deadline: Deadline, stop: StopToken | None = None) -> BotIdentity:
        """Who the token belongs to. Blocks; raises faults."""
        me = self.call("getMe", {}, deadline=deadline, stop=stop)
        if not isinstance(me, dict) or not isinstance(me.get("id"), int):
            raise BadAnswer("getMe: the answer names no bot")
        return BotIdentity(me["id"], str(me.get("username") or ""))

    def download(self, file_id: str, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> bytes:
        """A file that came with a message, whole. Blocks; raises faults, Refused (too_large) beyond `max_bytes`.

        https://core.telegram.org/bots/api#getfile - the platform itself ends at 20 MB.
        """
        found = self.call("getFile", {"file_id": file_id}, deadline=deadline, stop=stop, first_byte_s=_FILE_S)
        path = found.get("file_path") if isinstance(found, dict) else None
        if not isinstance(path, str) or not _is_relative(path):
            # A server of one's own that runs in local mode names a file on its own disk.
            raise Refused("getFile: the answer names no file that could be downloaded", code="file_path")
        url = self._files_root + quote(path)
        call = Call("GET", url, deadline, stop=stop, first_byte_s=_FILE_S, gap_s=_FILE_S)
        with self._client.stream(call) as answer:
            if answer.status >= 500:
                raise Overloaded(f"the file cannot be had now (HTTP {answer.status})")
            if answer.status != 200:
                raise Refused(f"the file is not there any more (HTTP {answer.status})", code="media_gone")
            return answer.read_file(max_bytes)

    def interrupt(self) -> None:
        """End everything that is under way, for good."""
        self._client.interrupt()


def interpret(method: str, answer: HttpAnswer, token: str = "") -> object:
    """The result in an answer of the server. Raises the fault that the answer stands for."""
    try:
        body = load_json(answer.body)
    except ValueError:
        body = None
    if not isinstance(body, dict) or "ok" not in body:
        raise _foreign(method, answer)
    if body["ok"] is True and "result" in body:
        return body["result"]
    if body["ok"] is True:
        raise BadAnswer(f"{method}: an answer without a result")
    raise _fault(method, answer, body, token)


def _foreign(method: str, answer: HttpAnswer) -> Fault:
    """The fault for an answer that the Bot API itself did not write, such as a proxy's page."""
    status = answer.status
    if status == 429:
        return Throttled(f"{method}: 429 from a proxy", retry_after_s=_retry_after(None, answer))
    if status >= 500:
        # Something in front of the server gave up waiting; the request may have got through.
        return Unreachable(f"{method}: {status} without an answer of the Bot API", maybe_processed=True)
    return BadAnswer(f"{method}: the answer ({status}) is not one of the Bot API")


def _fault(method: str, answer: HttpAnswer, body: Mapping[str, object], token: str) -> Fault:
    code = body.get("error_code")
    code = code if isinstance(code, int) else answer.status
    description = _tidy(body.get("description"), token)
    parameters = body.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    message = f"{method}: {code} {description}"
    if code == 429:
        return Throttled(message, retry_after_s=_retry_after(parameters.get("retry_after"), answer))
    if code == 401 or (code == 404 and "method" not in description.lower()):
        return BadCredentials(f"the platform refused the token (HTTP {code} to {method})")
    if code == 409:
        return Conflict(message)
    if code >= 500:
        return Overloaded(message)
    return _refusal(method, code, description, parameters)


def _refusal(method: str, code: int, description: str, parameters: Mapping[str, object]) -> Fault:
    message = f"{method}: {code} {description}"
    moved_to = parameters.get("migrate_to_chat_id")
    if isinstance(moved_to, int):
        return Moved(message, conversation=str(moved_to))
    if code == 403:
        return Refused(message, code="forbidden")
    if code == 404:
        return Refused(message, code="no_method")
    lowered = description.lower()
    reason = next((name for part, name in _REFUSALS if part in lowered), str(code))
    if reason == "markup":
        # What follows quotes the message.
        message = f"{method}: {code} Bad Request: can't parse entities"
    return Refused(message, code=reason)


def _is_relative(path: str) -> bool:
    return path.isprintable() and not path.startswith("/") and ".." not in path.split("/")


def _retry_after(hint: object, answer: HttpAnswer) -> float:
    if isinstance(hint, bool) or not isinstance(hint, (int, float)) or hint != hint:  # noqa: PLR0124  not a number
        header = answer.headers.get("retry-after", "")
        hint = int(header) if header.isdecimal() and len(header) < 16 else _DEFAULT_RETRY_S
    # Compared before it is a float: a whole number may be too large for one.
    return float(min(max(hint, 1.0), _MAX_RETRY_S))


def _tidy(description: object, token: str) -> str:
    text = description if isinstance(description, str) else "no description"
    if token:
        text = text.replace(token, "<token>")
    return " ".join(_TOKEN.sub("<token>", text).split())[:_MAX_DESCRIPTION]
