"""What is to be said to one address, cut into the rows of the outbox. Pure; every way of sending uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_channels.contract import Address, ChannelSpec, Outbound, OutboundFile
from loong_channels.text import split
from loong_gateway.base.faults import CommandError
from loong_gateway.messaging.send_options import extra_for
from loong_gateway.storage.outbox import Part

__all__ = [
    "Contents",
    "address_of",
    "check_target_kind",
    "make_parts",
    "operator_parts",
]

NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True)
class Contents:
    """What an operator has sent: a text, then what `options` add to it, then files. Any of them may be missing.

    `options` are checked (send_options.check_options); `files` are copies of the gateway's own.
    """

    text: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    files: tuple[OutboundFile, ...] = ()


def address_of(spec: ChannelSpec, account: str, target: str) -> Address:
    """The address that an operator means; `conversation:thread` where the channel has threads."""
    conversation, _, thread = target.partition(":") if spec.threads else (target, "", "")
    return Address(spec.name, account, conversation, thread or None)


def check_target_kind(spec: ChannelSpec, given: str) -> None:
    """Raise CommandError `channels.target_kind` for a kind that the channel does not know."""
    if given not in spec.target_kinds:
        allowed = " or ".join(spec.target_kinds)
        raise CommandError("channels.target_kind", channel=spec.name, given=given, allowed=allowed)


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
        _part(
            Outbound(
                address=address,
                text=piece,
                idempotency_key=f"{group}-{number}",
                reply_to=None if number else reply_to,
                markup=markup,
                extra=extra if number else {**extra, **first_extra},
            ),
            group,
            number,
            expires_ms,
            inbox_seq,
        )
        for number, piece in enumerate(split(text, spec.text_limit, spec.limit_unit))
    ]


def operator_parts(
    spec: ChannelSpec, address: Address, contents: Contents, *, group: str, expires_ms: int
) -> list[Part]:
    """The parts of what an operator has sent: the pieces of the text, what stands alone, the files, in this order."""
    options = {option: contents.options.get(option.name) for option in spec.send_options}
    given = {option: value for option, value in options.items() if value not in (None, False)}
    pieces: list[tuple[str, Mapping[str, object], OutboundFile | None]] = [
        (piece, NOTHING, None) for piece in split(contents.text, spec.text_limit, spec.limit_unit)
    ]
    pieces += [
        ("", {option.name: value}, None) for option, value in given.items() if option.goes_with == "alone"
    ]
    pieces += [("", NOTHING, file) for file in contents.files]
    is_plain = any(option.markdown for option in options) and not any(option.markdown for option in given)
    parts = []
    for number, (text, own, file) in enumerate(pieces):
        outbound = Outbound(
            address=address,
            text=text,
            idempotency_key=f"{group}-{number}",
            markup="plain" if is_plain else "markdown",
            extra={**extra_for(given, "text" if text else "file", number), **own},
            file=file,
        )
        parts.append(_part(outbound, group, number, expires_ms, None))
    return parts


def _part(outbound: Outbound, group: str, number: int, expires_ms: int, inbox_seq: int | None) -> Part:
    return Part(f"{group}-{number}", group, number, inbox_seq, outbound, expires_ms)
