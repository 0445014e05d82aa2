"""A strict Bot API server on 127.0.0.1, scripted from a test or, as a program, through /_control/NAME.

python -m tests.fakes.telegram --port 0      prints "READY <port>"
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from typing import Callable

from . import telegram_methods as methods
from .double import Double
from .faults import Fault, suffer_answer, suffer_before
from .forms import read_form
from .http_server import Call
from .process import jsonable, serve_until_ended
from .telegram_files import FILE_PATH, Files
from .telegram_html import utf16_length
from .telegram_queue import UpdateQueue
from .telegram_state import Bot, Chat, Injected, Poll, Refusal, Request, Sent, Upload

TOKEN = "123456789:AAExampleExampleExampleExampleExamp"
TOKEN_SHAPE = re.compile(r"\d{1,20}:[A-Za-z0-9_-]{35}")
METHOD_PATH = re.compile(r"/bot([^/]*)/([A-Za-z]+)")
AUTOMATIC_ENTITIES = re.compile(r"(?<![\w/@])(/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?)|(?<!\w)(@\w{3,32})\b")
WEBHOOK_CONFLICT = (
    "Conflict: can't use getUpdates method while webhook is active; "
    "use deleteWebhook to delete the webhook first"
)
POLL_CONFLICT = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
)
MAX_POLL_S = 50


def automatic_entities(text: str) -> list[dict[str, object]]:
    """What the platform marks up by itself: commands and mentions, in UTF-16 units."""
    return [
        {
            "type": "bot_command" if match.group(1) else "mention",
            "offset": utf16_length(text[: match.start()]),
            "length": utf16_length(match.group(0)),
        }
        for match in AUTOMATIC_ENTITIES.finditer(text)
    ]


class FakeTelegram(Double):
    """The server. Attributes may be read at any time; use `wait_for` to wait for something to be true.

    `requests`, `messages` and `injected` are complete, in order. `early_sends` counts, per chat, sends that came
    before a 429's retry_after was over. `complaints` are things the real server ignores and a good client never does.
    `speed` shortens how long polls wait, for clients whose time passes faster.
    """

    CONTROLS = frozenset(
        "say edit post push add_private add_group add_supergroup add_channel migrate forbid allow revoke reinstate "
        "fault release clear_faults pace state wait_count advance set_webhook renumber drop_connections "
        "reset_record add_file".split()
    )

    def __init__(
        self,
        tokens: tuple[str, ...] = (TOKEN,),
        *,
        port: int = 0,
        username: str = "test_bot",
        first_update_id: int = 700_000_001,
        batch_wait_s: float = 0.001,
        conflict_delay_s: float = 3.0,
        speed: float = 1.0,
    ) -> None:
        self._speed = speed
        self._batch_wait_s = batch_wait_s
        self._conflict_delay_s = conflict_delay_s
        self._skew_s = 0.0
        self.bots = {token: Bot(token, username, UpdateQueue(first_update_id)) for token in tokens}
        self.bot = self.bots[tokens[0]]
        self.token = tokens[0]
        self.chats: dict[int, Chat] = {}
        self.requests: list[Request] = []
        self.messages: list[Sent] = []
        self.injected: list[Injected] = []
        self.drafts: list[tuple[float, int, int, str]] = []
        self.reactions: list[tuple[int, int, list[str]]] = []
        self.early_sends: Counter[int] = Counter()
        self.complaints: list[str] = []
        self.files = Files()
        self.has_drafts = True
        # Called with each request and "arrived" (nothing done yet) or "processed" (nothing answered yet).
        self.on_request: Callable[[Request, str], None] | None = None
        super().__init__(port)

    def close(self) -> None:
        """Stop serving, the polls that wait answered empty."""
        self.server.closing.set()
        with self._lock:
            for bot in self.bots.values():
                if bot.waiting is not None:
                    bot.waiting.ready.notify_all()
        super().close()

    @property
    def base_url(self) -> str:
        """What `telegram.base_url` must say."""
        return self.origin

    def now(self) -> float:
        """The wall clock of the platform."""
        return time.time() + self._skew_s

    # --- what tests look at

    def wait_messages(self, count: int, timeout: float = 10.0) -> list[Sent]:
        """Wait until that many messages were accepted in all."""
        return self.wait_for(lambda: len(self.messages) >= count and list(self.messages), timeout) or []

    def wait_count(self, count: int, timeout: float = 10.0) -> int:
        """Wait for that many messages, not longer than the timeout; how many there are."""
        with self._lock:
            self._changed.wait_for(lambda: len(self.messages) >= count, timeout)
            return len(self.messages)

    def texts(self, chat_id: int | None = None) -> list[str]:
        """The visible texts that the bots wrote, deleted ones left out."""
        with self._lock:
            return [
                sent.text for sent in self.messages if not sent.deleted and chat_id in (None, sent.chat_id)
            ]

    def calls(self, method: str) -> list[Request]:
        """The requests of one method."""
        with self._lock:
            return [request for request in self.requests if request.method == method.lower()]

    def mentions_of(self, chat_id: int) -> list[Request]:
        """Every request that names the chat."""
        with self._lock:
            return [
                request for request in self.requests if str(request.params.get("chat_id")) == str(chat_id)
            ]

    def confirmed(self, update_id: int | None) -> bool:
        """Whether the (first) bot acknowledged the update."""
        with self._lock:
            return update_id in self.bot.queue.confirmed

    def state(self, messages_from: int = 0, injected_from: int = 0) -> dict[str, object]:
        """Everything recorded, as JSON values, for a controlling process."""
        with self._lock:
            return {
                "messages": [jsonable(sent) for sent in self.messages[messages_from:]],
                "injected": [jsonable(one) for one in self.injected[injected_from:]],
                "confirmed": sorted(self.bot.queue.confirmed),
                "pending": len(self.bot.queue),
                "requests": len(self.requests),
                "polls": sum(request.method == "getupdates" for request in self.requests),
                "first_poll_at": next((r.at for r in self.requests if r.method == "getupdates"), None),
                "refused": [jsonable(r) for r in self.requests if r.status >= 400][-20:],
                "early_sends": dict(self.early_sends),
                "complaints": list(self.complaints),
                "crashes": list(self.server.crashes),
                "max_polls_in_flight": self.bot.max_polls_in_flight,
            }

    def reset_record(self) -> None:
        """Forget what was recorded; chats, queues and faults stay."""
        with self._lock:
            for record in (self.requests, self.messages, self.injected, self.drafts, self.reactions):
                record.clear()
            self.early_sends.clear()
            self.complaints.clear()

    def add_file(self, content: bytes | str, path: str) -> str:
        """A file that can be fetched; its id, for the fields of a message."""
        with self._lock:
            return self.files.add(content.encode() if isinstance(content, str) else content, path)

    def _story(self) -> str:
        last = [
            f"{request.method} {request.params} -> {request.status} {request.description} {request.fault}"
            for request in self.requests[-8:]
        ]
        return f"{len(self.messages)} messages, last requests: " + " | ".join(last)

    # --- faults

    def fault(self, method: str, kind: str, **details: object) -> Fault:
        """The next call of the method suffers: see faults.Fault for kinds and details."""
        return self.faults.order(method, kind, **details)

    def drop_connections(self) -> None:
        """End every open connection."""
        self.server.drop_connections()

    def advance(self, seconds: float) -> None:
        """Move the platform's wall clock: queued updates age."""
        self._skew_s += seconds

    def revoke(self) -> None:
        """From now on the (first) token is answered 401."""
        self.bot.revoked = True

    def reinstate(self) -> None:
        """The token is good again."""
        self.bot.revoked = False

    def set_webhook(self, url: str) -> None:
        """Somebody sets a webhook for the (first) bot."""
        with self._lock:
            self._set_webhook(self.bot, {"url": url})

    def poll_elsewhere(self) -> bool:
        """Another process polls with the (first) token; True when a poll was waiting and is ended with a conflict."""
        with self._lock:
            waiting = self.bot.waiting
            if waiting is not None:
                waiting.end(POLL_CONFLICT)
            return waiting is not None

    def renumber(self, next_id: int) -> None:
        """The update ids of the (first) bot continue elsewhere."""
        with self._lock:
            self.bot.queue.renumber(next_id)

    # --- chats

    def _add(self, chat: Chat) -> Chat:
        with self._lock:
            return self.chats.setdefault(chat.id, chat)

    def add_private(self, chat_id: int, name: str = "User", topics: tuple[int, ...] = ()) -> Chat:
        """A person who has started the bot."""
        return self._add(Chat(chat_id, "private", name, topics=set(topics)))

    def add_group(self, chat_id: int, title: str = "Group") -> Chat:
        """A basic group."""
        return self._add(Chat(chat_id, "group", title))

    def add_supergroup(self, chat_id: int, title: str = "Supergroup", topics: tuple[int, ...] = ()) -> Chat:
        """A supergroup; with topics it is a forum."""
        return self._add(Chat(chat_id, "supergroup", title, is_forum=bool(topics), topics=set(topics)))

    def add_channel(self, chat_id: int, title: str = "Channel") -> Chat:
        """A broadcast channel."""
        return self._add(Chat(chat_id, "channel", title))

    def forbid(self, chat_id: int, description: str = "bot was blocked by the user") -> None:
        """Every send to the chat is refused from now on: 403, or 400 for "not enough rights ..."."""
        self.chats[chat_id].forbidden = description

    def allow(self, chat_id: int) -> None:
        """Sends to the chat work again."""
        self.chats[chat_id].forbidden = ""

    def migrate(self, old: int, new: int) -> None:
        """The basic group becomes a supergroup, with the two service messages."""
        with self._lock:
            old_chat = self.chats[old]
            self.add_supergroup(new, old_chat.title)
            self.push("message", self.new_message(old_chat, {"migrate_to_chat_id": new}))
            self.push("message", self.new_message(self.chats[new], {"migrate_from_chat_id": old}))
            old_chat.migrated_to = new

    def new_message(
        self,
        chat: Chat,
        content: dict[str, object],
        thread_id: int | None = None,
        reply_to: int | None = None,
    ) -> dict[str, object]:
        """A Message object in the chat's history."""
        message: dict[str, object] = {"message_id": chat.next_message_id, "date": int(self.now())}
        message["chat"] = chat.card()
        message.update(content)
        chat.next_message_id += 1
        if thread_id is not None:
            message["message_thread_id"] = thread_id
            message["is_topic_message"] = True
        if reply_to is not None and reply_to in chat.messages:
            target = chat.messages[reply_to]
            message["reply_to_message"] = {k: v for k, v in target.items() if k != "reply_to_message"}
        chat.messages[int(str(message["message_id"]))] = message
        return message

    # --- what users do

    def push(self, kind: str, payload: dict[str, object], bot: Bot | None = None) -> Injected:
        """Queue any update and wake the poll that waits."""
        bot = bot or self.bot
        with self._lock:
            update_id = bot.queue.push(kind, payload, self.now())
            chat = payload.get("chat")
            chat_id = int(chat["id"]) if isinstance(chat, dict) else 0
            message_id = int(str(payload.get("message_id", 0)))
            text = str(payload.get("text", payload.get("caption", "")))
            one = Injected(time.monotonic(), update_id, kind, chat_id, message_id, text)
            self.injected.append(one)
            if bot.waiting is not None and update_id is not None:
                bot.waiting.ready.notify_all()
            return one

    def say(
        self,
        text: str | None,
        chat_id: int = 1001,
        user_id: int | None = None,
        *,
        entities: list[dict[str, object]] | None = None,
        reply_to: int | None = None,
        thread_id: int | None = None,
        age_s: float = 0.0,
        sender: dict[str, object] | None = None,
        anonymous: bool = False,
        bot: Bot | None = None,
        **extra: object,
    ) -> Injected:
        """A person writes. A new positive chat id is a private chat; groups must have been added.

        `extra` are further fields of Message: caption, photo, sender_chat, ... `sender` replaces `from`;
        `anonymous` drops it.
        """
        with self._lock:
            if chat_id > 0:
                self.add_private(chat_id)
            chat = self.chats[chat_id]
            who: dict[str, object] = {
                "id": user_id or (chat_id if chat_id > 0 else 5001),
                "is_bot": False,
                "first_name": "Ann",
            }
            content: dict[str, object] = {} if anonymous else {"from": sender or who}
            content["date"] = int(self.now() - age_s)
            if text is not None:
                content["text"] = text
                found = automatic_entities(text) if entities is None else entities
                if found:
                    content["entities"] = found
            caption = extra.get("caption")
            if isinstance(caption, str) and "caption_entities" not in extra:
                content["caption_entities"] = automatic_entities(caption)
            content.update(extra)
            return self.push("message", self.new_message(chat, content, thread_id, reply_to), bot)

    def edit(self, chat_id: int, message_id: int, text: str) -> Injected:
        """A person changes what they wrote."""
        with self._lock:
            message = dict(self.chats[chat_id].messages[message_id])
            message.update(text=text, edit_date=int(self.now()), entities=automatic_entities(text))
            self.chats[chat_id].messages[message_id] = message
            return self.push("edited_message", message)

    def post(self, chat_id: int, text: str) -> Injected:
        """A post appears in a channel."""
        with self._lock:
            chat = self.chats[chat_id]
            return self.push(
                "channel_post", self.new_message(chat, {"sender_chat": chat.card(), "text": text})
            )

    def pace(
        self, count: int, interval_ms: float, chats: int, first_chat_id: int = 1001, start: int = 0
    ) -> None:
        """Write `count` messages "m<n>", one each interval, over `chats` private chats in turn. Does not block."""

        def write() -> None:
            begin = time.monotonic()
            for n in range(count):
                left = begin + n * interval_ms / 1000 - time.monotonic()
                if left > 0 and self.server.closing.wait(left):
                    return
                self.say(f"m{start + n}", first_chat_id + n % chats)

        if interval_ms <= 0:
            write()
        else:
            threading.Thread(target=write, name="fake:pace", daemon=True).start()

    # --- the server

    def _serve(self, call: Call) -> None:
        file = FILE_PATH.fullmatch(urllib.parse.unquote(call.path))
        match = METHOD_PATH.fullmatch(urllib.parse.unquote(call.path))
        token, name = match.groups() if match else ("", "")
        method = name.lower()
        params = self._params(call)
        if file is not None:
            token, method, params = file[1], "download", {"path": file[2]}
        request = Request(time.monotonic(), method, params, token)
        with self._lock:
            self.requests.append(request)
            self._note_change()
        if self.on_request is not None:
            self.on_request(request, "arrived")
        bot = self.bots.get(token)
        try:
            if bot is None and TOKEN_SHAPE.fullmatch(token):
                raise Refusal(401, "Unauthorized")
            if bot is None:
                raise Refusal(404, "Not Found")
            if bot.revoked:
                raise Refusal(401, "Unauthorized")
        except Refusal as refusal:
            self._answer(call, request, refusal, None)
            return
        fault = self.faults.take(method, params)
        request.fault = fault.kind if fault is not None else ""
        if suffer_before(fault, call):
            self._finish(request, -1, "")
            return
        try:
            outcome: object = self._ordered(fault, method, params)
            if outcome is None and file is not None:
                with self._lock:
                    content = self.files.open(call.method, file[2], self.now())
                self._finish(request, 200, "")
                suffer_answer(fault, call, 200, content)
                return
            if outcome is None:
                outcome = self._run(bot, method, params, request)
        except Refusal as refusal:
            outcome = refusal
        self._answer(call, request, outcome, fault)

    def _ordered(self, fault: Fault | None, method: str, params: dict[str, object]) -> Refusal | None:
        if fault is None or fault.kind not in ("too_many", "status"):
            return None
        if fault.kind == "status":
            description = fault.description or "Internal Server Error"
            return Refusal(fault.status, description, fault.parameters)
        chat = self.chats.get(methods.integer(params, "chat_id"))
        if chat is not None and method in methods.SENDS:
            chat.flood_until = time.monotonic() + fault.retry_after
        return self._too_many(fault.retry_after)

    @staticmethod
    def _too_many(seconds: float) -> Refusal:
        whole = max(1, int(seconds + 0.999))
        return Refusal(429, f"Too Many Requests: retry after {whole}", {"retry_after": whole})

    def _run(self, bot: Bot, method: str, params: dict[str, object], request: Request) -> object:
        with self._lock:
            self._complain(method, params)
            if method == "getupdates":
                return self._get_updates(bot, params, request)
            if method in methods.SENDS:
                self._check_flood(params)
            if method in methods.METHODS:
                return methods.METHODS[method](self, bot, params)
            if method == "getfile":
                return self.files.get_file(params.get("file_id"), self.now())
            if method == "getme":
                return {
                    **bot.card(),
                    "can_join_groups": True,
                    "can_read_all_group_messages": bot.reads_all,
                    "supports_inline_queries": False,
                    "has_topics_enabled": bot.has_topics,
                }
            if method == "deletewebhook":
                if methods.flag(params, "drop_pending_updates"):
                    bot.queue.drop()
                bot.webhook = ""
                return True
            if method == "setwebhook":
                return self._set_webhook(bot, params)
            if method == "getwebhookinfo":
                return {"url": bot.webhook, "pending_update_count": len(bot.queue)}
            raise Refusal(404, "Not Found: method not found")

    def _check_flood(self, params: dict[str, object]) -> None:
        chat = self.chats.get(methods.integer(params, "chat_id"))
        if chat is None:
            return
        left = chat.flood_until - time.monotonic()
        if left > 0:
            self.early_sends[chat.id] += 1
            raise self._too_many(left)

    def _complain(self, method: str, params: dict[str, object]) -> None:
        known = methods.KNOWN_PARAMS.get(method)
        if known is not None:
            for name in set(params) - set(known.split()):
                self.complaints.append(f"{method}: unknown parameter {name}")
        for name, value in params.items():
            if value is None:
                self.complaints.append(f"{method}: {name} is null")

    def _set_webhook(self, bot: Bot, params: dict[str, object]) -> bool:
        bot.webhook = str(params.get("url", ""))
        if bot.webhook and bot.waiting is not None:
            bot.waiting.end("Conflict: terminated by setWebhook request")
        return True

    # --- getUpdates

    def _get_updates(self, bot: Bot, params: dict[str, object], request: Request) -> object:
        bot.polls_in_flight += 1
        bot.max_polls_in_flight = max(bot.max_polls_in_flight, bot.polls_in_flight)
        try:
            return self._poll(bot, params, request)
        finally:
            bot.polls_in_flight -= 1

    def _poll(self, bot: Bot, params: dict[str, object], request: Request) -> object:
        if bot.webhook:
            self._conflict(bot, WEBHOOK_CONFLICT)
        offset = methods.integer(params, "offset")
        limit = min(max(methods.integer(params, "limit", 100) or 100, 1), 100)
        timeout = min(max(methods.integer(params, "timeout"), 0), MAX_POLL_S)
        bot.queue.allow(methods.nested(params, "allowed_updates"))
        repeated = offset == bot.last_offset
        age_s = (request.at - bot.last_poll_at) * self._speed
        if repeated and timeout < 3 and age_s < 3:
            timeout = 3
        if repeated and age_s < 0.5:
            limit = 1
        bot.last_offset, bot.last_poll_at = offset, request.at
        updates = bot.queue.take(offset, limit, self.now())
        if updates or timeout == 0:
            return updates
        if bot.waiting is not None:
            bot.waiting.end(POLL_CONFLICT)
        poll = bot.waiting = Poll(self._lock)
        self._note_change()
        try:
            return self._wait(bot, poll, (offset, limit), time.monotonic() + timeout / self._speed)
        finally:
            if bot.waiting is poll:
                bot.waiting = None

    def _wait(self, bot: Bot, poll: Poll, window: tuple[int, int], deadline: float) -> object:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or self.server.closing.is_set():
                return []
            poll.ready.wait(left)
            if not poll.verdict and self._batch_wait_s and len(bot.queue):
                poll.ready.wait(self._batch_wait_s)
            if poll.verdict:
                self._conflict(bot, poll.verdict)
            updates = bot.queue.take(*window, self.now())
            if updates:
                return updates

    def _conflict(self, bot: Bot, description: str) -> None:
        """One 409 each few seconds comes at once, the others are held back."""
        now = time.monotonic()
        if now >= bot.next_conflict_at:
            bot.next_conflict_at = now + self._conflict_delay_s
        else:
            self._changed.wait_for(self.server.closing.is_set, self._conflict_delay_s)
        raise Refusal(409, description)

    # --- answers

    def _params(self, call: Call) -> dict[str, object]:
        params: dict[str, object] = dict(urllib.parse.parse_qsl(call.query, keep_blank_values=True))
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not call.body:
            return params
        if kind == "application/json":
            try:
                body = json.loads(call.body)
            except ValueError:
                body = None
            if isinstance(body, dict):
                params.update(body)
            else:
                self.complaints.append("a body that is no JSON object")
        elif kind == "multipart/form-data":
            try:
                fields, files = read_form(call.headers["content-type"], call.body)
            except ValueError as error:
                self.complaints.append(f"a form that is none: {error}")
            else:
                params.update(fields)
                params.update({name: Upload(*found) for name, found in files.items()})
        elif kind == "application/x-www-form-urlencoded":
            params.update(urllib.parse.parse_qsl(call.body.decode("utf-8"), keep_blank_values=True))
        else:
            self.complaints.append(f"a body of type {kind!r}")
        return params

    def _answer(self, call: Call, request: Request, outcome: object, fault: Fault | None) -> None:
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(outcome, Refusal):
            status = outcome.code
            body: dict[str, object] = {"ok": False, "error_code": status, "description": outcome.description}
            if outcome.parameters:
                body["parameters"] = outcome.parameters
            if "retry_after" in outcome.parameters:
                headers = (("Retry-After", str(outcome.parameters["retry_after"])),)
            description = outcome.description
        else:
            status, description = 200, ""
            body = {"ok": True, "result": outcome}
        data = json.dumps(body, separators=(",", ":")).encode()
        self._finish(request, status, description)
        if self.on_request is not None:
            self.on_request(request, "processed")
        suffer_answer(fault, call, status, data, headers)

    def _finish(self, request: Request, status: int, description: str) -> None:
        with self._lock:
            request.status = status
            request.description = description
            request.ended = time.monotonic()
            self._note_change()


def main() -> None:
    """Run as a program until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", action="append")
    parser.add_argument("--batch-wait-ms", type=float, default=1.0)
    parser.add_argument("--conflict-delay-s", type=float, default=3.0)
    args = parser.parse_args()
    fake = FakeTelegram(
        tuple(args.token or [TOKEN]),
        port=args.port,
        batch_wait_s=args.batch_wait_ms / 1000,
        conflict_delay_s=args.conflict_delay_s,
    )
    serve_until_ended(fake.server.port, fake.close)


if __name__ == "__main__":
    main()
