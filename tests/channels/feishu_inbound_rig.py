"""The inbound side of a Feishu account against the double of the long connection, without any REST client."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from loong_channels.contract import Account
from loong_channels.egress import Egress
from loong_channels.faults import Interrupted, Unreachable
from loong_channels.feishu.endpoint import Endpoint, read_endpoint
from loong_channels.feishu.identity import BotIdentity
from loong_channels.feishu.long_connection import Timing
from loong_channels.feishu.receiving import receive
from loong_channels.waiting import Deadline, StopToken
from tests.channels.telegram_rig import RecordingHost
from tests.fakes.feishu_long_connection import FakeLongConnection

BOT = BotIdentity("ou_bot", "loong-bot")
APP = "cli_a1b2c3"
KEY = "test key"
NOW_S = 1_736_480_000


class StubApi:
    """Asks the double for endpoints as a REST client would, values instead of HTTP."""

    def __init__(self, fake: FakeLongConnection | None = None, secret: str = "", bot: object = BOT) -> None:
        self.fake = fake
        self.secret = secret or (fake.app_secret if fake else "")
        self.identity = bot
        self.hold: threading.Event | None = None
        self.deadlines: list[float] = []

    def endpoint(self, deadline: Deadline, stop: StopToken | None = None) -> Endpoint:
        assert self.fake is not None, "a webhook needs no endpoint"
        with self.fake.changed:
            self.deadlines.append(deadline.remaining())
            self.fake.changed.notify_all()
        if self.hold is not None and stop is not None:
            while not (self.hold.is_set() or stop.wait(0.01)):
                pass
        request = {"AppID": self.fake.app_id, "AppSecret": self.secret}
        status, body = self.fake.endpoint_answer(json.loads(json.dumps(request)))
        if status != 200:
            raise Unreachable(f"HTTP {status}", maybe_processed=True)
        return read_endpoint(json.loads(json.dumps(body)))

    def bot(self, *, deadline: Deadline, stop: StopToken | None = None) -> BotIdentity:
        if isinstance(self.identity, Exception):
            raise self.identity
        assert isinstance(self.identity, BotIdentity)
        return self.identity


class Receiving:
    """`receive` in a thread of its own."""

    def __init__(
        self, api: StubApi, host: RecordingHost, timing: Timing | None = None, **settings: object
    ) -> None:
        self.host = host
        self.stop = StopToken()
        self.error: BaseException | None = None
        self._api = api
        self._timing = timing
        self._account = Account("feishu", "work", "Work", {"app_id": APP, "app_secret": "x", **settings})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            receive(self._account, self._api, self.host, self.stop, Egress(), timing=self._timing)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            if not (isinstance(error, Interrupted) and self.stop.is_set()):
                self.error = error
        finally:
            with self.host.changed:
                self.host.changed.notify_all()

    def ended(self, timeout: float = 10.0) -> BaseException | None:
        """Wait for the end; what was raised."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "receive does not end"
        return self.error


@contextlib.contextmanager
def receiving(
    api: StubApi, host: RecordingHost, timing: Timing | None = None, **settings: object
) -> Iterator[Receiving]:
    """Receive inside the block; it must end within 2 s and without a fault."""
    run = Receiving(api, host, timing, **settings)
    try:
        yield run
    finally:
        run.stop.set("test over")
        run.thread.join(2)
        alive = run.thread.is_alive()
        assert not alive
    assert run.error is None, run.error
    if api.fake is not None:
        # No connection is left behind, and the next one of the test is the only one.
        fake = api.fake
        fake.wait_for(lambda: not fake.alive)


def message(number: int = 1, text: str | None = None, **fields: Any) -> dict[str, Any]:
    """The envelope of a direct message; `fields` replace those of the header."""
    inner = {"text": f"m{number}" if text is None else text}
    return {
        "schema": "2.0",
        "header": {
            "event_id": f"ev-{number}",
            "token": "",
            "create_time": "1774004591300",
            "event_type": "im.message.receive_v1",
            "tenant_key": "t",
            "app_id": APP,
            **fields,
        },
        "event": {
            "sender": {"sender_id": {"open_id": "ou_sender"}, "sender_type": "user"},
            "message": {
                "message_id": f"om_{number}",
                "create_time": "1774004591214",
                "chat_id": "oc_chat",
                "chat_type": "p2p",
                "message_type": "text",
                "content": json.dumps(inner, ensure_ascii=False),
            },
        },
    }


def encrypted(value: object, key: str = KEY, iv: bytes = bytes(range(16))) -> bytes:
    """A body as the platform sends it; `value` is JSON or the plain bytes, padded here unless already whole."""
    plain = value if isinstance(value, bytes) else json.dumps(value).encode()
    if not isinstance(value, bytes):
        size = 16 - len(plain) % 16
        plain += bytes([size]) * size
    ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
    cipher = ciphers.Cipher(
        ciphers.algorithms.AES(hashlib.sha256(key.encode()).digest()), ciphers.modes.CBC(iv)
    ).encryptor()
    sealed = iv + cipher.update(plain) + cipher.finalize()
    return json.dumps({"encrypt": base64.b64encode(sealed).decode()}).encode()


def signed(body: bytes, *, at_s: int = NOW_S, nonce: str = "nonce-1", key: str = KEY) -> dict[str, str]:
    """The fields with which the platform signs a body."""
    text = f"{at_s}{nonce}{key}".encode() + body
    return {
        "X-Lark-Request-Timestamp": str(at_s),
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": hashlib.sha256(text).hexdigest(),
    }
