"""Webhook mode over real sockets: only what the platform signed comes in, and 200 means that it is on disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from loong_channels import aes, faults
from loong_channels.contract import WebhookRequest
from loong_channels.feishu.events import EventReader
from loong_channels.feishu.hook_server import HookLimits
from loong_channels.feishu.receiving import EventDesk
from loong_channels.feishu.webhook import Webhook, WebhookSettings, decrypt_event
from loong_channels.waiting import StopToken
from tests.channels.feishu_inbound_rig import (
    APP,
    BOT,
    KEY,
    NOW_S,
    Receiving,
    StubApi,
    encrypted,
    message,
    signed,
)
from tests.channels.telegram_rig import RecordingHost

pytest.importorskip("cryptography")

TOKEN = "v-token"
SECRETS = {"mode": "webhook", "verification_token": TOKEN, "encrypt_key": KEY}


def pushed(number: int = 1, **fields: Any) -> dict[str, Any]:
    return message(number, **{"token": TOKEN, **fields})


class Hook:
    """A webhook that listens, and a client for it."""

    def __init__(self, host: RecordingHost, port: int, stop: StopToken, thread: threading.Thread) -> None:
        self.host = host
        self.port = port
        self.stop = stop
        self.thread = thread

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back until the connection ends."""
        with self.connect() as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
            return rest_of(sock)

    def post(
        self, body: bytes, headers: dict[str, str] | None = None, path: str = "/feishu/events"
    ) -> tuple[int, Any]:
        fields = {"Host": "h", "Content-Type": "application/json", "Content-Length": str(len(body))}
        fields.update(headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        answer = self.raw(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        status, _, content = answer.partition(b"\r\n\r\n")
        return int(status.split()[1]), json.loads(content)

    def deliver(self, event: object, **how: Any) -> tuple[int, Any]:
        """As the platform does: encrypted, signed."""
        body = encrypted(event)
        return self.post(body, signed(body, **how))


def rest_of(sock: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


@contextlib.contextmanager
def hook(
    host: RecordingHost | None = None, limits: HookLimits | None = None, skew_s: int = 300
) -> Iterator[Hook]:
    host = host or RecordingHost()
    settings = WebhookSettings(("127.0.0.1", 0), "/feishu/events", TOKEN, KEY, skew_s)
    desk = EventDesk(EventReader("work", APP, BOT), host)
    webhook = Webhook(
        settings, host, desk.take, identity="loong-bot", now_s=lambda: float(NOW_S), limits=limits
    )
    stop = StopToken()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            webhook.run(stop)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        host.wait_for(lambda: host.identities)
        port = next(details["port"] for name, details in host.notes if name == "webhook_listens")
        assert isinstance(port, int)
        yield Hook(host, port, stop, thread)
    finally:
        stop.set("over")
        thread.join(2)
        alive = thread.is_alive()
        assert not alive
    assert errors == []


def reasons(host: RecordingHost) -> list[object]:
    return [details["reason"] for name, details in host.notes if name == "webhook_refused"]


def test_published_vectors() -> None:
    assert decrypt_event(KEY, "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=") == b"hello world"
    assert decrypt_event(KEY, "AAECAwQFBgcICQoLDA0ODx9boKUoUEfLsblbVEKm75s=") == b"hello world"
    plain = aes.decrypt_cbc(bytes(range(32)), bytes(16), bytes.fromhex("8ea2b7ca516745bfeafc49904b496089"))
    assert plain.hex() == "00112233445566778899aabbccddeeff"
    signature = signed(b'{"encrypt":"abc"}')["X-Lark-Signature"]
    for padding in (b"\x00", b"\x11", b"\x01\x02", b"\x03\x01\x03"):
        sealed = json.loads(encrypted(b"x" * (32 - len(padding)) + padding))["encrypt"]
        with pytest.raises(ValueError, match="padding"):
            decrypt_event(KEY, sealed)
    assert signature == "c4da5213ba4323331fe07eaf45256e2aa2bc81964de98280c93d146b79930af3"


def test_ready_once_it_listens_and_an_event_is_stored_before_it_is_answered() -> None:
    with hook() as it:
        assert it.host.identities == ["loong-bot"]
        assert it.deliver(pushed(1)) == (200, {})
        assert it.host.texts == ["m1"]
        assert it.host.heard_count == 1
        # The platform's own retry is offered again; the store knows it.
        assert it.deliver(pushed(1)) == (200, {})
        assert [inbound.event_id for inbound in it.host.messages] == ["ev-1", "ev-1"]


def test_a_signed_body_that_is_not_encrypted_is_taken() -> None:
    with hook() as it:
        body = json.dumps(pushed(1)).encode()
        assert it.post(body, signed(body)) == (200, {})
        assert it.host.texts == ["m1"]


@pytest.mark.parametrize("refusal", [faults.Busy("full"), faults.NotStored("no room")])
def test_what_is_not_taken_is_answered_503_with_a_time_and_taken_later(refusal: faults.Fault) -> None:
    with hook() as it:
        it.host.refusals = [refusal]
        body = encrypted(pushed(1))
        head = "".join(f"{k}: {v}\r\n" for k, v in signed(body).items())
        request = (
            f"POST /feishu/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{head}\r\n"
        ).encode() + body
        answer = it.raw(request)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 15\r\n" in answer
        assert it.host.messages == []
        assert it.raw(request).startswith(b"HTTP/1.1 200 ")
        assert it.host.texts == ["m1"]


def test_a_bug_behind_a_delivery_is_answered_500_and_the_listener_lives() -> None:
    with hook() as it:
        it.host.refusals = [RuntimeError("a bug")]
        assert it.deliver(pushed(1))[0] == 500
        assert it.deliver(pushed(2)) == (200, {})
        assert reasons(it.host) == ["failed:RuntimeError"]


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_the_challenge_is_answered_in_clear(is_signed: bool, is_encrypted: bool) -> None:
    challenge = {"challenge": 'ajls"384', "token": TOKEN, "type": "url_verification"}
    body = encrypted(challenge) if is_encrypted else json.dumps(challenge).encode()
    with hook() as it:
        assert it.post(body, signed(body) if is_signed else None) == (200, {"challenge": 'ajls"384'})
        assert it.host.messages == []


@pytest.mark.parametrize(
    "challenge",
    [
        {"challenge": "x", "token": "wrong", "type": "url_verification"},
        {"challenge": "x", "type": "url_verification"},
        {"challenge": "x", "token": 5, "type": "url_verification"},
        {"challenge": ["x"], "token": TOKEN, "type": "url_verification"},
        {"challenge": "x" * 2000, "token": TOKEN, "type": "url_verification"},
        {"challenge": "x", "header": {"token": "wrong"}, "token": TOKEN, "type": "url_verification"},
        {"challenge": "x", "token": "\ud800", "type": "url_verification"},
    ],
)
def test_a_challenge_without_the_token_is_not_echoed(challenge: object) -> None:
    with hook() as it:
        for body in (json.dumps(challenge).encode(), encrypted(challenge)):
            assert it.post(body) == (401, {})


def test_what_is_not_signed_or_signed_wrongly_is_refused_alike() -> None:
    body = encrypted(pushed(1))
    good = signed(body)
    wrong: list[dict[str, str]] = [
        {},
        signed(body, key="other key"),
        {**good, "X-Lark-Signature": good["X-Lark-Signature"].upper()},
        {**good, "X-Lark-Signature": good["X-Lark-Signature"][:-1]},
        {**good, "X-Lark-Signature": "é" * 64},
        {**good, "X-Lark-Signature": ""},
        {**good, "X-Lark-Request-Nonce": "other"},
        {**good, "X-Lark-Request-Timestamp": str(NOW_S + 1)},
        {k: v for k, v in good.items() if k != "X-Lark-Signature"},
        {k: v for k, v in good.items() if k != "X-Lark-Request-Nonce"},
        {k: v for k, v in good.items() if k != "X-Lark-Request-Timestamp"},
        {"X-Lark-Signature": good["X-Lark-Signature"]},
        signed(body, at_s=NOW_S - 301),
        signed(body, at_s=NOW_S + 301),
        signed(body, at_s=-NOW_S),
    ]
    with hook() as it:
        for headers in wrong:
            assert it.post(body, headers) == (401, {}), headers
        altered = body.replace(b"A", b"B", 1)
        assert it.post(altered, good) == (401, {})
        assert it.post(json.dumps(pushed(1)).encode()) == (401, {})
        assert it.host.messages == []
        assert it.host.heard_count == 0
        # Each reason is told once in a while, however often it comes.
        assert len(reasons(it.host)) == len(set(reasons(it.host)))
        lower = {name.lower(): value for name, value in good.items()}
        assert it.post(body, lower) == (200, {})
        for seconds in (-300, 300):
            assert it.deliver(pushed(2), at_s=NOW_S + seconds) == (200, {})


def test_the_window_for_replays_is_a_setting() -> None:
    with hook(skew_s=3600) as it:
        assert it.deliver(pushed(1), at_s=NOW_S - 3600) == (200, {})
        assert it.deliver(pushed(1), at_s=NOW_S - 3601) == (401, {})


def broken_bodies() -> list[bytes]:
    whole = json.loads(encrypted(pushed(1)))["encrypt"]
    return [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 60_000,
        b'{"encrypt":5}',
        b'{"encrypt":""}',
        b'{"encrypt":"***"}',
        json.dumps({"encrypt": whole[:-3]}).encode(),
        json.dumps({"encrypt": whole[:20]}).encode(),
        json.dumps({"encrypt": whole[:40]}).encode(),
        encrypted(b"x" * 32),
        encrypted(b"x" * 15 + b"\x00"),
        encrypted(b"x" * 15 + b"\x11"),
        encrypted(b"x" * 14 + b"\x01\x02"),
        encrypted(b"\x10" * 16),
        encrypted([1]),
        encrypted(pushed(1), key="another key"),
    ]


@pytest.mark.parametrize("number", range(len(broken_bodies())))
def test_what_cannot_be_read_is_refused_and_tells_a_stranger_nothing(number: int) -> None:
    body = broken_bodies()[number]
    with hook() as it:
        assert it.post(body) == (401, {})
        status, content = it.post(body, signed(body))
        # The platform itself may learn that its body was bad.
        assert (status in (400, 401), content) == (True, {})
        assert it.host.messages == []
        assert it.deliver(pushed(1)) == (200, {})


def test_the_token_of_an_event_is_checked() -> None:
    with hook() as it:
        for token in ("", "wrong", None, 5, TOKEN + "x"):
            assert it.deliver(pushed(1, token=token)) == (401, {}), token
        old = {"uuid": "u", "token": TOKEN, "type": "event_callback", "event": {"type": "message"}}
        assert it.deliver(old) == (200, {})
        assert it.deliver({**old, "token": "wrong"}) == (401, {})
        assert it.host.messages == []


def test_events_that_are_no_messages_are_answered_200() -> None:
    with hook() as it:
        assert it.deliver(pushed(1, event_type="of.the_future")) == (200, {})
        assert it.deliver(pushed(1, app_id="cli_other")) == (200, {})
        assert it.host.messages == []
        assert [d["reason"] for n, d in it.host.notes if n == "event_skipped"] == [
            "of.the_future",
            "foreign_app",
        ]


HEAD = "Host: h\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (f"GET /feishu/events HTTP/1.1\r\n{HEAD}\r\n", 405),
        (f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}", 404),
        (f"POST /feishu/events/ HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}", 404),
        (f"POST /feishu/%65vents HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}", 404),
        (f"POST http://h/feishu/events HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}\r\n", 411),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (
            f"POST /feishu/events HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{{}}",
            411,
        ),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length: +2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length: 2, 2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length: 262145\r\n\r\n", 413),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length : 2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD} folded\r\nContent-Length: 2\r\n\r\n{{}}", 400),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}X: a\nY: b\r\n\r\n", 400),
        ("POST /feishu/events HTTP/1.1\nHost: h\n\n", 400),
        (
            "POST /feishu/events HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            400,
        ),
        (
            "POST /feishu/events HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
            415,
        ),
        (
            f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}",
            415,
        ),
        (f"POST /feishu/events HTTP/1.1\r\n{HEAD}X-Lark-Signature: a\r\nx-lark-signature: b\r\n\r\n", 400),
        ("POST /feishu/events HTTP/2.0\r\n\r\n", 505),
        ("POST  /feishu/events HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01\x02", 400),
        (f"POST /{'a' * 5000} HTTP/1.1\r\n\r\n", 414),
        ("POST /" + "a" * 5000, 414),
        (f"POST /feishu/events HTTP/1.1\r\nX: {'a' * 20000}", 431),
        ("POST /feishu/events HTTP/1.1\r\n" + "X: a\r\n" * 100 + "\r\n", 431),
    ],
)
def test_strict_http(request_text: str, status: int) -> None:
    with hook() as it:
        answer = it.raw(request_text.encode("latin-1"))
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:80]
        assert b"\r\nConnection: close\r\n" in answer
        assert it.deliver(pushed(1)) == (200, {})


def test_a_query_and_http_1_0_are_fine_and_a_large_body_too() -> None:
    with hook() as it:
        assert it.post(*post_of(pushed(1)), path="/feishu/events?x=1") == (200, {})
        body = encrypted(pushed(2, padding="x" * 48_000))
        assert it.post(body, signed(body)) == (200, {})
        body, headers = post_of(pushed(3))
        head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        old = (
            f"POST /feishu/events HTTP/1.0\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{head}\r\n"
        )
        assert it.raw(old.encode() + body).startswith(b"HTTP/1.1 200 ")
        assert it.host.texts == ["m1", "m2", "m3"]


def post_of(event: object) -> tuple[bytes, dict[str, str]]:
    body = encrypted(event)
    return body, signed(body)


def whole_request(event: object, extra: str = "") -> bytes:
    body, headers = post_of(event)
    head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return (
        f"POST /feishu/events HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n{extra}{head}\r\n".encode()
        + body
    )


def test_a_request_may_come_in_any_pieces_and_waits_for_continue() -> None:
    with hook() as it:
        with it.connect() as sock:
            for byte in whole_request(pushed(1)):
                sock.sendall(bytes([byte]))
            assert rest_of(sock).startswith(b"HTTP/1.1 200 ")
        head, _, body = whole_request(pushed(2), "Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        with it.connect() as sock:
            sock.sendall(head + b"\r\n\r\n")
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
            assert rest_of(sock).startswith(b"HTTP/1.1 200 ")
        assert it.host.texts == ["m1", "m2"]


def test_slow_and_silent_and_vanishing_clients_hold_nobody_up_and_are_ended() -> None:
    with hook(limits=HookLimits(request_s=0.3, linger_s=0.2)) as it:
        silent, slow, gone, deaf = (it.connect() for _ in range(4))
        slow.sendall(b"POST /feishu/events HTTP/1.1\r\n")
        gone.sendall(whole_request(pushed(9))[:-5])
        gone.close()
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert it.deliver(pushed(1)) == (200, {})
        assert rest_of(slow).startswith(b"HTTP/1.1 408 ")
        assert rest_of(silent) == b""
        assert rest_of(deaf).startswith(b"HTTP/1.1 404 ")
        for sock in (silent, slow, deaf):
            sock.close()
        assert it.deliver(pushed(2)) == (200, {})
        assert it.host.texts == ["m1", "m2"]


def test_a_client_that_is_refused_early_can_still_read_why() -> None:
    with hook() as it:
        body = b"x" * 900_000
        for _ in range(20):
            assert it.post(body, {"Content-Type": "text/plain"})[0] == 415
            assert it.post(body, path="/elsewhere")[0] == 404


def test_the_one_that_waited_longest_gives_way_when_there_are_too_many() -> None:
    with hook(limits=HookLimits(connections=4, request_s=60)) as it:
        idle = [it.connect() for _ in range(4)]
        for _ in range(3):
            assert it.deliver(pushed(1)) == (200, {})
        assert rest_of(idle[0]) == b""
        for sock in idle:
            sock.close()
        assert "too_many" in reasons(it.host)


def test_many_deliveries_at_once_are_all_taken() -> None:
    with hook() as it:
        results: list[int] = []

        def send(start: int) -> None:
            for number in range(start, start + 10):
                results.append(it.deliver(pushed(number))[0])

        threads = [threading.Thread(target=send, args=(start,)) for start in range(0, 200, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == [200] * 200
        assert sorted(it.host.texts) == sorted(f"m{n}" for n in range(200))


def test_garbage_does_not_end_the_listener_or_leave_descriptors() -> None:
    rng = random.Random(7)
    seed = whole_request(pushed(1))
    with hook() as it:
        assert it.deliver(pushed(1)) == (200, {})
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(300):
            data = bytearray(seed)
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with it.connect() as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(bytes(data)[: rng.randrange(len(data) + 1)])
                    sock.shutdown(socket.SHUT_WR)
                answer = rest_of(sock)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert it.deliver(pushed(2)) == (200, {})
        assert it.host.texts[-1] == "m2"
        if before:
            deadline = time.monotonic() + 5
            while len(os.listdir("/proc/self/fd")) > before + 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_port_in_use_is_a_fault_with_the_address_and_the_port_is_free_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = Receiving(StubApi(), RecordingHost(), webhook_bind=f"127.0.0.1:{port}", **SECRETS)
        error = run.ended()
        assert isinstance(error, faults.Unreachable)
        assert f"127.0.0.1:{port}" in str(error)
        assert os.strerror(errno.EADDRINUSE).lower() in str(error)
    for _ in range(2):
        host = RecordingHost()
        run = Receiving(StubApi(), host, webhook_bind=f"127.0.0.1:{port}", **SECRETS)
        host.wait_for(lambda host=host: host.identities)
        run.stop.set("over")
        assert run.ended(2) is None


@pytest.mark.parametrize("bind", ["a..b:8080", "203.0.113.7:8080"])
def test_an_address_that_cannot_be_had_is_a_fault(bind: str) -> None:
    error = Receiving(StubApi(), RecordingHost(), webhook_bind=bind, **SECRETS).ended(30)
    assert isinstance(error, faults.Unreachable)
    assert bind in str(error)


def test_an_idle_listener_stops_at_once_with_a_client_connected() -> None:
    with hook() as it:
        sock = it.connect()
        it.stop.set("over")
        it.thread.join(2)
        assert not it.thread.is_alive()
        assert rest_of(sock) == b""
        sock.close()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "feishu.verification_token is missing; configure token or verification_token_env"),
        (
            {"encrypt_key": "k"},
            "feishu.verification_token is missing; configure token or verification_token_env",
        ),
        ({"verification_token": "t"}, "feishu.encrypt_key is missing; configure key or encrypt_key_env"),
        (
            {"verification_token": "t", "encrypt_key": ""},
            "feishu.encrypt_key is missing; configure key or encrypt_key_env",
        ),
    ],
)
def test_webhook_mode_without_its_secrets_is_refused_by_name(settings: dict[str, object], text: str) -> None:
    error = Receiving(StubApi(), RecordingHost(), **{"mode": "webhook", **settings}).ended()
    assert isinstance(error, faults.BadCredentials)
    assert str(error) == text


def test_settings_are_read_and_do_not_show_secrets() -> None:
    found = WebhookSettings.of(
        {**SECRETS, "webhook_bind": "[::1]:9", "webhook_path": "x/y", "webhook_max_skew_s": 9}
    )
    assert (found.bind, found.path, found.max_skew_s) == (("::1", 9), "/x/y", 9)
    assert KEY not in repr(found)
    assert TOKEN not in repr(found)
    usual = WebhookSettings.of(SECRETS)
    assert (usual.bind, usual.path, usual.max_skew_s) == (None, "/feishu/events", 300)
    for bind in ("nothing", "host:", "h:x", "h:70000", "h:-1"):
        with pytest.raises(faults.Refused):
            WebhookSettings.of({**SECRETS, "webhook_bind": bind})
    assert repr(WebhookRequest("POST", {"a": "secret"}, b"secret")) == "WebhookRequest(method='POST')"


def test_a_missing_package_is_named_before_anybody_is_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    host = RecordingHost()
    error = Receiving(StubApi(), host, webhook_bind="127.0.0.1:0", **SECRETS).ended()
    assert isinstance(error, aes.CryptoMissing)
    assert "cryptography" in str(error)
    assert host.identities == []


def test_sizes_that_do_not_fit_are_refused() -> None:
    for key, iv, data in (
        (bytes(16), bytes(16), b""),
        (bytes(32), bytes(8), b""),
        (bytes(32), bytes(16), b"x"),
    ):
        with pytest.raises(ValueError, match="AES-256-CBC"):
            aes.decrypt_cbc(key, iv, data)
