from __future__ import annotations

import json
import types

import pytest

from loong_channels.contract import Address, Attachment, Inbound, Outbound, OutboundFile
from loong_gateway.storage.payloads import (
    checked,
    decode_inbound,
    decode_outbound,
    encode_inbound,
    encode_outbound,
    storable,
)

FULL = Inbound(
    address=Address("feishu", "work", "oc_1", "thread-9"),
    event_id="e1",
    message_id="m1",
    sender_id="ou_5",
    text='好 "quoted" \n\x00 \U0001f600',
    received_ms=1_800_000_000_001,
    sent_ms=1_800_000_000_000,
    sender_name="Li",
    sender_is_bot=True,
    kind="group",
    addressed=False,
    edited=True,
    attachments=(
        Attachment("image", "a.png", "image/png", 12, {"key": "img", "parts": [1, 2]}),
        Attachment("file"),
    ),
    extra={"chat_type": "group", "nested": {"a": [1, None, True, 1.5]}},
)
PLAIN = Inbound(Address("telegram", "work", "7"), "e", None, None, "", 0)


@pytest.mark.parametrize("inbound", [FULL, PLAIN])
def test_an_inbound_message_comes_back_as_it_was(inbound: Inbound) -> None:
    assert decode_inbound(encode_inbound(inbound)) == inbound


@pytest.mark.parametrize(
    "outbound",
    [
        Outbound(Address("telegram", "work", "7", "3"), "hi 好", "reply:1:0", "88", "plain", {"a": {"b": 1}}),
        Outbound(Address("telegram", "work", "7"), "", "k"),
        Outbound(Address("wecom", "work", "g"), "", "k", file=OutboundFile("/srv/好.pdf", "好.pdf", "file")),
    ],
)
def test_an_outbound_part_comes_back_as_it_was(outbound: Outbound) -> None:
    assert decode_outbound(encode_outbound(outbound)) == outbound


def test_a_lone_surrogate_survives_the_payload_and_is_spelled_out_for_a_column() -> None:
    inbound = Inbound(Address("telegram", "work", "7"), "e\ud800", None, None, "x\udfff", 0)
    assert decode_inbound(encode_inbound(inbound)) == inbound
    assert storable("e\ud800好") == "e\\ud800好"


def test_what_is_no_json_is_stored_as_its_text_and_a_mapping_as_an_object() -> None:
    extra = {"map": types.MappingProxyType({"a": 1}), "raw": b"\x00", ("odd", "key"): 1}
    inbound = Inbound(Address("telegram", "work", "7"), "e", None, None, "", 0, extra=extra)
    assert decode_inbound(encode_inbound(inbound)).extra == {"map": {"a": 1}, "raw": "b'\\x00'"}


def test_defaults_are_left_out() -> None:
    assert set(json.loads(encode_inbound(PLAIN))) == {
        "channel",
        "account",
        "conversation",
        "event_id",
        "text",
        "received_ms",
    }


def test_every_beginning_of_a_payload_is_refused_with_a_value_error() -> None:
    whole = encode_inbound(FULL)
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode_inbound(whole[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"text": 5},
        {"text": None},
        {"received_ms": "now"},
        {"conversation": ["7"]},
        {"attachments": {"kind": "image"}},
        {"attachments": ["image"]},
        {"attachments": [{"kind": 1}]},
        {"extra": [1]},
        {"sent_ms": "yesterday"},
    ],
)
def test_a_wrong_type_is_refused_with_a_value_error(change: dict) -> None:
    row = {**json.loads(encode_inbound(FULL)), **change}
    with pytest.raises(ValueError):
        decode_inbound(json.dumps(row).encode())


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"text":"x"}'])
def test_garbage_is_refused_with_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode_inbound(payload)
    with pytest.raises(ValueError):
        decode_outbound(payload)


def test_a_checksum_that_does_not_match_is_refused() -> None:
    with pytest.raises(ValueError):
        checked(b"abc", 1)
    assert checked(b"", 0) == b""
