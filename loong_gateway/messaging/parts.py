"""One text for one address, cut into the rows of the outbox. Pure; every way of sending uses it."""

from __future__ import annotations

from collections.abc import Mapping

from loong_channels.contract import Address, ChannelSpec, Outbound
from loong_channels.text import split
from loong_gateway.base.faults import CommandError
from loong_gateway.storage.outbox import Part

__all__ = ["address_of", "check_card", "check_target_kind", "make_parts", "operator_markup"]

NOTHING: Mapping[str, object] = {}


def address_of(spec: ChannelSpec, account: str, target: str) -> Address:
    """The address that an operator means; `conversation:thread` where the channel has threads."""
    conversation, _, thread = target.partition(":") if spec.threads else (target, "", "")
    return Address(spec.name, account, conversation, thread or None)


def check_target_kind(spec: ChannelSpec, given: str) -> None:
    """Raise CommandError `channels.target_kind` for a kind that the channel does not know."""
    if given not in spec.target_kinds:
        allowed = " or ".join(spec.target_kinds)
        raise CommandError("channels.target_kind", channel=spec.name, given=given, allowed=allowed)


def check_card(spec: ChannelSpec) -> None:
    """Raise CommandError `channels.no_cards` for a channel that has none."""
    if not spec.cards:
        raise CommandError("channels.no_cards", channel=spec.name)


def operator_markup(spec: ChannelSpec, *, card: bool) -> str:
    """How an operator's text is read: where there are cards, Markdown is for them and all else is sent as it is."""
    return "plain" if spec.cards and not card else "markdown"


def make_parts(  # noqa: PLR0913  one row of the outbox has as many columns
    spec: ChannelSpec,
    address: Address,
    text: str,
    *,
    group: str,
    expires_ms: int,
    inbox_seq: int | None = None,
    reply_to: str | None = None,
    markup: str = "markdown",
    extra: Mapping[str, object] = NOTHING,
    first_extra: Mapping[str, object] = NOTHING,
) -> list[Part]:
    """The parts of a group, within the channel's limit, in order; none for a text without visible characters.

    `group` is unique for ever, and with it every idempotency key. Only the first part replies to `reply_to` and gets
    `first_extra`; every part gets `extra`.
    """
    return [
        Part(
            id=f"{group}-{number}",
            group=group,
            part=number,
            inbox_seq=inbox_seq,
            outbound=Outbound(
                address=address,
                text=piece,
                idempotency_key=f"{group}-{number}",
                reply_to=None if number else reply_to,
                markup=markup,
                extra=extra if number else {**extra, **first_extra},
            ),
            expires_ms=expires_ms,
        )
        for number, piece in enumerate(split(text, spec.text_limit, spec.limit_unit))
    ]
