"""What the doctor says of packages that a channel needs and of its platform's console."""

from __future__ import annotations

import importlib.machinery
import sys

import pytest

from loong_gateway.base.clock import Clock
from loong_gateway.config.loading import validate_source
from loong_gateway.doctor.channel_setup import check_channel_setup
from loong_gateway.doctor.configuration import check_configuration
from loong_gateway.doctor.contract import Check, Inspection
from loong_gateway.owner.paths import resolve_places

FEISHU = '[feishu]\nenabled = true\nallowed_chat_ids = ["oc_1"]\n'
WECOM = '[wecom]\nenabled = true\nallowed_conversation_ids = ["a"]\n'
TELEGRAM = "[telegram]\nenabled = true\nallowed_chat_ids = [1]\n"


def inspection(text: str) -> Inspection:
    config, problems = validate_source("config.toml", text.encode(), environ={})
    assert config is not None, problems
    return Inspection(resolve_places({}, {"LOONG_HOME": "/nowhere"}), {}, Clock(), config)


def found(text: str) -> list[Check]:
    return check_channel_setup(inspection(text))


@pytest.fixture
def without_crypto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)


@pytest.fixture
def with_crypto(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("cryptography")
    module.__spec__ = importlib.machinery.ModuleSpec("cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography", module)


@pytest.mark.usefixtures("without_crypto")
@pytest.mark.parametrize(
    ("config", "levels"),
    [
        (FEISHU, ["pass"]),
        (FEISHU + 'mode = "webhook"\n', ["pass"]),
        (WECOM, ["warn"]),
        (TELEGRAM, []),
    ],
)
def test_the_missing_package_is_named_where_it_is_needed(config: str, levels: list[str]) -> None:
    checks = found(config)
    assert [check.level for check in checks] == levels
    for check in checks:
        if check.level != "pass":
            assert "cryptography is missing" in check.detail
            assert "loong[crypto]" in str(check.fix)


@pytest.mark.usefixtures("without_crypto")
@pytest.mark.parametrize(("mode", "named"), [("websocket", 0), ("webhook", 1)])
def test_a_webhook_that_cannot_be_read_fails(mode: str, named: int) -> None:
    checks = check_configuration(inspection(f'{FEISHU}mode = "{mode}"\n'))
    failing = [check for check in checks if "cryptography is missing" in check.detail]
    assert [(check.level, check.fix) for check in failing] == [
        ("fail", "pip install 'loong[crypto]'")
    ] * named


@pytest.mark.usefixtures("with_crypto")
def test_what_only_the_console_shows_is_listed_for_the_mode_in_use() -> None:
    (long,) = found(FEISHU)
    (hook,) = found(FEISHU + 'mode = "webhook"\nack_reactions = true\n')
    for name in ("im:message", "im:resource", "im.message.receive_v1", "published version"):
        assert name in long.detail
        assert name in hook.detail
    assert "long connection, which the console saves only while loong is connected" in long.detail
    assert "/feishu/events" in hook.detail
    assert ("im:message.reactions:write_only" in long.detail, "reactions" in hook.detail) == (False, True)
    assert found(WECOM) == []
