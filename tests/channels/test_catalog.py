"""The catalog of channels: names, aliases, what this build serves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from loong_channels import catalog


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("telegram", "telegram"),
        (" Telegram ", "telegram"),
        ("lark", "feishu"),
        ("LARK", "feishu"),
        ("wechat_work", "wecom"),
        ("wechat-work", "wecom"),
        ("qywx", "wecom"),
        ("wa", "whatsapp"),
        ("tencent_qq", "qqbot"),
        ("google_chat", "google-chat"),
        ("google-chat", "google-chat"),
        ("nextcloud_talk", "nextcloud-talk"),
        ("synochat", "synology-chat"),
        ("carrier-pigeon", None),
        ("", None),
    ],
)
def test_names_are_folded_and_aliases_followed(given: str, expected: str | None) -> None:
    assert catalog.canonical(given) == expected


def test_no_spelling_means_two_channels() -> None:
    spellings = [name for row in catalog.KNOWN.values() for name in (row.id, *row.aliases)]
    assert len(spellings) == len(set(spellings)) == len(catalog._SPELLINGS)
    assert len(catalog.KNOWN) == 29


def test_every_row_is_usable() -> None:
    for row in catalog.KNOWN.values():
        assert row.label
        assert row.transport
        assert row.target_kinds
        assert row.kind in ("runtime", "standalone", "outbound", "bridge", "planned")
        assert row.config_key == row.id.replace("-", "_")
        assert set(row.target_kinds) <= {"conversation", "message_reply", "receive_id", "address", "endpoint"}
    orders = [row.order for row in catalog.KNOWN.values()]
    assert orders == sorted(orders)


def test_only_what_has_code_is_advertised() -> None:
    assert catalog.gateway_channels() == ("feishu", "telegram", "wecom")
    assert catalog.KNOWN["telegram"].status == "runtime_backed"
    assert {row.status for row in catalog.KNOWN.values() if row.package is None} == {"stub"}


def test_default_target_kinds() -> None:
    kinds = {name: row.target_kinds[0] for name, row in catalog.KNOWN.items()}
    assert kinds["feishu"] == "receive_id"
    assert kinds["telegram"] == kinds["wecom"] == kinds["irc"] == "conversation"
    assert kinds["email"] == kinds["line"] == "address"
    assert kinds["webhook"] == kinds["dingtalk"] == "endpoint"


def test_specs_are_loaded_by_name_or_alias() -> None:
    assert catalog.spec("telegram").name == "telegram"
    assert catalog.spec("Telegram").conversation_setting == "allowed_chat_ids"
    with pytest.raises(catalog.NotInThisBuild):
        catalog.spec("matrix")
    with pytest.raises(LookupError):
        catalog.spec("carrier-pigeon")


def test_what_a_channel_needs_agrees_with_its_spec() -> None:
    for row in catalog.KNOWN.values():
        if row.package is None:
            continue
        spec = catalog.spec(row.id)
        settings = {setting.name: setting for setting in spec.settings}
        assert set(row.send_needs) | set(row.serve_needs) <= set(settings)
        assert {name: settings[name].env for name in row.env} == row.env


def test_the_catalog_imports_no_channel_and_no_transport() -> None:
    probe = (
        "import sys, loong_channels.catalog as c; c.by_config_key();"
        "own = ('loong_channels.telegram', 'loong_channels.feishu', 'requests', 'loong_gateway');"
        "print([m for m in sys.modules if m.startswith(own)])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
