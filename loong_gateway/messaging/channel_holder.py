"""Holds the channel object of one account and replaces it when its credential has to be read anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from loong_channels.contract import Channel, ChannelSpec
from loong_channels.faults import BadCredentials
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, SecretRef
from loong_gateway.messaging.typing_notices import TypingNotices

__all__ = ["CannotServe", "ChannelHolder"]

RESTART_FIX = "set it for the service, then: loong gateway run --force"
READ_AGAIN_FIX = "put the new credential there; it is read again at the next try"


class CannotServe(BadCredentials):
    """Nothing the platform could change: a secret that cannot be read, or nobody who may be served. Tried slowly."""

    def __init__(self, message: str, *, trouble: str, where: str | None, fix: str | None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.where = where
        self.fix = fix


class ChannelHolder:
    """Opened and replaced by the account's own thread, read by all; `_guard` protects the two of them together."""

    def __init__(
        self,
        spec: ChannelSpec,
        account: AccountConfig,
        *,
        open_channel: Callable[[AccountConfig], Channel],
        threads: ThreadRegistry,
        clock: Clock,
    ) -> None:
        self._account = account
        self._open_channel = open_channel
        self._threads = threads
        self._clock = clock
        refs = [account.settings.get(name) for name in spec.secrets_needed(account.settings)]
        self._refs: Sequence[SecretRef] = [ref for ref in refs if isinstance(ref, SecretRef)]
        self._guard = threading.Lock()
        self._must_open = True
        self._held: tuple[Channel, TypingNotices] | None = None

    @property
    def channel(self) -> Channel | None:
        """The channel of this moment, None before the first was opened; never None again after that."""
        with self._guard:
            return None if self._held is None else self._held[0]

    @property
    def typing(self) -> TypingNotices | None:
        """The typing notices of the channel of this moment."""
        with self._guard:
            return None if self._held is None else self._held[1]

    def open(self) -> Channel:
        """The channel, opened first where that is necessary. Raises CannotServe when its secret cannot be had."""
        held = self._held
        if held is not None and not self._must_open:
            return held[0]
        try:
            channel = self._open_channel(self._account)
        except SecretUnavailable as error:
            fix = error.fix if self._is_read_again() else RESTART_FIX
            raise CannotServe(error.message, trouble="secret_missing", where=error.where, fix=fix) from error
        gate = f"{self._account.channel}={self._account.id}"
        with self._guard:
            self._held = (channel, TypingNotices(channel, gate, self._threads, self._clock))
        self._must_open = False
        if held is not None:
            _close(held)
        return channel

    def doubt(self) -> tuple[str | None, str]:
        """The platform refused the credential: the next `open` reads it again. Returns where it is and what to do."""
        self._must_open = True
        where = ", ".join(f"{ref.setting} ({ref.display})" for ref in self._refs) or None
        return where, READ_AGAIN_FIX if self._is_read_again() else RESTART_FIX

    def close(self) -> None:
        """Wake every blocked call of the channel for good."""
        with self._guard:
            held = self._held
        if held is not None:
            _close(held)

    def _is_read_again(self) -> bool:
        # A new value of a variable does not reach a running process.
        return bool(self._refs) and all(ref.form in ("file", "exec") for ref in self._refs)


def _close(held: tuple[Channel, TypingNotices]) -> None:
    channel, typing = held
    typing.stop()
    channel.interrupt()
