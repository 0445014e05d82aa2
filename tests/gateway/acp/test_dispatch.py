from __future__ import annotations

from typing import Any

import pytest

from loong_channels.contract import Address
from loong_gateway.acp.dispatch import backend_of, decide
from loong_gateway.config.agent_snapshot import AcpBackend, AcpDispatch, AcpSettings

CHAT = Address("telegram", "work", "7")
THREAD = Address("telegram", "work", "7", "3")


def settings(**dispatch: Any) -> AcpSettings:
    return AcpSettings(
        enabled=True, allowed_agents=("codex", "Gemini"), dispatch=AcpDispatch(**dispatch), backends={}
    )


@pytest.mark.parametrize(
    ("dispatch", "address", "text", "reason"),
    [
        ({}, CHAT, "@codex x", "allowed"),
        ({}, CHAT, "x", "agent_prefix_required"),
        ({"conversation_routing": "all"}, CHAT, "x", "allowed"),
        ({"enabled": False}, CHAT, "@codex x", "dispatch_disabled"),
        ({}, None, "@codex x", "dispatch_disabled"),
        ({"allowed_channels": ("feishu",)}, CHAT, "@codex x", "channel_not_allowed"),
        ({"allowed_channels": ("telegram",)}, CHAT, "@codex x", "allowed"),
        ({"allowed_account_ids": ("home",)}, CHAT, "@codex x", "account_not_allowed"),
        ({"allowed_account_ids": ("work",)}, CHAT, "@codex x", "allowed"),
        ({"thread_routing": "thread_only"}, CHAT, "@codex x", "thread_required"),
        ({"thread_routing": "thread_only"}, THREAD, "@codex x", "allowed"),
        ({"thread_routing": "root_only"}, THREAD, "@codex x", "root_conversation_required"),
        ({"thread_routing": "root_only"}, CHAT, "@codex x", "allowed"),
        # What is said does not open what the configuration closes.
        (
            {"thread_routing": "root_only", "conversation_routing": "all"},
            THREAD,
            "@codex x",
            "root_conversation_required",
        ),
    ],
)
def test_reasons(dispatch: dict[str, Any], address: Address | None, text: str, reason: str) -> None:
    assert decide(settings(**dispatch), address, text).reason == reason


@pytest.mark.parametrize(
    ("text", "agent", "rest"),
    [
        ("@codex do it", "codex", "do it"),
        ("codex: do it", "codex", "do it"),
        ("@CODEX, do it", "codex", "do it"),
        (" @gemini\ndo\nit", "Gemini", "do\nit"),
        ("@claude do it", "", ""),
        ("codex do it", "", ""),
        ("@codex", "", ""),
        ("@codex ", "", ""),
        ("please @codex do it", "", ""),
        ("@codexdo it", "", ""),
        ("codex:// x", "", ""),
    ],
)
def test_who_is_called(text: str, agent: str, rest: str) -> None:
    decision = decide(settings(), CHAT, text)
    assert (decision.agent, decision.text) == (agent, rest)


def test_agents_are_off_unless_they_are_asked_for() -> None:
    off = AcpSettings()
    assert decide(off, CHAT, "@codex x").reason == "dispatch_disabled"
    asked = decide(settings(), None, "note: x", explicit=True)
    assert (asked.agent, asked.activation_origin, asked.text) == ("codex", "explicit_request", "note: x")
    assert decide(settings(), None, "gemini: x", explicit=True).agent == "Gemini"
    routed = decide(settings(conversation_routing="all"), CHAT, "x: y")
    assert (routed.agent, routed.activation_origin, routed.text) == ("codex", "automatic_dispatch", "x: y")


def test_what_is_started_for_an_agent() -> None:
    one, two = AcpBackend("one"), AcpBackend("two")

    def named(agent: str, backend: str | None, *backends: AcpBackend) -> AcpBackend | None:
        return backend_of(AcpSettings(backend=backend, backends={b.name: b for b in backends}), agent)

    assert named("codex", None, one) is one
    assert named("codex", None, one, two) is None
    assert named("codex", "two", one, two) is two
    assert named("one", "two", one, two) is one
    assert named("codex", "gone", one) is None
    assert named("codex", None) is None
