"""One account of one channel, as turns and deliveries see it. The supervisor implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from loong_channels.contract import Address, Channel, ChannelSpec, Inbound, Preview
from loong_channels.faults import Fault

__all__ = ["Surface", "Surfaces"]


class Surface(Protocol):
    """A running or failing account. Thread-safe; nothing here blocks unless its text says so."""

    @property
    def spec(self) -> ChannelSpec:
        """What is known of its channel."""

    @property
    def channel(self) -> Channel:
        """The open channel; only asked for while `can_send` is True."""

    @property
    def gate(self) -> str:
        """The name under which lanes wait until the account can send."""

    @property
    def shows_errors(self) -> bool:
        """True where the reader is the operator, who is helped by the cause rather than by a polite sentence."""

    def can_send(self) -> bool:
        """True while the platform takes messages from us."""

    def allows(self, address: Address) -> bool:
        """Whether a reply may go there, by the allow-lists of this moment."""

    def current(self, address: Address) -> Address:
        """The address with a moved conversation replaced by the one it goes on under."""

    def session(self, inbound: Inbound) -> str:
        """The stored key of the session that a message belongs to."""

    def preview(self, inbound: Inbound) -> Preview | None:
        """A growing answer, where the account wants one."""

    def typing(self, address: Address) -> AbstractContextManager[None]:
        """Show in the conversation that an answer is being written, while the block runs."""

    def acknowledge(self, inbound: Inbound) -> None:
        """Mark the message as seen where the account wants that. Blocks for one request; never raises."""

    def sent(self) -> None:
        """Take note of a successful send."""

    def send_failed(self, fault: Fault, began_s: float) -> None:
        """Take note of a send, begun at that monotonic second, that failed for no reason of its conversation."""

    def trouble(self, fault: Fault) -> None:
        """Take note that the platform refused the account itself."""

    def moved(self, old_conversation: str, new_conversation: str) -> None:
        """Take note that a conversation goes on under a new id."""


class Surfaces(Protocol):
    """The accounts of this owner."""

    def surface(self, channel: str, account: str) -> Surface | None:
        """The surface of an account, None when it is not supervised here."""
