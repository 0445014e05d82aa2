"""How messages are written into rows: compact JSON that leaves defaults out. Pure; thread-safe.

ASCII-only JSON on purpose: platforms do send lone surrogates, which UTF-8 cannot carry and `\\udXXX` can.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from loong_channels.contract import Address, Attachment, Inbound, Outbound, OutboundFile

__all__ = ["checked", "decode_inbound", "decode_outbound", "encode_inbound", "encode_outbound", "storable"]


def _plain(value: object) -> object:
    """Make a value JSON-able that is not: any mapping becomes an object, everything unknown its text."""
    return dict(value) if isinstance(value, Mapping) else str(value)


_to_json = json.JSONEncoder(separators=(",", ":"), skipkeys=True, default=_plain).encode
_from_json = json.JSONDecoder().decode


def storable(text: str) -> str:
    """The text with lone surrogates spelled out as `\\udXXX`, because SQLite stores text as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def checked(payload: bytes, crc: int) -> bytes:
    """The payload, if it still has the CRC-32 that it was stored with. Raises ValueError otherwise."""
    if zlib.crc32(payload) != crc:
        raise ValueError("the checksum does not match")
    return payload


def encode_inbound(inbound: Inbound) -> bytes:
    """Everything of an inbound message as JSON. Raises ValueError for an `extra` that contains itself."""
    row = _address(inbound.address)
    row["event_id"] = inbound.event_id
    row["text"] = inbound.text
    row["received_ms"] = inbound.received_ms
    _put(row, "message_id", inbound.message_id)
    _put(row, "sender_id", inbound.sender_id)
    _put(row, "sent_ms", inbound.sent_ms)
    _put(row, "sender_name", inbound.sender_name)
    if inbound.sender_is_bot:
        row["sender_is_bot"] = True
    if inbound.kind != "direct":
        row["kind"] = inbound.kind
    if not inbound.addressed:
        row["addressed"] = False
    if inbound.edited:
        row["edited"] = True
    if inbound.forwarded:
        row["forwarded"] = True
    if inbound.attachments:
        row["attachments"] = [_attachment(item) for item in inbound.attachments]
    if inbound.extra:
        row["extra"] = dict(inbound.extra)
    return _to_json(row).encode("ascii")


def decode_inbound(payload: bytes) -> Inbound:
    """The message that `encode_inbound` wrote. Raises ValueError for anything else."""
    row = _object(payload)
    attachments = row.get("attachments", [])
    if not isinstance(attachments, list):
        raise ValueError("attachments is not a list")  # noqa: TRY004 - one kind of error for a bad row
    return Inbound(
        address=_decode_address(row),
        event_id=_text(row, "event_id"),
        message_id=_text_or_none(row, "message_id"),
        sender_id=_text_or_none(row, "sender_id"),
        text=_text(row, "text"),
        received_ms=_number(row, "received_ms"),
        sent_ms=_number_or_none(row, "sent_ms"),
        sender_name=_text_or_none(row, "sender_name"),
        sender_is_bot=row.get("sender_is_bot", False) is True,
        kind=_text(row, "kind", "direct"),
        addressed=row.get("addressed", True) is True,
        edited=row.get("edited", False) is True,
        forwarded=row.get("forwarded", False) is True,
        attachments=tuple(_decode_attachment(item) for item in attachments),
        extra=_mapping(row, "extra"),
    )


def encode_outbound(outbound: Outbound) -> bytes:
    """Everything of an outbound part as JSON. Raises ValueError for an `extra` that contains itself."""
    row = _address(outbound.address)
    row["text"] = outbound.text
    row["key"] = outbound.idempotency_key
    _put(row, "reply_to", outbound.reply_to)
    if outbound.markup != "markdown":
        row["markup"] = outbound.markup
    if outbound.file is not None:
        row["file"] = {"path": outbound.file.path, "name": outbound.file.name, "kind": outbound.file.kind}
    if outbound.extra:
        row["extra"] = dict(outbound.extra)
    return _to_json(row).encode("ascii")


def decode_outbound(payload: bytes) -> Outbound:
    """The part that `encode_outbound` wrote. Raises ValueError for anything else."""
    row = _object(payload)
    return Outbound(
        address=_decode_address(row),
        text=_text(row, "text"),
        idempotency_key=_text(row, "key"),
        reply_to=_text_or_none(row, "reply_to"),
        markup=_text(row, "markup", "markdown"),
        file=_decode_file(row.get("file")),
        extra=_mapping(row, "extra"),
    )


def _decode_file(value: object) -> OutboundFile | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("file is not an object")  # noqa: TRY004 - one kind of error for a bad row
    return OutboundFile(_text(value, "path"), _text(value, "name"), _text(value, "kind"))


def _put(row: dict[str, object], name: str, value: object) -> None:
    if value is not None:
        row[name] = value


def _address(address: Address) -> dict[str, object]:
    row: dict[str, object] = {
        "channel": address.channel,
        "account": address.account,
        "conversation": address.conversation,
    }
    _put(row, "thread", address.thread)
    return row


def _decode_address(row: Mapping[str, object]) -> Address:
    return Address(
        channel=_text(row, "channel"),
        account=_text(row, "account"),
        conversation=_text(row, "conversation"),
        thread=_text_or_none(row, "thread"),
    )


def _attachment(item: Attachment) -> dict[str, object]:
    row: dict[str, object] = {"kind": item.kind}
    _put(row, "name", item.name)
    _put(row, "mime", item.mime)
    _put(row, "size_bytes", item.size_bytes)
    if item.ref:
        row["ref"] = dict(item.ref)
    return row


def _decode_attachment(item: object) -> Attachment:
    if not isinstance(item, dict):
        raise ValueError("an attachment is not an object")  # noqa: TRY004 - one kind of error for a bad row
    return Attachment(
        kind=_text(item, "kind"),
        name=_text_or_none(item, "name"),
        mime=_text_or_none(item, "mime"),
        size_bytes=_number_or_none(item, "size_bytes"),
        ref=_mapping(item, "ref"),
    )


def _object(payload: bytes) -> dict[str, object]:
    try:
        row = _from_json(payload.decode("ascii"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for a bad row
    return row


def _text(row: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")  # noqa: TRY004 - one kind of error for a bad row
    return value


def _text_or_none(row: Mapping[str, object], name: str) -> str | None:
    return None if row.get(name) is None else _text(row, name)


def _number(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    if not isinstance(value, int):
        raise ValueError(f"{name} is not a whole number")  # noqa: TRY004 - one kind of error for a bad row
    return value


def _number_or_none(row: Mapping[str, object], name: str) -> int | None:
    return None if row.get(name) is None else _number(row, name)


def _mapping(row: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = row.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004 - one kind of error for a bad row
    return value
