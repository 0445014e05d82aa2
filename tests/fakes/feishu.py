"""A strict double of the open platform's REST side on 127.0.0.1, scripted from a test or through /_control/NAME.

python -m tests.fakes.feishu --port 0      prints "READY <port>"

Calls are named for orders of faults: token, endpoint, bot, send, reply, read, patch, edit, recall, react, unreact,
image, file, resource.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from typing import Any, Callable, TypeVar

from .faults import Fault, FaultBook, suffer_answer, suffer_before
from .feishu_content import KEYED, read_content
from .feishu_state import Chat, Refusal, Request, Said, Sent, Token
from .forms import read_form
from .http_server import Call, HttpServer
from .process import jsonable, serve_until_ended

T = TypeVar("T")

APP_ID = "cli_a1b2c3d4e5f60718"
APP_SECRET = "Example0Secret0Example0Secret0Ex"
BOT_OPEN_ID = "ou_0123456789abcdef0123456789abcdef"
TOKEN_LIFE_S = 7200
RENEWAL_S = 1800
UUID_LIFE_S = 3600
PREFIXES = {"open_id": "ou_", "union_id": "on_", "chat_id": "oc_"}
RECEIVE_ID_TYPES = {*PREFIXES, "user_id", "email"}
EMOJI = {"OK", "THUMBSUP", "DONE", "OneSecond", "CheckMark", "Typing", "SMILE"}
IM = "/open-apis/im/v1"
ROUTES = tuple(
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("POST", r"/open-apis/auth/v3/tenant_access_token/internal", "token"),
        ("POST", r"/callback/ws/endpoint", "endpoint"),
        ("GET", r"/open-apis/bot/v3/info", "bot"),
        ("POST", rf"{IM}/messages", "send"),
        ("POST", rf"{IM}/messages/(?P<message_id>[^/]+)/reply", "reply"),
        ("GET", rf"{IM}/messages/(?P<message_id>[^/]+)", "read"),
        ("PATCH", rf"{IM}/messages/(?P<message_id>[^/]+)", "patch"),
        ("PUT", rf"{IM}/messages/(?P<message_id>[^/]+)", "edit"),
        ("DELETE", rf"{IM}/messages/(?P<message_id>[^/]+)", "recall"),
        ("POST", rf"{IM}/messages/(?P<message_id>[^/]+)/reactions", "react"),
        ("DELETE", rf"{IM}/messages/(?P<message_id>[^/]+)/reactions/(?P<reaction_id>[^/]+)", "unreact"),
        ("GET", rf"{IM}/messages/(?P<message_id>[^/]+)/resources/(?P<file_key>[^/]+)", "resource"),
        ("POST", rf"{IM}/images", "image"),
        ("POST", rf"{IM}/files", "file"),
    )
)
FREE = ("token", "endpoint")
# The message for each kind of upload; every other one is for files.
UPLOADED_FOR = {"image": "image", "opus": "audio", "mp4": "media"}
KNOWN_BODY = {
    "token": {"app_id", "app_secret"},
    "endpoint": {"AppID", "AppSecret"},
    "send": {"receive_id", "msg_type", "content", "uuid"},
    "reply": {"msg_type", "content", "reply_in_thread", "uuid"},
    "patch": {"content"},
    "edit": {"msg_type", "content"},
    "react": {"reaction_type"},
}
CONTROLS = frozenset(
    "say add_chat forbid allow revoke_tokens advance set_endpoint fault release clear_faults state "
    "recall wait_count drop_connections reset_record".split()
)


class FakeFeishu:
    """The platform. Attributes may be read at any time; use `wait_for` to wait for something to be true.

    `requests` and `messages` are complete, in order. `early_sends` counts, per chat, messages that came before the
    wait of a refusal was over. `complaints` are things that the platform ignores and a good client never does.
    `per_chat_per_s` None means no limit of messages.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        app_id: str = APP_ID,
        app_secret: str = APP_SECRET,
        per_chat_per_s: int | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ids = itertools.count(1)
        self._skew_s = 0.0
        self.app_id = app_id
        self.app_secret = app_secret
        self.per_chat_per_s = per_chat_per_s
        self.bot: dict[str, object] = {
            "activate_status": 2,
            "app_name": "loong-bot",
            "avatar_url": "",
            "ip_white_list": [],
            "open_id": BOT_OPEN_ID,
        }
        # Answers requests for an endpoint instead of `endpoint`: (HTTP status, body) for the decoded request.
        self.find_endpoint: Callable[[object], tuple[int, object]] | None = None
        self.endpoint: dict[str, object] = {}
        self.set_endpoint(
            "ws://127.0.0.1:9/ws/v2?device_id=1&service_id=33554678&access_key=k3y&ticket=t1cket"
        )
        self.chats: dict[str, Chat] = {}
        self.said: dict[str, Said] = {}
        self.messages: list[Sent] = []
        self.requests: list[Request] = []
        self.tokens: list[Token] = []
        self.uploads: dict[str, tuple[dict[str, str], bytes]] = {}
        self.early_sends: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._uuids: dict[str, tuple[float, Sent]] = {}
        self._flood_until: dict[str, float] = {}
        # Called with each request and "arrived" (nothing done yet) or "processed" (nothing answered yet).
        self.on_request: Callable[[Request, str], None] | None = None
        self.faults = FaultBook()
        self.server = HttpServer(self._handle, port)

    def __enter__(self) -> FakeFeishu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self.faults.clear()
        self.server.close()

    @property
    def base_url(self) -> str:
        """What `feishu.base_url` must say."""
        return f"http://127.0.0.1:{self.server.port}"

    def now(self) -> float:
        """The clock of the platform, seconds; `advance` moves it."""
        return time.monotonic() + self._skew_s

    def wall_ms(self) -> int:
        """The wall clock of the platform, milliseconds."""
        return int((time.time() + self._skew_s) * 1000)

    # --- what tests look at

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until `condition()` is true, looked at after each request; its value."""
        end = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {timeout} s; {self.story()}")
            with self._lock:
                self._changed.wait(min(left, 0.25))

    def wait_count(self, count: int, timeout: float = 10.0) -> int:
        """Wait for that many messages, not longer than the timeout; how many there are."""
        with self._lock:
            self._changed.wait_for(lambda: len(self.messages) >= count, timeout)
            return len(self.messages)

    def texts(self, chat_id: str | None = None) -> list[str]:
        """What readers see of the bot's messages, recalled ones left out."""
        with self._lock:
            return [one.text for one in self.messages if not one.recalled and chat_id in (None, one.chat_id)]

    def calls(self, *names: str) -> list[Request]:
        """The requests of these names, all without any."""
        with self._lock:
            return [request for request in self.requests if not names or request.name in names]

    def names(self) -> list[str]:
        """The names of all requests but those for tokens, in order."""
        with self._lock:
            return [request.name for request in self.requests if request.name != "token"]

    def story(self) -> str:
        """The last requests, for a failing test."""
        last = [
            f"{one.name} {one.params} -> {one.status} {one.code} {one.fault}" for one in self.requests[-8:]
        ]
        return f"{len(self.messages)} messages, last requests: " + " | ".join(last)

    def state(self, messages_from: int = 0) -> dict[str, object]:
        """What was recorded, as JSON values, for a controlling process."""
        with self._lock:
            return {
                "messages": [jsonable(one) for one in self.messages[messages_from:]],
                "requests": Counter(one.name for one in self.requests),
                "refused": [jsonable(one) for one in self.requests if one.code][-20:],
                "early_sends": dict(self.early_sends),
                "complaints": list(self.complaints),
                "crashes": list(self.server.crashes),
            }

    def reset_record(self) -> None:
        """Forget what was recorded; chats, tokens and faults stay."""
        with self._lock:
            self.requests.clear()
            self.messages.clear()
            self.early_sends.clear()
            self.complaints.clear()

    # --- faults

    def fault(self, name: str, kind: str, **details: object) -> Fault:
        """The next call of that name suffers: see faults.Fault. "status" answers `parameters` code and msg."""
        return self.faults.order(name, kind, **details)

    def refuse(
        self, name: str, code: int, msg: str = "refused", *, status: int = 400, **details: object
    ) -> Fault:
        """The next call of that name is answered with this code."""
        return self.fault(name, "status", status=status, parameters={"code": code, "msg": msg}, **details)

    def release(self) -> None:
        """Let every call that hangs or is held go on."""
        self.faults.release()

    def clear_faults(self) -> None:
        """Forget all orders."""
        self.faults.clear()

    def drop_connections(self) -> None:
        """End every open connection."""
        self.server.drop_connections()

    def advance(self, seconds: float) -> None:
        """Move the platform's clock."""
        self._skew_s += seconds

    def revoke_tokens(self) -> None:
        """No token given out so far is good any more."""
        with self._lock:
            for token in self.tokens:
                token.revoked = True

    def set_endpoint(self, url: str, **client_config: int) -> None:
        """Where long connections go from now on, and the platform's figures."""
        figures = {"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": 120}
        self.endpoint = {"URL": url, "ClientConfig": {**figures, **client_config}}

    # --- chats

    def add_chat(self, chat_id: str, *members: str) -> Chat:
        """A chat that the bot is in; with one member it is the person's own."""
        with self._lock:
            chat = self.chats.setdefault(chat_id, Chat(chat_id))
            chat.members.update(members)
            return chat

    def forbid(
        self, chat_id: str, code: int = 230002, msg: str = "Bot/User can NOT be out of the chat."
    ) -> None:
        """Every message to the chat is refused from now on."""
        self.chats[chat_id].refusal = (code, msg)

    def allow(self, chat_id: str) -> None:
        """Messages to the chat are taken again."""
        self.chats[chat_id].refusal = None

    def say(self, chat_id: str, *, thread_id: str | None = None, root_id: str | None = None) -> Said:
        """A person writes."""
        with self._lock:
            self.add_chat(chat_id)
            said = Said(self._id("om_said"), chat_id, root_id, thread_id)
            self.said[said.message_id] = said
            return said

    def attach(self, said: Said, kind: str, data: bytes, mime: str, name: str) -> str:
        """Something that came with the message; `kind` is "image" or "file"."""
        key = self._id("img_v3" if kind == "image" else "file_v3")
        said.resources[key] = (kind, data, mime, name)
        return key

    def recall(self, message_id: str) -> None:
        """A person takes a message back."""
        self.said[message_id].recalled = True

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids):08x}"

    # --- the server

    def _handle(self, call: Call) -> None:
        if call.path.startswith("/_control/"):
            self._control(call, call.path[len("/_control/") :])
            return
        request = self._request(call)
        with self._lock:
            self.requests.append(request)
            self._changed.notify_all()
        if self.on_request is not None:
            self.on_request(request, "arrived")
        fault = self.faults.take(request.name, request.params)
        request.fault = fault.kind if fault is not None else ""
        if suffer_before(fault, call):
            self._finish(request, -1, None)
            return
        try:
            outcome: object = self._ordered(fault, request)
            with self._lock:
                outcome = outcome or self._run(call, request)
        except Refusal as refusal:
            outcome = refusal
        self._answer(call, request, outcome, fault)

    def _request(self, call: Call) -> Request:
        params: dict[str, object] = dict(urllib.parse.parse_qsl(call.query, keep_blank_values=True))
        name = "unknown"
        for method, pattern, known in ROUTES:
            match = pattern.fullmatch(call.path)
            if match is not None and method == call.method:
                name = known
                params.update({key: urllib.parse.unquote(value) for key, value in match.groupdict().items()})
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        # The platform's own client sends its request for a token without a type.
        if call.body and kind in ("application/json", ""):
            body = json.loads(call.body)
            params.update(body)
            for key in set(body) - KNOWN_BODY.get(name, set()):
                self.complaints.append(f"{name}: unknown member {key}")
            for key, value in body.items():
                if value is None:
                    self.complaints.append(f"{name}: {key} is null")
        elif call.body and kind != "multipart/form-data":
            self.complaints.append(f"{name}: a body of type {kind!r}")
        return Request(time.monotonic(), name, call.method, call.path, params, dict(call.headers))

    def _ordered(self, fault: Fault | None, request: Request) -> Refusal | None:
        if fault is None or fault.kind not in ("too_many", "status"):
            return None
        if fault.kind == "status":
            code = fault.parameters.get("code", 2200)
            return Refusal(int(str(code)), str(fault.parameters.get("msg", "refused")), status=fault.status)
        chat = self._chat_of(request)
        if chat:
            self._flood_until[chat] = time.monotonic() + fault.retry_after
        return self._limited(fault.retry_after)

    @staticmethod
    def _limited(seconds: float) -> Refusal:
        headers = (
            ("x-ogw-ratelimit-limit", "50"),
            ("x-ogw-ratelimit-reset", str(max(1, int(seconds + 0.999)))),
        )
        return Refusal(99991400, "request trigger frequency limit", status=429, headers=headers)

    def _chat_of(self, request: Request) -> str:
        said = self.said.get(str(request.params.get("message_id")))
        return said.chat_id if said is not None else str(request.params.get("receive_id", ""))

    def _run(self, call: Call, request: Request) -> object:
        if request.name == "unknown":
            raise Refusal(404, "404 page not found", status=404)
        if request.name not in FREE:
            self._check_token(call)
        return getattr(self, f"_do_{request.name}")(request.params, call)

    def _check_token(self, call: Call) -> None:
        given = call.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            raise Refusal(99991661, "Missing access token for authorization.")
        value = given[len("Bearer ") :]
        if not value.startswith(("t-", "u-")):
            raise Refusal(99991671, "Invalid access token for authorization. token must start with t- or u-")
        token = next((one for one in self.tokens if one.value == value), None)
        if token is None or token.revoked or token.ends <= self.now():
            raise Refusal(99991663, "Invalid access token for authorization.")

    # --- identity

    def _do_token(self, params: dict[str, object], _call: Call) -> object:
        if params.get("app_id") != self.app_id:
            raise Refusal(10003, "invalid param", status=200)
        if params.get("app_secret") != self.app_secret:
            raise Refusal(10014, "app secret invalid", status=200)
        good = [one for one in self.tokens if not one.revoked and one.ends - self.now() >= RENEWAL_S]
        if not good:
            good = [Token(f"t-{self._id('g104example')}", self.now() + TOKEN_LIFE_S)]
            self.tokens += good
        left = int(good[-1].ends - self.now())
        return {"code": 0, "msg": "ok", "tenant_access_token": good[-1].value, "expire": left}

    def _do_endpoint(self, params: dict[str, object], call: Call) -> object:
        if call.headers.get("authorization"):
            self.complaints.append("endpoint: a token where none belongs")
        if (params.get("AppID"), params.get("AppSecret")) != (self.app_id, self.app_secret):
            raise Refusal(514, "auth failed", status=200)
        if self.find_endpoint is not None:
            status, body = self.find_endpoint(dict(params))
            if status != 200:
                raise Refusal(status, "no endpoint now", status=status)
            return body
        return {"code": 0, "msg": "", "data": self.endpoint}

    def _do_bot(self, _params: dict[str, object], _call: Call) -> object:
        return {"code": 0, "msg": "ok", "bot": self.bot}

    # --- messages

    def _do_send(self, params: dict[str, object], _call: Call) -> object:
        kind, receive_id = params.get("receive_id_type"), params.get("receive_id")
        if kind not in RECEIVE_ID_TYPES:
            raise self._violation("receive_id_type", "receive_id_type is required")
        if not isinstance(receive_id, str) or not receive_id.startswith(PREFIXES.get(str(kind), "")):
            raise Refusal(
                230001, "Your request contains an invalid request parameter, ext=invalid receive_id"
            )
        chat = self.chats.get(receive_id)
        if kind != "chat_id":
            chat = next((one for one in self.chats.values() if receive_id in one.members), None)
        if chat is None and kind == "chat_id":
            raise Refusal(230002, "Bot/User can NOT be out of the chat.")
        if chat is None:
            raise Refusal(230013, "Bot has NO availability to this user.")
        return self._accept(chat, params, receive_id_type=str(kind))

    def _do_reply(self, params: dict[str, object], _call: Call) -> object:
        target = self._message(params)
        if isinstance(target, Said) and target.recalled:
            raise Refusal(230011, "The message was withdrawn.")
        root = target.root_id or target.message_id
        thread = target.thread_id
        if thread is None and params.get("reply_in_thread") is True:
            thread = target.thread_id = self._id("omt")
        return self._accept(
            self.chats[target.chat_id],
            params,
            parent_id=root if thread else target.message_id,
            root_id=root,
            thread_id=thread,
        )

    def _accept(self, chat: Chat, params: dict[str, object], **where: str | None) -> object:
        uuid = params.get("uuid")
        if uuid is not None and (not isinstance(uuid, str) or len(uuid) > 50):
            raise self._violation("uuid", "the length must be at most 50")
        content, text, pings = read_content(params.get("msg_type"), params.get("content"))
        known = self._uuids.get(str(uuid)) if uuid is not None else None
        if known is not None and known[0] > self.now():
            return {"code": 0, "msg": "success", "data": self._card_of(known[1])}
        if chat.refusal is not None:
            raise Refusal(*chat.refusal)
        self._limit(chat)
        self._check_key(str(params["msg_type"]), content)
        sent = Sent(
            time.monotonic(),
            self._id("om_sent"),
            chat.chat_id,
            str(params["msg_type"]),
            content,
            text,
            pings,
            None if uuid is None else str(uuid),
            **where,
        )
        self.messages.append(sent)
        if uuid is not None:
            self._uuids[str(uuid)] = (self.now() + UUID_LIFE_S, sent)
        return {"code": 0, "msg": "success", "data": self._card_of(sent)}

    def _check_key(self, msg_type: str, content: dict[str, object]) -> None:
        """A key must be of our own upload, and what was uploaded as something is only sent as that."""
        if msg_type not in KEYED:
            return
        key = str(content[KEYED[msg_type]])
        if key not in self.uploads:
            raise Refusal(230001, f"ext=invalid {KEYED[msg_type]}")
        file_type = self.uploads[key][0].get("file_type", "image")
        if msg_type != UPLOADED_FOR.get(file_type, "file"):
            raise Refusal(230055, "The type of file upload does not match the type of message being sent.")

    def _limit(self, chat: Chat) -> None:
        now = time.monotonic()
        left = self._flood_until.get(chat.chat_id, 0.0) - now
        if left > 0:
            self.early_sends[chat.chat_id] += 1
            raise self._limited(left)
        if self.per_chat_per_s is not None:
            chat.moments = [moment for moment in chat.moments if moment > now - 1.0]
            if len(chat.moments) >= self.per_chat_per_s:
                raise Refusal(230020, "This operation triggers the frequency limit.")
            chat.moments.append(now)

    def _card_of(self, sent: Sent) -> dict[str, object]:
        card: dict[str, object] = {
            "message_id": sent.message_id,
            "chat_id": sent.chat_id,
            "msg_type": sent.msg_type,
            "create_time": str(int(time.time() * 1000)),
            "deleted": sent.recalled,
            "updated": bool(sent.patches),
            "sender": {"id": self.app_id, "id_type": "app_id", "sender_type": "app", "tenant_key": "tenant"},
            "body": {"content": json.dumps(sent.content)},
        }
        for name in ("root_id", "parent_id", "thread_id"):
            if getattr(sent, name) is not None:
                card[name] = getattr(sent, name)
        return card

    def _message(self, params: dict[str, object]) -> Said | Sent:
        message_id = str(params.get("message_id"))
        found = self.said.get(message_id) or self._sent(message_id)
        if found is None:
            raise Refusal(
                230001, "Your request contains an invalid request parameter, ext=invalid message_id"
            )
        return found

    def _sent(self, message_id: str) -> Sent | None:
        return next((one for one in self.messages if one.message_id == message_id), None)

    def _own(self, params: dict[str, object]) -> Sent:
        sent = self._sent(str(params.get("message_id")))
        if sent is None:
            raise Refusal(230071, "The operator is not the sender of the message.")
        if sent.recalled:
            raise Refusal(230011, "The message was withdrawn.")
        return sent

    def _do_read(self, params: dict[str, object], _call: Call) -> object:
        found = self._message(params)
        if isinstance(found, Sent):
            return {"code": 0, "msg": "success", "data": {"items": [self._card_of(found)]}}
        if found.recalled:
            raise Refusal(230110, "The message has been deleted.")
        return {"code": 0, "msg": "success", "data": {"items": found.items}}

    def _do_patch(self, params: dict[str, object], _call: Call) -> object:
        sent = self._own(params)
        if sent.msg_type != "interactive":
            raise Refusal(230001, "Your request contains an invalid request parameter, ext=not a card")
        content, text, pings = read_content("interactive", params.get("content"))
        if not content.get("config", {}).get("update_multi"):  # type: ignore[attr-defined]
            raise Refusal(230001, "Your request contains an invalid request parameter, ext=update_multi")
        sent.content, sent.text, sent.pings = content, text, pings
        sent.patches.append((time.monotonic(), text))
        return {"code": 0, "msg": "success", "data": {}}

    def _do_edit(self, params: dict[str, object], _call: Call) -> object:
        sent = self._own(params)
        if len(sent.patches) >= 20:
            raise Refusal(230072, "The message has reached the number of times it can be edited.")
        content, sent.text, sent.pings = read_content(params.get("msg_type"), params.get("content"))
        sent.content = content
        sent.patches.append((time.monotonic(), sent.text))
        return {"code": 0, "msg": "success", "data": self._card_of(sent)}

    def _do_recall(self, params: dict[str, object], _call: Call) -> object:
        self._own(params).recalled = True
        return {"code": 0, "msg": "success", "data": {}}

    # --- reactions, media

    def _do_react(self, params: dict[str, object], _call: Call) -> object:
        said = self.said.get(str(params.get("message_id")))
        if said is None or said.recalled:
            raise Refusal(231003, "The message is not found or has been deleted.")
        kind = params.get("reaction_type")
        emoji = kind.get("emoji_type") if isinstance(kind, dict) else None
        if emoji not in EMOJI:
            raise Refusal(231001, "The reaction type is invalid.")
        reaction = self._id("ZCaCIjUBVVWSrm5L")
        said.reactions[reaction] = str(emoji)
        return {"code": 0, "msg": "success", "data": {"reaction_id": reaction, "reaction_type": kind}}

    def _do_unreact(self, params: dict[str, object], _call: Call) -> object:
        said = self.said.get(str(params.get("message_id")))
        if said is None or said.reactions.pop(str(params.get("reaction_id")), None) is None:
            raise Refusal(231003, "The message is not found or has been deleted.")
        return {"code": 0, "msg": "success", "data": {}}

    def _do_resource(self, params: dict[str, object], _call: Call) -> object:
        said = self.said.get(str(params.get("message_id")))
        if said is None:
            return (b"", "application/octet-stream", "")
        found = said.resources.get(str(params.get("file_key")))
        if found is None:
            raise Refusal(234003, "File not in msg.")
        kind, data, mime, name = found
        if params.get("type") != kind:
            raise Refusal(234001, "Invalid request param.")
        return (data, mime, f"attachment; filename*=UTF-8''{urllib.parse.quote(name)}")

    def _do_image(self, _params: dict[str, object], call: Call) -> object:
        fields, data = self._form(call, "image", 10 << 20)
        if fields.get("image_type") != "message":
            raise Refusal(234001, "Invalid request param.")
        key = self._id("img_v3")
        self.uploads[key] = (fields, data)
        return {"code": 0, "msg": "success", "data": {"image_key": key}}

    def _do_file(self, _params: dict[str, object], call: Call) -> object:
        fields, data = self._form(call, "file", 30 << 20)
        if fields.get("file_type") not in ("opus", "mp4", "pdf", "doc", "xls", "ppt", "stream"):
            raise Refusal(234001, "Invalid request param.")
        if not fields.get("file_name"):
            raise Refusal(234001, "Invalid request param.")
        key = self._id("file_v3")
        self.uploads[key] = (fields, data)
        return {"code": 0, "msg": "success", "data": {"file_key": key}}

    @staticmethod
    def _form(call: Call, name: str, limit: int) -> tuple[dict[str, str], bytes]:
        """The fields of a form, with the name of its file, and the bytes of that."""
        try:
            # The platform's own client gives the file no name there.
            fields, files = read_form(call.headers.get("content-type", ""), call.body, unnamed=name)
            fields["filename"], data = files[name]
        except (KeyError, ValueError) as error:
            raise Refusal(234001, "Invalid request param.") from error
        if not data:
            raise Refusal(234010, "File's size can't be 0.")
        if len(data) > limit:
            raise Refusal(234006, "The file size exceed the max value.")
        return fields, data

    @staticmethod
    def _violation(name: str, description: str) -> Refusal:
        violations = [{"field": name, "value": "", "description": description}]
        return Refusal(99992402, "field validation failed", error={"field_violations": violations})

    # --- answers

    def _answer(self, call: Call, request: Request, outcome: object, fault: Fault | None) -> None:
        log_id = f"2026{len(self.requests):028d}"
        headers: tuple[tuple[str, str], ...] = (("X-Tt-Logid", log_id),)
        if isinstance(outcome, tuple):
            data, mime, disposition = outcome
            self._finish(request, 200, 0)
            more = (("Content-Disposition", disposition),) if disposition else ()
            call.reply(200, data, mime, (*headers, *more))
            return
        status = 200
        body: object = outcome
        if isinstance(outcome, Refusal):
            status = outcome.status
            body = {
                "code": outcome.code,
                "msg": outcome.msg,
                "error": {"log_id": log_id, **(outcome.error or {})},
            }
            headers += outcome.headers
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        self._finish(request, status, outcome.code if isinstance(outcome, Refusal) else 0)
        if self.on_request is not None:
            self.on_request(request, "processed")
        suffer_answer(fault, call, status, data, headers)

    def _finish(self, request: Request, status: int, code: int | None) -> None:
        with self._lock:
            request.status = status
            request.code = code
            self._changed.notify_all()

    def _control(self, call: Call, name: str) -> None:
        if name not in CONTROLS:
            call.reply(404, b'{"error":"no such control"}')
            return
        arguments: dict[str, Any] = json.loads(call.body or b"{}")
        try:
            body = {"result": jsonable(getattr(self, name)(**arguments))}
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            call.reply(400, json.dumps({"error": repr(error)}).encode())
        else:
            call.reply(200, json.dumps(body).encode())


def main() -> None:
    """Run as a program until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    fake = FakeFeishu(port=args.port)
    serve_until_ended(fake.server.port, fake.close)


if __name__ == "__main__":
    main()
