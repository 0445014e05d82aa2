"""Holds the channel object of one account and replaces it when its credential has to be read anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loong_channels.contract import Account, Channel, ChannelSpec
from loong_channels.faults import BadCredentials
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, SecretRef
from loong_gateway.messaging.typing_notices import TypingNotices

__all__ = ["CannotServe", "ChannelHolder", "OpenChannel"]

# A new value of a variable does not reach a running process, and only the supervisor knows how it starts its service.
RESTART_FIX = (
    "set it for the service and restart that; from a file or a program it is read by: loong secrets reload"
)
READ_AGAIN_FIX = "put the new credential there, then: loong secrets reload"


class CannotServe(BadCredentials):
    """Nothing the platform could change: a secret that cannot be read, or nobody who may be served. Tried slowly."""

    def __init__(self, message: str, *, trouble: str, where: str | None, fix: str | None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.where = where
        self.fix = fix


@dataclass(frozen=True)
class OpenChannel:
    """How a channel comes to be. `resolve` reads the account's secrets and may block for that; it raises
    SecretUnavailable. `build` makes the channel and connects to nothing."""

    resolve: Callable[[ChannelSpec, AccountConfig], Account]
    build: Callable[[Account], Channel]


@dataclass(frozen=True)
class _Held:
    account: Account
    channel: Channel
    typing: TypingNotices


class ChannelHolder:
    """Opened and replaced by the account's own thread, read by all; `_guard` protects what is held and how long."""

    def __init__(
        self,
        spec: ChannelSpec,
        account: AccountConfig,
        *,
        opening: OpenChannel,
        threads: ThreadRegistry,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._account = account
        self._opening = opening
        self._threads = threads
        self._clock = clock
        refs = [account.settings.get(name) for name in spec.secrets_needed(account.settings)]
        self._refs: Sequence[SecretRef] = [ref for ref in refs if isinstance(ref, SecretRef)]
        self._guard = threading.Lock()
        self._held: _Held | None = None
        # How often the secrets were to be read, and up to which of these times they were; whether the channel may stay
        # if they turn out to be the same.
        self._wanted = 1
        self._looked = 0
        self._may_stay = True

    @property
    def channel(self) -> Channel | None:
        """The channel of this moment, None before the first was opened; never None again after that."""
        with self._guard:
            return None if self._held is None else self._held.channel

    @property
    def typing(self) -> TypingNotices | None:
        """The typing notices of the channel of this moment."""
        with self._guard:
            return None if self._held is None else self._held.typing

    def open(self) -> Channel:
        """The channel, opened first where that is necessary. Raises CannotServe when its secret cannot be had."""
        with self._guard:
            held, wanted, may_stay = self._held, self._wanted, self._may_stay
            if held is not None and wanted == self._looked:
                return held.channel
        try:
            account = self._opening.resolve(self._spec, self._account)
        except SecretUnavailable as error:
            failed = [ref for ref in self._refs if ref.setting == error.values.get("setting")]
            fix = error.fix if _is_read_again(failed) else RESTART_FIX
            raise CannotServe(error.message, trouble="secret_missing", where=error.where, fix=fix) from error
        if held is not None and may_stay and account == held.account:
            self._open_with(held, wanted)
            return held.channel
        channel = self._opening.build(account)
        gate = f"{self._account.channel}={self._account.id}"
        self._open_with(
            _Held(account, channel, TypingNotices(channel, gate, self._threads, self._clock)), wanted
        )
        if held is not None:
            _close(held)
        return channel

    def doubt(self) -> tuple[str | None, str]:
        """The platform refused the credential: the next `open` reads it again. Returns where it is and what to do."""
        self._look_again(may_stay=False)
        where = ", ".join(f"{ref.setting} ({ref.display})" for ref in self._refs) or None
        return where, READ_AGAIN_FIX if _is_read_again(self._refs) else RESTART_FIX

    def reread(self) -> None:
        """The next `open` reads the secrets again and replaces the channel if they are others."""
        self._look_again(may_stay=True)

    def has_new_secrets(self) -> bool:
        """Read the secrets now: whether they differ from those in use. May block; raises SecretUnavailable."""
        account = self._opening.resolve(self._spec, self._account)
        with self._guard:
            return self._held is not None and self._held.account != account

    def retire(self) -> None:
        """Close the channel; the next `open` makes another one."""
        self._look_again(may_stay=False)
        self.close()

    def close(self) -> None:
        """Wake every blocked call of the channel for good."""
        with self._guard:
            held = self._held
        if held is not None:
            _close(held)

    def _look_again(self, *, may_stay: bool) -> None:
        with self._guard:
            self._wanted += 1
            self._may_stay = self._may_stay and may_stay

    def _open_with(self, held: _Held, looked: int) -> None:
        with self._guard:
            self._held = held
            self._looked = looked
            # Unless it was asked for once more meanwhile.
            self._may_stay = self._may_stay or self._wanted == looked


def _is_read_again(refs: Sequence[SecretRef]) -> bool:
    return any(ref.form in ("file", "exec") for ref in refs)


def _close(held: _Held) -> None:
    held.typing.stop()
    held.channel.interrupt()
