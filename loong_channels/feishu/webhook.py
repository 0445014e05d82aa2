"""Webhook mode: what the platform posts to us is verified, decrypted and brought in; 200 means that it is on disk.

The requests come over the gateway's port, over a listener of the account, or over both.

Signature: hex(sha256(timestamp + nonce + encrypt_key + raw body)). Encryption: AES-256-CBC with sha256(encrypt_key),
the first 16 bytes are the IV. https://open.feishu.cn/document (event subscription: encrypt key, verification)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from loong_channels.aes import decrypt_cbc
from loong_channels.contract import Host, WebhookAnswer, WebhookRequest
from loong_channels.decoding import load_json
from loong_channels.faults import BadCredentials, NotAccepted
from loong_channels.waiting import StopToken

__all__ = ["Webhook", "WebhookSettings", "decrypt_event"]

_DEFAULT_SKEW_S = 300
_MAX_CHALLENGE = 1024
_RETRY_AFTER_S = 15
_NOTE_INTERVAL_S = 10.0
_WARNING_INTERVAL_S = 600.0
# What a wrong encrypt_key or verification_token of ours leads to.
_OF_SECRETS = frozenset({"bad_signature", "bad_token", "unreadable"})
_BLOCK_BYTES = 16
_LONGEST_WAIT_S = 60.0
_SIGNATURE_FIELDS = ("x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature")


@dataclass(frozen=True)
class WebhookSettings:
    """What tells the platform's requests from everybody else's."""

    verification_token: str = field(repr=False)
    encrypt_key: str = field(repr=False)
    max_skew_s: int = _DEFAULT_SKEW_S

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> WebhookSettings:
        """The settings of an account. Raises BadCredentials for a missing secret."""
        secrets = []
        for name, word in (("verification_token", "token"), ("encrypt_key", "key")):
            value = settings.get(name)
            if not isinstance(value, str) or not value:
                raise BadCredentials(f"feishu.{name} is missing; configure {word} or {name}_env")
            secrets.append(value)
        skew = settings.get("webhook_max_skew_s")
        return cls(secrets[0], secrets[1], skew if isinstance(skew, int) and skew > 0 else _DEFAULT_SKEW_S)


class _Refused(Exception):
    """Raised for a request that is not served; `status` is the HTTP status, `reason` a constant word for counting."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class Webhook:
    """Receives for one account. `run` belongs to one thread; `answer` may be called by any, see WebhookReceiver.

    `take` stores a decoded event or raises NotAccepted. `now_s` returns seconds since the epoch, `clock` monotonic
    ones. `account` names it in the log.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        host: Host,
        take: Callable[[object], None],
        *,
        identity: str,
        account: str,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._host = host
        self._take = take
        self._identity = identity
        self._now_s = now_s
        self._refusals = _Refusals(host, account, clock)

    def run(self, stop: StopToken) -> None:
        """Receive until `stop` is set. Blocks. Raises Unreachable, and CryptoMissing before anybody is kept waiting."""
        decrypt_cbc(bytes(32), bytes(16), bytes(16))
        with self._host.mounted(self):
            self._host.ready(self._identity)
            self._host.caught_up()
            while not stop.wait(_LONGEST_WAIT_S):
                pass

    def answer(self, request: WebhookRequest) -> WebhookAnswer:
        """See contract.WebhookReceiver."""
        try:
            _check_kind(request)
            return self._judge(request)
        except _Refused as refusal:
            self._refusals.note(refusal.reason, is_signed=_SIGNATURE_FIELDS[-1] in request.fields)
            return WebhookAnswer(refusal.status, fields=(("Allow", "POST"),) if refusal.status == 405 else ())
        except NotAccepted as fault:
            self._refusals.note(type(fault).__name__)
            return WebhookAnswer(503, fields=(("Retry-After", str(_RETRY_AFTER_S)),))
        except Exception as error:  # noqa: BLE001 - a delivery that fails comes again
            self._refusals.note(f"failed:{type(error).__name__}")
            return WebhookAnswer(500)

    def _judge(self, request: WebhookRequest) -> WebhookAnswer:
        is_signed = self._is_signed(request)
        try:
            envelope = self._opened(request.body)
        except ValueError:
            # To a stranger every failure looks the same, so that nobody can try out paddings on what they overheard.
            raise _Refused(400 if is_signed else 401, "unreadable") from None
        if not self._has_token(envelope):
            raise _Refused(401, "bad_token")
        challenge = envelope.get("challenge")
        if envelope.get("type") == "url_verification":
            if not isinstance(challenge, str) or len(challenge) > _MAX_CHALLENGE:
                raise _Refused(400 if is_signed else 401, "unreadable")
            self._host.heard()
            return WebhookAnswer(200, json.dumps({"challenge": challenge}).encode())
        if not is_signed:
            raise _Refused(401, "unsigned")
        self._host.heard()
        self._refusals.accepted()
        self._take(envelope)
        self._host.caught_up()
        return WebhookAnswer(200)

    def _is_signed(self, request: WebhookRequest) -> bool:
        """Whether the request bears a good signature; False when it bears none. Raises _Refused for a bad one."""
        timestamp, nonce, signature = (request.fields.get(name) for name in _SIGNATURE_FIELDS)
        if timestamp is None and nonce is None and signature is None:
            return False
        if timestamp is None or nonce is None or signature is None:
            raise _Refused(401, "bad_signature")
        text = (timestamp + nonce).encode("latin-1") + self._settings.encrypt_key.encode("utf-8")
        expected = hashlib.sha256(text + request.body).hexdigest()
        if not hmac.compare_digest(expected.encode("ascii"), signature.encode("latin-1")):
            raise _Refused(401, "bad_signature")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            raise _Refused(401, "bad_timestamp")
        if abs(self._now_s() - int(timestamp)) > self._settings.max_skew_s:
            raise _Refused(401, "stale")
        return True

    def _opened(self, body: bytes) -> Mapping[str, object]:
        value = load_json(body)
        if isinstance(value, dict) and isinstance(value.get("encrypt"), str):
            value = load_json(decrypt_event(self._settings.encrypt_key, value["encrypt"]))
        if isinstance(value, dict):
            return value
        raise ValueError("no object")

    def _has_token(self, envelope: Mapping[str, object]) -> bool:
        header = envelope.get("header")
        token = header.get("token") if isinstance(header, Mapping) else envelope.get("token")
        if not isinstance(token, str):
            return False
        expected = self._settings.verification_token.encode("utf-8")
        return hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass"))


def _check_kind(request: WebhookRequest) -> None:
    """Raises _Refused for what is no POST of plain JSON."""
    if request.method != "POST":
        raise _Refused(405, "another_method")
    kind = request.fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or "content-encoding" in request.fields:
        raise _Refused(415, "no_json")


class _Refusals:
    """Notes what was refused, each reason once in a while: whoever knocks must not fill the log.

    Thread-safe; `_guard` protects the counts.
    """

    def __init__(self, host: Host, account: str, clock: Callable[[], float]) -> None:
        self._host = host
        self._logger = logging.getLogger(f"loong.channel.feishu.{account}")
        self._clock = clock
        self._guard = threading.Lock()
        # Reasons are words of ours, so there are only so many.
        self._next_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._accepted_s: float | None = None
        self._next_warning_s: dict[str, float] = {}

    def accepted(self) -> None:
        """A request passed every check, so our secrets are right."""
        with self._guard:
            self._accepted_s = self._clock()

    def note(self, reason: str, *, is_signed: bool = False) -> None:
        """Count a refusal; `is_signed` tells whether the request bore a signature, be it good or bad."""
        if is_signed and reason in _OF_SECRETS and self._is_suspicious(reason):
            # Strangers can bring this about as well, so it is said and changes nothing else.
            self._logger.warning(
                "requests to the webhook are refused (%s) and none was accepted lately:"
                " check encrypt_key and verification_token",
                reason,
            )
        with self._guard:
            times = self._unsaid.get(reason, 0) + 1
            now_s = self._clock()
            if now_s < self._next_s.get(reason, 0.0):
                self._unsaid[reason] = times
                return
            self._unsaid[reason] = 0
            self._next_s[reason] = now_s + _NOTE_INTERVAL_S
        self._host.note("webhook_refused", reason=reason, times=times)

    def _is_suspicious(self, reason: str) -> bool:
        with self._guard:
            now_s = self._clock()
            if self._accepted_s is not None and now_s - self._accepted_s < _WARNING_INTERVAL_S:
                return False
            if now_s < self._next_warning_s.get(reason, now_s):
                return False
            self._next_warning_s[reason] = now_s + _WARNING_INTERVAL_S
            return True


def decrypt_event(encrypt_key: str, encrypted: str) -> bytes:
    """The plain text of the `encrypt` field of a body. Raises ValueError, and CryptoMissing."""
    try:
        raw = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("no base64") from error
    if len(raw) < 2 * _BLOCK_BYTES or len(raw) % _BLOCK_BYTES:
        raise ValueError("no whole blocks")
    key = hashlib.sha256(encrypt_key.encode("utf-8")).digest()
    plain = decrypt_cbc(key, raw[:_BLOCK_BYTES], raw[_BLOCK_BYTES:])
    size = plain[-1]
    if not 1 <= size <= _BLOCK_BYTES or plain[-size:] != bytes([size]) * size:
        raise ValueError("bad padding")
    return plain[:-size]
