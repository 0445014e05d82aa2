from __future__ import annotations

import pytest

from loong_channels.contract import Address, Inbound
from loong_channels.telegram.spec import SPEC
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.messaging.trust import allows_conversation, judge, policy_of


def account(**settings):
    return AccountConfig("telegram", "work", "work", enabled=True, settings=settings)


def message(conversation="-100", sender="7", **changes):
    values = {
        "address": Address("telegram", "work", conversation),
        "event_id": "1",
        "message_id": "1",
        "sender_id": sender,
        "text": "hi",
        "received_ms": 0,
        "kind": "group",
        "addressed": False,
    }
    return Inbound(**{**values, **changes})


@pytest.mark.parametrize(
    ("settings", "changes", "reason"),
    [
        ({}, {}, "conversation_not_allowed"),
        ({"allowed_chat_ids": ()}, {}, "conversation_not_allowed"),
        ({"allowed_chat_ids": ("-100",)}, {}, "ok"),
        ({"allowed_chat_ids": ("*",)}, {}, "conversation_not_allowed"),
        ({"allowed_chat_ids": ("-100",), "allowed_sender_ids": ("8",)}, {}, "sender_not_allowed"),
        ({"allowed_chat_ids": ("-100",), "allowed_sender_ids": ("7",)}, {}, "ok"),
        (
            {"allowed_chat_ids": ("-100",), "allowed_sender_ids": ("7",)},
            {"sender": None},
            "sender_not_allowed",
        ),
        ({"allowed_chat_ids": ("-100",), "require_mention": True}, {}, "mention_required"),
        ({"allowed_chat_ids": ("-100",), "require_mention": True}, {"addressed": True}, "ok"),
        ({"allowed_chat_ids": ("-100",), "require_mention": True}, {"kind": "direct"}, "ok"),
        ({"allowed_chat_ids": ("-100",)}, {"sender_is_bot": True}, "bot_message"),
        ({"allowed_chat_ids": ("-10",)}, {}, "conversation_not_allowed"),
    ],
)
def test_the_lists_decide(settings, changes, reason):
    verdict = judge(policy_of(account(**settings), SPEC, {}), message(**changes))
    assert verdict.reason == reason
    assert verdict.allowed == (reason == "ok")


def test_a_move_is_believed_only_for_a_listed_conversation():
    policy = policy_of(account(allowed_chat_ids=("-1",)), SPEC, {"-1": "-1001", "-2": "-1002"})
    assert allows_conversation(policy, "-1001")
    assert not allows_conversation(policy, "-1002")
