"""Who may use the port: one configured secret, one control token of this run, and a lockout by direct peer."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import Callable

from loong_channels.waiting import StopToken

from .peers import Peer

__all__ = ["Auth", "Verdict", "bearer"]

logger = logging.getLogger("loong.port")

MAX_PEERS = 4096
WARN_EVERY_S = 60.0
MAX_DELAYED = 8
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0

_BEARER = re.compile(r"bearer +([\x21-\x7e\x80-\xff]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """`outcome`: "ok", "missing", "wrong" or "locked"; the last comes with the seconds to wait.

    `proven` says what was right: "secret" for the configured one, "control" for the token of this run.
    `is_news`: the first failure of this peer for a minute.
    """

    outcome: str
    retry_after_s: float = 0.0
    proven: str = ""
    is_news: bool = field(default=False, compare=False)


class _Record:
    """The failures of one peer within the window, oldest first, and the end of its lockout."""

    def __init__(self, attempts: int) -> None:
        self.failures: deque[float] = deque(maxlen=attempts)
        self.excess = 0
        self.locked_until = 0.0
        self.warned_s = -math.inf


def bearer(authorization: str | None) -> bytes | None:
    """The credential in an Authorization field as the bytes that were sent, None when it carries no bearer token."""
    found = None if authorization is None else _BEARER.fullmatch(authorization)
    return None if found is None else found.group(1).encode("latin-1")


class Auth:
    """Judges credentials. Thread-safe; `_guard` protects the records and the count of delayed callers.

    A peer with `attempts` failures within `window_s` is locked out for `lockout_s`: even a right secret is refused.
    The control token, accepted from loopback only, is never locked: it has 256 random bits and lets the operator in
    while somebody else guesses. With `exempt_loopback` loopback peers are not locked out at all; beyond `attempts`
    each of their failures is answered late, 0.25 s doubling to 5 s, at most eight of them at a time, and while all
    eight are taken nothing but the control token is looked at.
    """

    def __init__(
        self,
        *,
        secret: str | None,
        control_token: str,
        attempts: int = 10,
        window_s: float = 60.0,
        lockout_s: float = 300.0,
        exempt_loopback: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._denied: Callable[[str], object] = str
        self._secret = _digest(secret.encode("utf-8")) if secret else None
        self._control = _digest(control_token.encode("utf-8")) if control_token else None
        self._attempts = attempts
        self._window_s = window_s
        self._lockout_s = lockout_s
        self._exempt_loopback = exempt_loopback
        self._clock = clock
        self._guard = threading.Lock()
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._delayed = 0
        self.failures = 0

    @property
    def has_secret(self) -> bool:
        """Whether a secret is configured; without one only the control token opens anything."""
        return self._secret is not None

    def judge(self, credential: bytes | None, peer: Peer, *, stop: StopToken) -> Verdict:
        """Decide about one credential. Blocks up to 5 s for a loopback peer that guesses; `stop` ends that at once."""
        if peer.same_user and self._control is not None:
            # Whoever runs as this user can read the control token anyway.
            return Verdict("ok", proven="control")
        if not credential:
            return Verdict("missing")
        digest = _digest(credential)
        if peer.loopback and self._control is not None and hmac.compare_digest(digest, self._control):
            return Verdict("ok", proven="control")
        exempt = peer.loopback and self._exempt_loopback
        with self._guard:
            verdict = self._judge_secret(digest, peer.key, exempt=exempt)
            delay = exempt and verdict.retry_after_s > 0 and self._delayed < MAX_DELAYED
            self._delayed += delay
        if verdict.is_news:
            logger.warning("a wrong credential came from %s; said once a minute", peer.address)
            self._denied(peer.address)
        if not delay:
            return verdict
        try:
            stop.wait(verdict.retry_after_s)
        finally:
            with self._guard:
                self._delayed -= 1
        return verdict

    def on_denied(self, told: Callable[[str], object]) -> None:
        """Tell the address of a peer whose credential was wrong, once a minute; `told` must not block."""
        self._denied = told

    def replace_secret(self, secret: str) -> None:
        """Accept another configured secret from now on, and the old one no more."""
        digest = _digest(secret.encode("utf-8"))
        with self._guard:
            self._secret = digest

    def _judge_secret(self, digest: bytes, key: str, *, exempt: bool) -> Verdict:
        """Look at the secret and count in one step, so that parallel guesses cannot outrun the lock. Holds `_guard`."""
        now = self._clock()
        record = self._records.get(key)
        if exempt:
            if self._delayed >= MAX_DELAYED:
                return Verdict("locked", LONGEST_DELAY_S)
        elif record is not None and record.locked_until > now:
            return Verdict("locked", record.locked_until - now)
        if self._secret is not None and hmac.compare_digest(digest, self._secret):
            # The loopback record is shared by all local users: success of one must not free the guesses of another.
            if record is not None and not exempt:
                del self._records[key]
            return Verdict("ok", proven="secret")
        verdict = self._count_failure(key, now, exempt=exempt)
        record = self._records[key]
        if now - record.warned_s < WARN_EVERY_S:
            return verdict
        record.warned_s = now
        return replace(verdict, is_news=True)

    def _count_failure(self, key: str, now: float, *, exempt: bool) -> Verdict:
        self.failures += 1
        record = self._records.setdefault(key, _Record(self._attempts))
        self._records.move_to_end(key)
        if len(self._records) > MAX_PEERS:
            self._records.popitem(last=False)
        failures = record.failures
        crowded = len(failures) == self._attempts and now - failures[0] < self._window_s
        failures.append(now)
        if exempt:
            record.excess = record.excess + 1 if crowded else 0
            if not crowded:
                return Verdict("wrong")
            return Verdict("locked", min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(record.excess - 1, 10)))
        if len(failures) == self._attempts and now - failures[0] < self._window_s:
            failures.clear()
            record.locked_until = now + self._lockout_s
        return Verdict("wrong")


def _digest(value: bytes) -> bytes:
    """Equal lengths for every comparison, so that its time says nothing about the secret's length."""
    return hashlib.sha256(value).digest()
