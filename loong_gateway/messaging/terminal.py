"""The chat on the terminal of `gateway run --session`: a channel like any other."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Mapping
from typing import Protocol

from loong_channels.contract import (
    Address,
    Attachment,
    ChannelSpec,
    Host,
    Inbound,
    Media,
    Outbound,
    Preview,
    Receipt,
)
from loong_channels.faults import NotAccepted, Refused
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.wording import harmless
from loong_gateway.config.snapshot import AccountConfig

__all__ = ["TERMINAL_SPEC", "Show", "Terminal", "terminal_account"]

TERMINAL_SPEC = ChannelSpec(
    name="cli",
    label="Terminal",
    transport="terminal",
    settings=(),
    secrets=(),
    conversation_setting="conversations",
    sender_setting="senders",
    text_limit=100_000,
    limit_unit="codepoint",
    reconnect_s=0.1,
)
MAX_LINE_BYTES = 65_536
OFFER_AGAIN_S = 1.0
PROMPT = "you> "


class Show(Protocol):
    """Prints a text soon, and after it the prompt, which stays at the end from now on."""

    def __call__(self, text: str, *, prompt: str) -> None: ...


def terminal_account(session: str) -> AccountConfig:
    """The account behind the terminal: it may talk to one session only."""
    return AccountConfig("cli", "local", "local", enabled=True, settings={"conversations": (session,)})


class Terminal:
    """Reads lines from a descriptor and shows answers. `ended` is called once when the person leaves.

    `show` prints a text and a prompt after it, in order and without blocking. `instance` makes event ids unique
    across starts. Thread-safe.
    """

    def __init__(
        self,
        session: str,
        *,
        descriptor: int,
        show: Show,
        instance: str,
        exit_commands: tuple[str, ...],
        ended: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._address = Address("cli", "local", session)
        self._descriptor = descriptor
        self._show = show
        self._instance = instance
        self._exit_commands = exit_commands
        self._ended = ended
        self._clock = clock
        self._lines_read = 0

    def run(self, host: Host, stop: StopToken) -> None:
        """Read lines until the stop, an exit command or the end of the input."""
        wake_read, wake_write = os.pipe()
        try:
            with selectors.DefaultSelector() as selector, stop.watch(lambda: _poke(wake_write)):
                selector.register(self._descriptor, selectors.EVENT_READ)
                selector.register(wake_read, selectors.EVENT_READ)
                host.ready(f"session {self._address.conversation}")
                self._read(host, stop, selector)
        finally:
            # The last words of the gateway take the place of the prompt.
            self._show("\r", prompt="")
            os.close(wake_read)
            os.close(wake_write)

    def _read(self, host: Host, stop: StopToken, selector: selectors.BaseSelector) -> None:
        pending = b""
        while not stop.is_set():
            self._show("", prompt=PROMPT)
            while b"\n" not in pending:
                selector.select()
                if stop.is_set():
                    return
                piece = os.read(self._descriptor, 4096)
                if not piece:
                    self._leave(stop)
                    return
                pending += piece
                if len(pending) > MAX_LINE_BYTES:
                    told = f"that line is longer than {MAX_LINE_BYTES} bytes and was not taken"
                    self._show(f"\r{told}\n", prompt=PROMPT)
                    pending = b""
            line, _, pending = pending.partition(b"\n")
            text = line.decode("utf-8", "replace").strip()
            if text in self._exit_commands:
                self._leave(stop)
                return
            if text:
                self._offer(host, stop, self._inbound(text))

    def _offer(self, host: Host, stop: StopToken, inbound: Inbound) -> None:
        """Offer a line until it is taken; the person is told once when that takes a while."""
        told = False
        while not stop.is_set():
            try:
                host.accept([inbound])
            except NotAccepted as fault:
                if not told:
                    self._show(f"\rnot taken yet: {fault}\n", prompt="")
                told = True
                stop.wait(OFFER_AGAIN_S)
            else:
                return

    def _leave(self, stop: StopToken) -> None:
        self._ended()
        # The owner stops us in turn; returning before it does would count as a lost connection.
        while not stop.wait(60.0):
            pass

    def _inbound(self, text: str) -> Inbound:
        self._lines_read += 1
        now_ms = self._clock.wall_ms()
        return Inbound(
            address=self._address,
            event_id=f"{self._instance}-{self._lines_read}",
            message_id=None,
            sender_id="local",
            text=text,
            received_ms=now_ms,
            sent_ms=now_ms,
        )

    def send(self, outbound: Outbound, *, deadline: Deadline, stop: StopToken) -> Receipt:  # noqa: ARG002
        """Print one answer."""
        self._show(f"\rloong> {harmless(outbound.text)}\n", prompt=PROMPT)
        return Receipt((outbound.idempotency_key,))

    def preview(
        self,
        address: Address,  # noqa: ARG002  the contract's parameters
        *,
        reply_to: str | None,  # noqa: ARG002
        extra: Mapping[str, object],  # noqa: ARG002
    ) -> Preview | None:
        """A terminal shows whole answers."""
        return None

    def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """A terminal has nowhere to show it."""

    def acknowledge(self, inbound: Inbound, *, deadline: Deadline) -> None:
        """A terminal needs no mark."""

    def fetch(
        self,
        attachment: Attachment,  # noqa: ARG002  the contract's parameters
        *,
        max_bytes: int,  # noqa: ARG002
        deadline: Deadline,  # noqa: ARG002
        stop: StopToken,  # noqa: ARG002
    ) -> Media:
        """Nothing but text is typed."""
        raise Refused("a terminal has no files", code="not_supported")

    def probe(self, *, deadline: Deadline) -> str:  # noqa: ARG002
        """Always there."""
        return f"session {self._address.conversation}"

    def interrupt(self) -> None:
        """Nothing here blocks beyond the stop token."""


def _poke(descriptor: int) -> None:
    try:
        os.write(descriptor, b"x")
    except OSError:
        # The reader has gone already and closed its pipe; nobody needs to be woken.
        return
