"""Everything that reads input from outside, each as a function from bytes to the name of what became of them.

Only what a decoder documents may come out of it. Any other exception, and whatever breaks its bounds, is a finding.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Any, Callable

from loong_channels.contract import Host, Inbound, WebhookRequest
from loong_channels.decoding import load_json
from loong_channels.faults import Fault
from loong_channels.feishu.answers import interpret as interpret_feishu
from loong_channels.feishu.endpoint import ping_interval_s, read_endpoint
from loong_channels.feishu.events import EventReader
from loong_channels.feishu.events import Skipped as SkippedEvent
from loong_channels.feishu.frames import MAX_KEPT_BYTES, MAX_SETS, Fragments, FrameInvalid, decode, encode
from loong_channels.feishu.identity import BotIdentity
from loong_channels.feishu.receiving import EventDesk
from loong_channels.feishu.webhook import Webhook, WebhookSettings
from loong_channels.net import HttpAnswer
from loong_channels.net_sockets import Watch
from loong_channels.telegram.api import interpret as interpret_telegram
from loong_channels.telegram.updates import BotIdentity as TelegramBot
from loong_channels.telegram.updates import ChatMoved, UpdateReader
from loong_channels.telegram.updates import Skipped as SkippedUpdate
from loong_channels.waiting import Deadline
from loong_channels.web_socket import WebSocket, _Library, _shake_hands
from loong_channels.wecom.answers import fault_of, subscribe_fault
from loong_channels.wecom.events import CallbackReader
from loong_channels.wecom.events import Skipped as SkippedCallback
from loong_channels.wecom.frames import parse
from loong_channels.wecom.lines import AckLines
from loong_gateway.api.http_request import HeadReader, Limits, Refusal
from loong_gateway.api.ws import codec
from loong_gateway.providers.contract import Completion
from loong_gateway.providers.errors import AttemptFailed
from tests.fakes.feishu_sealing import sealed
from tests.gateway.providers.protocol_samples import STREAMED, WHOLE, encoded

from . import corpus
from .mutation import Chance, mutated_bytes, mutated_json, random_bytes

__all__ = ["DECODERS", "Decoder"]

KEY = "test key"
TOKEN = "1234567:AAAAAAAAAA"
NOW_S = 1_736_480_000
MAX_ID = 1024
MAX_MESSAGE_BYTES = 1 << 20
MAX_CLIENT_BYTES = 60_000
# What a reader may say of input that has not the shape it expects. Anything else is a mistake of ours.
SHAPES = ("KeyError", "IndexError", "TypeError", "ValueError", "AttributeError", "OverflowError")

Make = Callable[[Chance], bytes]


class Decoder:
    """One decoder. `make` makes an input, `feed` reads it and names the outcome; both may keep state."""

    def __init__(self, make: Make, feed: Callable[[bytes], str]) -> None:
        self.make = make
        self.feed = feed


def of_bytes(samples: Sequence[bytes], limit_bytes: int = 1 << 16) -> Make:
    """Mutations of byte strings, and noise."""

    def make(chance: Chance) -> bytes:
        data = random_bytes(chance) if chance.random() < 0.1 else mutated_bytes(chance, samples)
        return data[:limit_bytes]

    return make


def of_json(samples: Sequence[object]) -> Make:
    """Mutations of JSON values, of their texts, and noise."""
    texts = [json.dumps(sample, ensure_ascii=False).encode() for sample in samples]
    bytewise = of_bytes(texts)

    def make(chance: Chance) -> bytes:
        return bytewise(chance) if chance.random() < 0.3 else mutated_json(chance, chance.choice(samples))

    return make


def check_inbound(inbound: Inbound) -> str:
    """That a message can be stored and answered."""
    address = inbound.address
    ids = (address.conversation, address.thread, inbound.event_id, inbound.message_id, inbound.sender_id)
    for value in ids:
        assert value is None or (isinstance(value, str) and 0 < len(value) <= MAX_ID), "an id that is none"
    for text in (inbound.text, inbound.sender_name or ""):
        text.encode("utf-8")
    assert inbound.kind in ("direct", "group", "broadcast")
    assert inbound.sent_ms is None or (type(inbound.sent_ms) is int and 0 <= inbound.sent_ms < 1 << 53)
    for attachment in inbound.attachments:
        assert attachment.size_bytes is None or 0 <= attachment.size_bytes < 1 << 53, "a size that is none"
        for name in (attachment.name, attachment.mime, attachment.kind):
            assert name is None or (isinstance(name, str) and len(name) <= MAX_ID)
    json.dumps([dict(one.ref) for one in inbound.attachments] + [dict(inbound.extra)], allow_nan=False)
    return "Inbound"


def named(reading: object) -> str:
    """The name of a reading; raises for a skipped one that shows a mistake."""
    if isinstance(reading, Inbound):
        return check_inbound(reading)
    if isinstance(reading, (SkippedEvent, SkippedCallback, SkippedUpdate)):
        head, _, error = reading.reason.partition(":")
        assert head != "unreadable" or error in SHAPES, reading.reason
        assert len(reading.reason) <= 100
        return "Skipped" if head != "unreadable" else f"Skipped({error})"
    if isinstance(reading, ChatMoved):
        return f"{type(reading).__name__}"
    return type(reading).__name__


class NoHost:
    """A host that takes everything and keeps nothing. `failures` are notes that a decoder failed."""

    def __init__(self) -> None:
        self.taken = 0
        self.failures: list[str] = []

    def accept(self, batch: Sequence[Inbound], cursor: object = None) -> None:  # noqa: ARG002  the contract's
        for inbound in batch:
            check_inbound(inbound)
        self.taken += len(batch)

    def note(self, event: str, **details: object) -> None:
        text = f"{event} {details}"
        text.encode("utf-8", "backslashreplace")
        if "failed:" in text:
            self.failures.append(text)

    def cursor(self, name: str) -> None: ...
    def ready(self, identity: str) -> None: ...
    def heard(self) -> None: ...
    def caught_up(self) -> None: ...
    def moved(self, old_conversation: str, new_conversation: str) -> None: ...


def feishu_frames() -> Decoder:
    """Protobuf frames and the assembly of fragments."""
    moment = [0.0]
    fragments = Fragments(lambda: moment[0])

    def feed(data: bytes) -> str:
        moment[0] += 0.001
        try:
            frame = decode(data)
            assert decode(encode(frame)) == frame, "a frame that changes when it is sent back"
            whole = fragments.add(frame)
        except FrameInvalid:
            return "FrameInvalid"
        finally:
            assert fragments.waiting <= MAX_SETS
            assert fragments.kept_bytes <= MAX_KEPT_BYTES
        return "Fragment" if whole is None else "Whole"

    return Decoder(of_bytes(corpus.FEISHU_FRAMES), feed)


def feishu_events() -> Decoder:
    """Payloads of pushes: JSON, envelope, message, content."""
    reader = EventReader("work", corpus.APP, BotIdentity("ou_bot", "loong-bot"))

    def feed(data: bytes) -> str:
        try:
            envelope = load_json(data)
        except ValueError:
            return "ValueError"
        return named(reader.read(envelope, 1))

    return Decoder(of_json(corpus.FEISHU_EVENTS), feed)


def feishu_answers() -> Decoder:
    """Answers of the REST side, endpoints, and the figures in a pong."""

    def feed(data: bytes) -> str:
        status = (200, 200, 400, 429, 500)[len(data) % 5]
        headers = {
            "x-ogw-ratelimit-reset": data[:20].decode("latin-1"),
            "retry-after": data[20:40].decode("latin-1"),
        }
        answer = HttpAnswer(status, headers, data)
        try:
            body = interpret_feishu("send", answer, ("t-g104example",))
            endpoint = read_endpoint(body)
        except Fault as fault:
            str(fault).encode("utf-8")
            assert len(str(fault)) < 4000
            assert "t-g104example" not in str(fault)
            wait_s = getattr(fault, "retry_after_s", None)
            assert wait_s is None or 0 < wait_s <= 3600, wait_s
            return type(fault).__name__
        assert 1 <= ping_interval_s(body.get("data")) <= 600
        assert abs(endpoint.service_id) < 1 << 31
        return "Endpoint"

    return Decoder(of_json(corpus.FEISHU_ANSWERS), feed)


def webhook_heads() -> Decoder:
    """The request parser that platforms meet."""

    def feed(data: bytes) -> str:
        limits = Limits()
        try:
            head = HeadReader(limits).feed(data)
        except Refusal as refusal:
            assert 400 <= refusal.status < 600
            return f"Refusal({refusal.status})"
        if head is None:
            assert len(data) <= limits.head_bytes + limits.field_bytes + 2
            return "Incomplete"
        assert head.length is None or 0 <= head.length < 10**10
        return "Head"

    return Decoder(of_bytes(corpus.HOOK_HEADS), feed)


def feishu_deliveries() -> Decoder:
    """Signature, decryption and token of deliveries; most are signed well, whatever they hold."""
    host = NoHost()
    reader = EventReader("work", corpus.APP, BotIdentity("ou_bot", "loong-bot"))
    settings = WebhookSettings("v-token", KEY)
    typed: Host = host
    webhook = Webhook(
        settings, typed, EventDesk(reader, typed).take, account="work", identity="x", now_s=lambda: NOW_S
    )
    plain = of_json(corpus.FEISHU_EVENTS)
    bodies = [b'{"encrypt":"P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="}']
    bodies += [json.dumps({"encrypt": sealed(event, KEY)}).encode() for event in corpus.FEISHU_EVENTS[:3]]
    around = of_bytes(bodies)

    def make(chance: Chance) -> bytes:
        way = chance.random()
        if way < 0.4:
            return plain(chance)
        return around(chance) if way < 0.7 else json.dumps({"encrypt": sealed(plain(chance), KEY)}).encode()

    def feed(data: bytes) -> str:
        kind = {"content-type": "application/json"}
        fields = {**kind, "x-lark-request-timestamp": str(NOW_S), "x-lark-request-nonce": "nonce-1"}
        signed = hashlib.sha256(f"{NOW_S}nonce-1{KEY}".encode() + data).hexdigest()
        # One in eight has a signature that is noise, another one has none.
        fields["x-lark-signature"] = signed if len(data) % 8 else data[:64].decode("latin-1")
        answer = webhook.answer(WebhookRequest("POST", fields if len(data) % 8 != 1 else kind, data))
        assert answer.status != 500, host.failures
        assert answer.status in (200, 400, 401)
        json.loads(answer.body)
        return str(answer.status)

    return Decoder(make, feed)


def wecom_frames() -> Decoder:
    """JSON frames: answers to requests, callbacks and events."""
    reader = CallbackReader("work", corpus.BOT_ID)
    lines = AckLines()

    def feed(data: bytes) -> str:
        try:
            text: str | bytes = data.decode("utf-8") if len(data) % 3 else data
        except UnicodeDecodeError:
            text = data
        frame = parse(text)
        if frame is None:
            return "None"
        for judge in (lambda: fault_of("reply", frame), lambda: subscribe_fault(frame)):
            str(judge()).encode("utf-8", "backslashreplace")
        ticket = lines.join("aibot_respond_msg", "line")
        lines.sent(ticket)
        answered = lines.answered(frame)
        lines.leave(ticket)
        if answered is not None:
            return "Answer"
        reading = reader.read(frame, 1)
        assert not str(getattr(reading, "reason", "")).startswith("unreadable"), reading
        return named(reading)

    return Decoder(of_json(corpus.WECOM_FRAMES), feed)


def telegram_updates() -> Decoder:
    """Updates, with everything switched on."""
    bot = TelegramBot(42, "test_bot")
    reader = UpdateReader("work", bot, handle_edits=True, handle_channel_posts=True)

    def feed(data: bytes) -> str:
        try:
            update = HttpAnswer(200, {}, data).json()
        except Fault as fault:
            return type(fault).__name__
        if not isinstance(update, dict):
            return "no object"
        return named(reader.read(update, 1))

    return Decoder(of_json(corpus.TELEGRAM_UPDATES), feed)


def telegram_answers() -> Decoder:
    """Answers of the Bot API."""

    def feed(data: bytes) -> str:
        status = (200, 200, 400, 429, 502)[len(data) % 5]
        answer = HttpAnswer(status, {"retry-after": data[:20].decode("latin-1")}, data)
        try:
            interpret_telegram("sendMessage", answer, TOKEN)
        except Fault as fault:
            str(fault).encode("utf-8", "backslashreplace")
            assert TOKEN not in str(fault)
            wait_s = getattr(fault, "retry_after_s", None)
            assert wait_s is None or 1 <= wait_s <= 86400, wait_s
            return type(fault).__name__
        return "Result"

    return Decoder(of_json(corpus.TELEGRAM_ANSWERS), feed)


class Wire:
    """Stands for the socket below a WebSocket: gives out prepared bytes in uneven pieces, then the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.sent = 0

    def recv(self, size: int) -> bytes:
        size = min(size, 1 + self._at % 7 if self._at % 3 else size)
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def send(self, data: bytes) -> int:
        self.sent += len(data)
        return len(data)

    def send_whole(self, data: bytes, deadline: Deadline) -> None:  # noqa: ARG002  as DuplexSocket's
        self.sent += len(data)

    def read_by(self, deadline: Deadline, *, limit_bytes: int | None = None) -> None: ...
    def settimeout(self, seconds: float | None) -> None: ...
    def shutdown(self, how: int) -> None: ...
    def close(self) -> None: ...

    def gettimeout(self) -> float | None:
        return None


def web_socket_frames() -> Decoder:
    """Frames, fragments, control frames and closes of a WebSocket connection."""

    def feed(data: bytes) -> str:
        wire: Any = Wire(data)
        library: Any = _Library(wire, MAX_MESSAGE_BYTES)
        library.sock, library.connected = wire, True
        socket = WebSocket(library, wire, "peer:1")
        try:
            while True:
                message = socket.receive(1.0)
                assert message is not None
                assert len(message) <= MAX_MESSAGE_BYTES
        except Fault as fault:
            str(fault).encode("utf-8")
            assert wire.sent <= 4 * len(data) + 100, "more is said than was asked"
            return type(fault).__name__

    return Decoder(of_bytes(corpus.WEB_SOCKET_BYTES), feed)


def client_frames() -> Decoder:
    """The same, as the port reads it from its clients: what comes of it may not depend on how it arrives."""

    def read(data: bytes, size: int) -> tuple[list[codec.Event], str]:
        reader = codec.Decoder(max_message_bytes=MAX_CLIENT_BYTES, max_fragments=50)
        events: list[codec.Event] = []
        try:
            for at in range(0, len(data), size):
                reader.feed(data[at : at + size])
                while (event := reader.next_event()) is not None:
                    events.append(event)
        except codec.ProtocolError as error:
            # Its code is one that a server may send.
            codec.close_frame(error.code, error.reason)
            assert error.code in (1002, 1007, 1009)
            return events, f"ProtocolError({error.code})"
        return events, type(events[-1]).__name__ if events else "Nothing"

    def feed(data: bytes) -> str:
        events, outcome = read(data, len(data) or 1)
        for event in events:
            if isinstance(event, codec.Message):
                assert len(event.data) <= MAX_CLIENT_BYTES
            elif isinstance(event, (codec.Ping, codec.Pong)):
                assert len(event.payload) <= 125
        assert read(data, 1 + len(data) // 7) == (events, outcome), "it depends on the pieces"
        return outcome

    return Decoder(of_bytes(corpus.CLIENT_FRAMES), feed)


def web_socket_handshakes() -> Decoder:
    """Answers to the handshake."""

    def feed(data: bytes) -> str:
        wire: Any = Wire(data)
        watch = Watch("peer:1", Deadline(60.0), first_byte_s=60.0, gap_s=60.0)
        try:
            _shake_hands(
                _Library(wire, MAX_MESSAGE_BYTES), "ws://peer:1/x?ticket=s3cr3t", wire, {}, "peer:1", watch
            )
        except Fault as fault:
            assert "s3cr3t" not in str(fault)
            return type(fault).__name__
        return "Connected"

    # The library reads them byte by byte.
    return Decoder(of_bytes(corpus.HANDSHAKES, 4096), feed)


def model_answers() -> Decoder:
    """Whole answers of models, in each protocol."""
    wires = [wire for wire, _ in WHOLE]

    def feed(data: bytes) -> str:
        try:
            answer = wires[len(data) % len(wires)].read(data, model="m", hide=(KEY,))
        except AttemptFailed as failed:
            return failed.failure.kind
        return check_completion(answer)

    return Decoder(of_json([document for _, document in WHOLE]), feed)


def model_streams() -> Decoder:
    """Streamed answers of models, in each protocol; the last byte of an input is the protocol's number."""
    wires = [wire for wire, _ in STREAMED]
    samples = [
        b"".join(encoded(wire, event) for event in events) + bytes([number])
        for number, (wire, events) in enumerate(STREAMED)
    ]

    def feed(data: bytes) -> str:
        stream = wires[(data[-1] if data else 0) % len(wires)].stream(model="m", hide=(KEY,))
        size = 1 + len(data) % 97
        said: list[str] = []
        try:
            for at in range(0, len(data) - 1, size):
                said += stream.feed(data[at : min(at + size, len(data) - 1)])
            last, answer = stream.finish()
        except AttemptFailed as failed:
            return failed.failure.kind
        assert answer.text == "".join([*said, *last]) or not said
        return check_completion(answer)

    return Decoder(of_bytes(samples), feed)


def check_completion(answer: Completion) -> str:
    """That an answer can be used."""
    assert answer.text.strip() or answer.tool_calls, "an answer without anything"
    for call in answer.tool_calls:
        assert call.id and call.name and isinstance(call.arguments, str)
    assert answer.usage is None or all(0 <= n < 1 << 55 for n in answer.usage.counts().values())
    return "Completion"


DECODERS: dict[str, Callable[[], Decoder]] = {
    "feishu-frames": feishu_frames,
    "feishu-events": feishu_events,
    "feishu-answers": feishu_answers,
    "webhook-heads": webhook_heads,
    "feishu-deliveries": feishu_deliveries,
    "wecom-frames": wecom_frames,
    "telegram-updates": telegram_updates,
    "telegram-answers": telegram_answers,
    "web-socket-frames": web_socket_frames,
    "client-frames": client_frames,
    "web-socket-handshakes": web_socket_handshakes,
    "model-answers": model_answers,
    "model-streams": model_streams,
}
if importlib.util.find_spec("cryptography") is None:
    del DECODERS["feishu-deliveries"]
