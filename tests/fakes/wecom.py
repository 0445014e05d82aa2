"""A strict server of the long connection of WeCom robots on 127.0.0.1, scripted from a test or through /_control/NAME.

python -m tests.fakes.wecom --port 0      prints "READY <control port>"; `ask("address")` tells where it listens
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import select
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar

from .http_server import Call, HttpServer
from .process import jsonable, serve_until_ended
from .web_socket_server import ServerConnection, WebSocketServer
from .wecom_uploads import UploadedFile, Uploads

T = TypeVar("T")

BOT_ID = "aibExampleRobot0001"
SECRET = "ExampleSecret-0123456789-abcdefghijklmnopq"
MAX_BYTES = 20480
STREAM_LIFE_S = 600.0
LOOK_S = 0.05
WAIT_S = 10.0
PIECE = 65536
MEDIA_TYPES = ("image", "file", "voice", "video")
MESSAGE_TYPES = ("stream", "markdown", "template_card", "stream_with_template_card", *MEDIA_TYPES)
CARD_CMDS = ("aibot_respond_welcome_msg", "aibot_respond_update_msg")
CONTROLS = frozenset(
    "say event kick takeover drop close_all stall fail delay silence speak reinstate revoke state address wait_count "
    "advance allow_unknown reset_record refuse_next add_media add_moved".split()
)


@dataclass
class Received:
    """A frame from a client. `code` is what it was answered with, None when it was not answered."""

    at: float
    connection: int
    cmd: str
    req_id: str
    body: dict[str, Any]
    code: int | None = None


@dataclass
class Bubble:
    """A stream. `frames` are its texts in order."""

    stream_id: str
    req_id: str
    conversation: str
    born: float
    frames: list[str] = field(default_factory=list)
    finished: bool = False

    @property
    def text(self) -> str:
        """What people see."""
        return self.frames[-1] if self.frames else ""


@dataclass
class Question:
    """A callback that may be answered. `client` is the number of the connection that it was sent on, if any was."""

    req_id: str
    conversation: str
    kind: str
    born: float
    msgid: str
    answered: bool = False
    client: int | None = None


@dataclass
class Push:
    """A message that was pushed: a text, or a file."""

    at: float
    conversation: str
    chat_type: int | None
    text: str
    file: UploadedFile | None = None


@dataclass(frozen=True)
class Served:
    """A file that came with a message."""

    content: bytes
    name: str
    content_type: str
    chunked: bool
    status: int


class Client:
    """One connection of a client."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number = number
        self.connection = connection
        self.subscribed = False
        self.frames = 0
        self.gone = threading.Event()
        self.is_reset = False
        self.ended = False

    def reset(self) -> None:
        """End without a close frame."""
        self.is_reset = True
        self.gone.set()


class FakeWeCom:
    """The server. Attributes may be read at any time; use `wait_for` to wait for something to be true.

    `received` holds every frame of every client in order, `complaints` what the real server tolerates and a good
    client never does. `per_minute` limits messages to a conversation. `repeats_replace`: what a repeated last frame
    does is not known; either it replaces, or it is refused with 846606.
    """

    def __init__(
        self,
        *,
        bot_id: str = BOT_ID,
        secret: str = SECRET,
        per_minute: int = 30,
        repeats_replace: bool = False,
        closes_after_s: float = 0.5,
        control_port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bot_id = bot_id
        self.secret = secret
        self.per_minute = per_minute
        self.repeats_replace = repeats_replace
        self.closes_after_s = closes_after_s
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        self._skew_s = 0.0
        self.received: list[Received] = []
        self.clients: list[Client] = []
        self.owner: Client | None = None
        self.questions: dict[str, Question] = {}
        self.bubbles: dict[str, Bubble] = {}
        self.order: list[str] = []
        self.pushes: list[Push] = []
        self.welcomes: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        self.injected: list[Question] = []
        self.known: dict[str, int] = {}
        self.media: dict[str, Served] = {}
        self.moved: dict[str, str] = {}
        self.fetched: list[str] = []
        self.uploads = Uploads(self.now)
        self._messages: dict[str, deque[float]] = {}
        self._failures: list[dict[str, Any]] = []
        self._delays: list[dict[str, Any]] = []
        self._under_way: Counter[str] = Counter()
        self._acknowledged: Counter[str] = Counter()
        # Called with the command of each frame, before it is carried out.
        self.on_frame: Callable[[str], object] | None = None
        self._revoked = False
        self._silent = False
        self._unknown_allowed = False
        self.max_under_way = 0
        # Called with each frame and "arrived" (nothing done yet) or "processed" (nothing answered yet).
        self.on_request: Callable[[Received, str], None] | None = None
        # Called when a subscription was answered, before anything else is sent on its connection.
        self.on_subscribed: Callable[[], None] | None = None
        self._control = None if control_port is None else HttpServer(self._handle_control, control_port)
        self._media_server = HttpServer(self._handle_media, 0)
        self.server = WebSocketServer(self._handle, tls)

    def __enter__(self) -> FakeWeCom:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        for client in list(self.clients):
            client.gone.set()
        self.server.__exit__()
        self._media_server.close()
        if self._control is not None:
            self._control.close()

    @property
    def url(self) -> str:
        """What `wecom.websocket_url` must say."""
        return self.server.url

    def now(self) -> float:
        """The clock of the platform."""
        return time.monotonic() + self._skew_s

    # --- what tests look at

    def wait_for(self, condition: Callable[[], T], timeout: float = 15.0) -> T:
        """Wait until `condition()` is true, looked at after each frame; its value."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout} s; {self._story()}")
                self._changed.wait(min(left, 0.1))

    def wait_ready(self, timeout: float = 15.0) -> Client:
        """Wait until somebody is subscribed."""
        return self.wait_for(lambda: self.owner, timeout)  # type: ignore[return-value]

    def wait_answers(self, count: int, timeout: float = 15.0) -> list[str]:
        """Wait until that many answers and pushes are complete; what people see, in order."""
        return self.wait_for(lambda: len(self.texts()) >= count and self.texts(), timeout) or []

    def wait_count(self, count: int, timeout: float = 10.0) -> int:
        """Wait for that many, not longer than the timeout; how many there are."""
        with contextlib.suppress(AssertionError):
            self.wait_answers(count, timeout)
        return len(self.texts())

    def texts(self, conversation: str | None = None) -> list[str]:
        """The texts of finished bubbles and of pushes, in the order in which they were completed."""
        with self._lock:
            found = []
            for name in self.order:
                kind, _, key = name.partition(":")
                if kind == "push":
                    push = self.pushes[int(key)]
                    place, text = push.conversation, push.text
                else:
                    place, text = self.bubbles[key].conversation, self.bubbles[key].text
                if conversation in (None, place):
                    found.append(text)
            return found

    def frames(self, cmd: str) -> list[Received]:
        """The frames with one command."""
        with self._lock:
            return [one for one in self.received if one.cmd == cmd]

    def answers_sent(self, cmd: str) -> int:
        """How many frames with one command were acknowledged."""
        with self._lock:
            return self._acknowledged[cmd]

    def state(self) -> dict[str, object]:
        """Everything recorded, as JSON values."""
        with self._lock:
            return {
                "received": [jsonable(one) for one in self.received],
                "texts": self.texts(),
                "pushes": [jsonable(one) for one in self.pushes],
                "bubbles": {key: jsonable(one) for key, one in self.bubbles.items()},
                "welcomes": [list(one) for one in self.welcomes],
                "complaints": list(self.complaints),
                "connections": len(self.clients),
                "subscribed": self.owner is not None,
            }

    def reset_record(self) -> None:
        """Forget what was recorded; questions and streams stay."""
        with self._lock:
            self.received.clear()
            self.complaints.clear()

    def _story(self) -> str:
        last = [f"{one.cmd} {json.dumps(one.body)[:160]} -> {one.code}" for one in self.received[-8:]]
        return (
            f"{len(self.texts())} texts, last frames: " + " | ".join(last) + f" complaints {self.complaints}"
        )

    # --- what users do

    def say(
        self,
        text: str | None = None,
        user: str = "zhangsan",
        group: str | None = None,
        *,
        msgid: str | None = None,
        req_id: str | None = None,
        **fields: Any,
    ) -> Question:
        """A person writes; `fields` replace parts of the body. The bot knows the conversation from now on."""
        number = next(self._numbers)
        body: dict[str, Any] = {
            "msgid": msgid or f"msg-{number}",
            "aibotid": self.bot_id,
            "chattype": "single" if group is None else "group",
            "from": {"userid": user},
            "msgtype": "text",
            "response_url": "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=X",
        }
        if group is not None:
            body["chatid"] = group
        if text is not None:
            body["text"] = {"content": text}
        body.update(fields)
        conversation = group or user
        question = Question(req_id or f"REQ{number}", conversation, "message", self.now(), str(body["msgid"]))
        with self._lock:
            self.known[conversation] = 1 if group is None else 2
            self.questions[question.req_id] = question
            self.injected.append(question)
        question.client = self._push_frame("aibot_msg_callback", question.req_id, body)
        return question

    def event(
        self, eventtype: str, user: str | None = "zhangsan", group: str | None = None, **event: Any
    ) -> Question:
        """Something happens that is no message."""
        number = next(self._numbers)
        body: dict[str, Any] = {
            "msgid": f"event-{number}",
            "create_time": int(time.time()),
            "aibotid": self.bot_id,
            "msgtype": "event",
            "event": {"eventtype": eventtype, **event},
        }
        if user is not None:
            body.update(chattype="single" if group is None else "group")
            body["from"] = {"userid": user}
        if group is not None:
            body["chatid"] = group
        question = Question(f"EVT{number}", group or user or "", eventtype, self.now(), str(body["msgid"]))
        with self._lock:
            self.questions[question.req_id] = question
        question.client = self._push_frame("aibot_event_callback", question.req_id, body)
        return question

    def raw(self, data: str | bytes) -> None:
        """Send anything to the subscribed client."""
        client = self.wait_ready()
        client.connection.send(data)

    def kick(self) -> None:
        """Another client takes the robot, elsewhere: ours is told and closed a little later."""
        with self._lock:
            client, self.owner = self.owner, None
        if client is not None:
            self._displace(client)

    takeover = kick

    def add_media(
        self,
        content: bytes,
        name: str,
        key: str,
        content_type: str = "application/octet-stream",
        *,
        chunked: bool = False,
        status: int = 200,
    ) -> str:
        """Serve `content` as it is, which should be encrypted; its address."""
        with self._lock:
            self.media[f"/media/{key}"] = Served(content, name, content_type, chunked, status)
        return self._media_address(key)

    def add_moved(self, key: str, target: str) -> str:
        """Answer with a redirect; its address."""
        with self._lock:
            self.moved[f"/media/{key}"] = target
        return self._media_address(key)

    def _media_address(self, key: str) -> str:
        return f"http://127.0.0.1:{self._media_server.port}/media/{key}"

    # --- faults

    def fail(
        self, cmd: str, code: int, errmsg: str = "refused", times: int = 1, skip: int = 0, **where: Any
    ) -> None:
        """The next requests with this command are answered with a code and not carried out.

        `where`: finish=True or False narrows stream frames.
        """
        with self._lock:
            self._failures.append(
                {"cmd": cmd, "code": code, "errmsg": errmsg, "times": times, "skip": skip, **where}
            )

    def delay(
        self,
        cmd: str,
        seconds: float = 0.0,
        times: int = 1,
        *,
        lost: bool = False,
        gate: threading.Event | None = None,
        conversation: str | None = None,
        **where: Any,
    ) -> None:
        """The answers to the next requests come late, when `gate` opens, or never; the requests are carried out."""
        with self._lock:
            self._delays.append(
                {
                    "cmd": cmd,
                    "seconds": seconds,
                    "times": times,
                    "lost": lost,
                    "gate": gate,
                    "conversation": conversation,
                    **where,
                }
            )

    def clear_faults(self) -> None:
        """Forget what `fail` and `delay` ordered."""
        with self._lock:
            self._failures.clear()
            self._delays.clear()

    def silence(self) -> None:
        """Answer nothing from now on; frames are read and forgotten."""
        self._silent = True

    def speak(self) -> None:
        """Answer again."""
        self._silent = False

    def revoke(self) -> None:
        """The secret is wrong from now on."""
        self._revoked = True

    def reinstate(self) -> None:
        """The secret is right again."""
        self._revoked = False

    def allow_unknown(self) -> None:
        """Push to conversations that never wrote."""
        self._unknown_allowed = True

    def advance(self, seconds: float) -> None:
        """Move the platform's clock."""
        self._skew_s += seconds

    def refuse_next(self, status: int, times: int = 1) -> None:
        """The next handshakes are answered with an HTTP status."""
        self.server.refuse_next(status, times=times)

    def drop(self) -> None:
        """Reset every connection."""
        with self._lock:
            clients, self.owner = list(self.clients), None
        for client in clients:
            client.reset()

    def close_all(self, code: int = 1001, reason: str = "going away") -> None:
        """Close every connection politely."""
        with self._lock:
            clients, self.owner = list(self.clients), None
        for client in clients:
            client.connection.close(code, reason)
            client.gone.set()

    def forget_subscription(self) -> None:
        """The server no longer knows the connection, which stays open."""
        with self._lock:
            if self.owner is not None:
                self.owner.subscribed = False
            self.owner = None

    def stall(self) -> None:
        """As `silence`."""
        self.silence()

    # --- the connection

    def _handle(self, connection: ServerConnection) -> None:
        with self._lock:
            client = Client(len(self.clients) + 1, connection)
            self.clients.append(client)
            self._changed.notify_all()
        try:
            while not client.gone.is_set():
                # Looked at in slices: only this thread may reset the connection, or the kernel would keep it open.
                if not connection._buffer and not select.select([connection.sock], [], [], LOOK_S)[0]:
                    continue
                data = connection.receive(WAIT_S)
                if data is None:
                    return
                self._take(client, data)
            if client.is_reset:
                connection.reset()
        finally:
            with self._lock:
                client.ended = True
                if self.owner is client:
                    self.owner = None
                self._changed.notify_all()

    def _take(self, client: Client, data: str | bytes) -> None:
        frame = json.loads(data)
        cmd, req_id = frame["cmd"], frame["headers"]["req_id"]
        body = frame.get("body") or {}
        received = Received(time.monotonic(), client.number, cmd, req_id, _in_short(body))
        if isinstance(data, bytes):
            self.complaints.append("binary message")
        if len(req_id.encode()) > 128:
            self.complaints.append(f"long req_id {req_id}")
        if self.on_request is not None:
            self.on_request(received, "arrived")
        with self._lock:
            client.frames += 1
            self.received.append(received)
            if self._silent:
                self._changed.notify_all()
                return
            self._under_way[req_id] += 1
            self.max_under_way = max(self.max_under_way, self._under_way[req_id])
            if self._under_way[req_id] > 1:
                self.complaints.append(f"two frames of {req_id} at once")
            if self.on_frame is not None:
                self.on_frame(cmd)
            answer = self._failure(cmd, body) or self._run(client, cmd, req_id, body)
            received.code = answer["errcode"]
            delay = self._delayed(cmd, req_id, body)
            self._changed.notify_all()
        if self.on_request is not None:
            self.on_request(received, "processed")
        if delay is None:
            self._answer(client, cmd, req_id, answer)
            if cmd == "aibot_subscribe" and client.subscribed and self.on_subscribed is not None:
                self.on_subscribed()
        elif delay["lost"]:
            with self._lock:
                self._under_way[req_id] -= 1
        else:
            late = (delay, client, cmd, req_id, answer)
            threading.Thread(target=self._answer_late, args=late, daemon=True).start()

    def _answer_late(
        self, delay: Mapping[str, Any], client: Client, cmd: str, req_id: str, answer: dict[str, Any]
    ) -> None:
        gate = delay["gate"]
        if gate is None:
            self.server.released.wait(delay["seconds"])
        else:
            gate.wait(WAIT_S)
        self._answer(client, cmd, req_id, answer)

    def _answer(self, client: Client, cmd: str, req_id: str, answer: dict[str, Any]) -> None:
        with self._lock:
            self._under_way[req_id] -= 1
        with contextlib.suppress(OSError):
            client.connection.send(json.dumps({"headers": {"req_id": req_id}, **answer}))
        with self._changed:
            self._acknowledged[cmd] += 1
            self._changed.notify_all()

    def _push_frame(self, cmd: str, req_id: str, body: Mapping[str, Any]) -> int | None:
        with self._lock:
            client = self.owner
        if client is None:
            return None  # nobody is subscribed: the real platform loses it, too
        with contextlib.suppress(OSError):
            client.connection.send(
                json.dumps({"cmd": cmd, "headers": {"req_id": req_id}, "body": body}, ensure_ascii=False)
            )
        return client.number

    def _displace(self, client: Client) -> None:
        body = {
            "msgid": f"gone-{next(self._numbers)}",
            "create_time": int(time.time()),
            "aibotid": self.bot_id,
            "msgtype": "event",
            "event": {"eventtype": "disconnected_event"},
        }
        frame = {"cmd": "aibot_event_callback", "headers": {"req_id": "gone"}, "body": body}
        with contextlib.suppress(OSError):
            client.connection.send(json.dumps(frame))

        timer = threading.Timer(self.closes_after_s, client.reset)
        timer.daemon = True
        timer.start()

    def _failure(self, cmd: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        for one in self._failures:
            if one["cmd"] != cmd or not _fits(one, body):
                continue
            if one["skip"] > 0:
                one["skip"] -= 1
                return None
            one["times"] -= 1
            if one["times"] <= 0:
                self._failures.remove(one)
            return _ack(one["code"], one["errmsg"])
        return None

    def _delayed(self, cmd: str, req_id: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        question = self.questions.get(req_id)
        for one in self._delays:
            if one["cmd"] != cmd or not _fits(one, body):
                continue
            if one["conversation"] and (question is None or question.conversation != one["conversation"]):
                continue
            one["times"] -= 1
            if one["times"] <= 0:
                self._delays.remove(one)
            return one
        return None

    # --- the protocol

    def _run(self, client: Client, cmd: str, req_id: str, body: dict[str, Any]) -> dict[str, Any]:
        if cmd == "aibot_subscribe":
            return self._subscribe(client, body)
        if not client.subscribed:
            return _ack(846609, "aibot websocket not subscribed")
        if cmd == "ping":
            return _ack(0)
        if cmd == "aibot_respond_msg":
            return self._respond(req_id, body)
        if cmd == "aibot_send_msg":
            return self._send(body)
        if cmd in CARD_CMDS:
            return self._respond_event(cmd, req_id, body)
        if cmd in self.uploads.commands:
            code, answer = self.uploads.take(cmd, body)
            return {**_ack(code, "ok" if code == 0 else "refused"), **({"body": answer} if answer else {})}
        self.complaints.append(f"unknown command {cmd}")
        return _ack(40058, "invalid request parameter")

    def _subscribe(self, client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._revoked or body.get("bot_id") != self.bot_id or body.get("secret") != self.secret:
            return _ack(
                853000,
                "invalid bot_id or secret, hint: [1773643642077182456917975], from ip: 10.1.2.3, "
                "more info at https://open.work.weixin.qq.com/devtool/query?e=853000",
            )
        if client.frames != 1:
            self.complaints.append("something was sent before the subscription")
        previous, self.owner = self.owner, client
        client.subscribed = True
        if previous is not None and previous is not client:
            self._displace(previous)
        return _ack(0)

    def _respond(self, req_id: str, body: dict[str, Any]) -> dict[str, Any]:
        question = self.questions.get(req_id)
        if question is None or question.kind != "message" or self.now() - question.born > 86_400:
            return _ack(846605, "invalid req_id")
        msgtype = body.get("msgtype")
        if msgtype not in MESSAGE_TYPES:
            return _ack(40008, "invalid message type")
        if question.answered:
            return _ack(846606, "request already responded, cannot respond again")
        if msgtype != "stream":
            # Possible, but the last word of this request, where more was to be said.
            self.complaints.append(f"{msgtype} as a reply")
            question.answered = True
            return self._count(question.conversation) or _ack(0)
        return self._stream(question, body.get("stream") or {})

    def _stream(self, question: Question, stream: dict[str, Any]) -> dict[str, Any]:
        stream_id, content = str(stream.get("id") or ""), str(stream.get("content") or "")
        finish = stream.get("finish")
        if not isinstance(finish, bool) or not stream_id:
            return _ack(40058, "invalid request parameter")
        if len(content.encode()) > MAX_BYTES:
            return _ack(45002, "content too long")
        bubble = self.bubbles.get(stream_id)
        if bubble is None:
            refusal = self._count(question.conversation)
            if refusal is not None:
                return refusal
            bubble = Bubble(stream_id, question.req_id, question.conversation, self.now())
            self.bubbles[stream_id] = bubble
        elif bubble.finished and not self.repeats_replace:
            return _ack(846606, "request already responded, cannot respond again")
        elif self.now() - bubble.born > STREAM_LIFE_S:
            return _ack(846608, "stream message update expired (>10 minutes), cannot update")
        if bubble.req_id != question.req_id:
            self.complaints.append(f"stream {stream_id} under two requests")
        bubble.frames.append(content)
        if finish and not bubble.finished:
            bubble.finished = True
            self.order.append(f"bubble:{stream_id}")
        return _ack(0)

    def _send(self, body: dict[str, Any]) -> dict[str, Any]:
        chat = str(body.get("chatid") or "")
        msgtype = str(body.get("msgtype") or "")
        if msgtype not in MESSAGE_TYPES or msgtype == "stream":
            return _ack(40008, "invalid message type")
        if chat not in self.known and not self._unknown_allowed:
            return _ack(93006, "invalid chatid")
        chat_type = body.get("chat_type")
        if chat_type not in (None, 0, self.known.get(chat, chat_type)):
            return _ack(93006, "invalid chatid")
        held = body.get(msgtype) or {}
        content = str(held.get("content") or "") if msgtype == "markdown" else ""
        if len(content.encode()) > MAX_BYTES:
            return _ack(45002, "content too long")
        file = None
        if msgtype in MEDIA_TYPES:
            file = self.uploads.find(str(held.get("media_id") or ""), msgtype)
            if file is None:
                return _ack(40007, "invalid media_id")
        refusal = self._count(chat)
        if refusal is not None:
            return refusal
        self.order.append(f"push:{len(self.pushes)}")
        self.pushes.append(Push(time.monotonic(), chat, chat_type, content, file))
        return _ack(0)

    def _respond_event(self, cmd: str, req_id: str, body: dict[str, Any]) -> dict[str, Any]:
        question = self.questions.get(req_id)
        wanted = "enter_chat" if cmd == CARD_CMDS[0] else "template_card_event"
        if question is None or question.kind != wanted or question.answered:
            return _ack(846605, "invalid req_id")
        if self.now() - question.born > 5:
            return _ack(846605, "invalid req_id")
        question.answered = True
        if cmd == CARD_CMDS[0]:
            self.welcomes.append((question.conversation, str((body.get("text") or {}).get("content") or "")))
        return _ack(0)

    def _count(self, conversation: str) -> dict[str, Any] | None:
        now = self.now()
        moments = self._messages.setdefault(conversation, deque())
        while moments and moments[0] <= now - 60:
            moments.popleft()
        if len(moments) >= self.per_minute:
            return _ack(846607, "aibot send msg frequency limit exceeded")
        moments.append(now)
        return None

    # --- media and control

    def _handle_media(self, call: Call) -> None:
        with self._lock:
            self.fetched.append(call.path)
            found = self.media.get(call.path)
            target = self.moved.get(call.path)
        if target is not None:
            call.reply(302, b"", headers=(("Location", target),))
            return
        if found is None:
            call.reply(404, b"")
            return
        headers = (("Content-Disposition", f"attachment; filename*=UTF-8''{found.name}"),)
        if found.chunked:
            call.send(call.head(found.status, found.content_type, headers=headers))
            for start in range(0, len(found.content), PIECE):
                call.chunk(found.content[start : start + PIECE])
            call.chunk(b"")
        else:
            call.reply(found.status, found.content, found.content_type, headers=headers)

    def address(self) -> str:
        """Where it listens, for a controlling process."""
        return self.url

    def _handle_control(self, call: Call) -> None:
        name = call.path[len("/_control/") :]
        if not call.path.startswith("/_control/") or name not in CONTROLS:
            call.reply(404, b"{}")
            return
        arguments = json.loads(call.body or b"{}")
        try:
            result = getattr(self, name)(**arguments)
        except (AssertionError, TypeError, KeyError) as error:
            call.reply(400, json.dumps({"error": str(error)}).encode())
            return
        call.reply(200, json.dumps({"result": jsonable(result)}).encode())


def _ack(code: int, errmsg: str = "ok") -> dict[str, Any]:
    return {"errcode": code, "errmsg": errmsg}


def _in_short(body: dict[str, Any]) -> dict[str, Any]:
    """A body without the bytes of a file, for the record."""
    data = body.get("base64_data")
    return body if data is None else {**body, "base64_data": f"{len(data)} characters"}


def _fits(order: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    if "finish" not in order:
        return True
    return bool((body.get("stream") or {}).get("finish") is order["finish"])


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="of the controls")
    arguments = parser.parse_args()
    fake = FakeWeCom(control_port=arguments.port)
    assert fake._control is not None
    serve_until_ended(fake._control.port, fake.close)


if __name__ == "__main__":
    main()
