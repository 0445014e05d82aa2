"""Webhook mode: only what the platform signed comes in, and 200 means that it is on disk."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loong_channels import aes, faults
from loong_channels.contract import WebhookAnswer, WebhookRequest
from loong_channels.feishu.events import EventReader
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
from tests.clocks import HandClock

pytest.importorskip("cryptography")

TOKEN = "v-token"
SECRETS = {"mode": "webhook", "verification_token": TOKEN, "encrypt_key": KEY}


def pushed(number: int = 1, **fields: Any) -> dict[str, Any]:
    return message(number, **{"token": TOKEN, **fields})


class Hook:
    """A webhook that receives, and the requests that come to it."""

    def __init__(self, host: RecordingHost, stop: StopToken, thread: threading.Thread) -> None:
        self.host = host
        self.stop = stop
        self.thread = thread

    def ask(self, body: bytes, headers: dict[str, str] | None = None, method: str = "POST") -> WebhookAnswer:
        fields = {"Content-Type": "application/json", **(headers or {})}
        receiver = self.host.receiver
        assert receiver is not None
        lower = {name.lower(): value for name, value in fields.items()}
        return receiver.answer(WebhookRequest(method, lower, body))

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        answer = self.ask(body, headers)
        return answer.status, json.loads(answer.body)

    def deliver(self, event: object, **how: Any) -> tuple[int, Any]:
        """As the platform does: encrypted, signed."""
        body = encrypted(event)
        return self.post(body, signed(body, **how))


@contextlib.contextmanager
def hook(
    host: RecordingHost | None = None,
    skew_s: int = 300,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Hook]:
    host = host or RecordingHost()
    settings = WebhookSettings(TOKEN, KEY, skew_s)
    desk = EventDesk(EventReader("work", APP, BOT), host)
    webhook = Webhook(
        settings,
        host,
        desk.take,
        identity="loong-bot",
        account="work",
        now_s=lambda: float(NOW_S),
        clock=clock,
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
        yield Hook(host, stop, thread)
    finally:
        stop.set("over")
        thread.join(2)
        alive = thread.is_alive()
        assert not alive
    assert errors == []
    assert host.receiver is None


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
        answer = it.ask(body, signed(body))
        assert (answer.status, answer.fields) == (503, (("Retry-After", "15"),))
        assert it.host.messages == []
        assert it.post(body, signed(body)) == (200, {})
        assert it.host.texts == ["m1"]


def test_a_bug_behind_a_delivery_is_answered_500_and_the_next_is_taken() -> None:
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


def test_what_wrong_secrets_lead_to_is_told_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()

    def warnings() -> list[str]:
        found = [one for one in caplog.records if one.levelname == "WARNING"]
        caplog.clear()
        assert all("check encrypt_key and verification_token" in one.getMessage() for one in found)
        assert all(one.name == "loong.channel.feishu.work" for one in found)
        return [str(one.args[0]) for one in found if one.args]

    body = encrypted(pushed(1))
    with hook(clock=clock.monotonic_s) as it:
        # Whoever signs nothing says nothing about our secrets; nor does a late delivery.
        it.post(body)
        it.post(body, signed(body, at_s=NOW_S - 301))
        it.ask(body, signed(body), method="GET")
        assert warnings() == []
        for _ in range(3):
            it.post(body, signed(body, key="other key"))
            it.deliver(pushed(1, token="wrong"))
        assert warnings() == ["bad_signature", "bad_token"]
        clock.advance(601)
        it.post(body, signed(body, key="other key"))
        assert warnings() == ["bad_signature"]
        clock.advance(601)
        assert it.deliver(pushed(1)) == (200, {})
        clock.advance(599)
        it.post(body, signed(body, key="other key"))
        assert warnings() == []
        clock.advance(2)
        it.post(body, signed(body, key="other key"))
        assert warnings() == ["bad_signature"]


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


@pytest.mark.parametrize(
    ("method", "fields", "status", "reason"),
    [
        ("GET", {}, 405, "another_method"),
        ("POST", {"Content-Type": "text/plain"}, 415, "no_json"),
        ("POST", {"Content-Encoding": "gzip"}, 415, "no_json"),
    ],
)
def test_only_posts_of_plain_json_are_looked_at(
    method: str, fields: dict[str, str], status: int, reason: str
) -> None:
    body = encrypted(pushed(1))
    with hook() as it:
        answer = it.ask(body, {**signed(body), **fields}, method)
        assert (answer.status, answer.body) == (status, b"{}")
        assert answer.fields == ((("Allow", "POST"),) if status == 405 else ())
        assert reasons(it.host) == [reason]
        assert it.host.messages == []


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
    found = WebhookSettings.of({**SECRETS, "webhook_max_skew_s": 9})
    assert found.max_skew_s == 9
    assert KEY not in repr(found)
    assert TOKEN not in repr(found)
    assert WebhookSettings.of(SECRETS).max_skew_s == 300
    assert repr(WebhookRequest("POST", {"a": "secret"}, b"secret")) == "WebhookRequest(method='POST')"


def test_a_missing_package_is_named_before_anybody_is_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    host = RecordingHost()
    error = Receiving(StubApi(), host, **SECRETS).ended()
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
