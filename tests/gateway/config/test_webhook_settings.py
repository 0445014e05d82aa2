"""Where platforms call us: what can be had, and by one account only."""

from __future__ import annotations

import pytest

from tests.gateway.config.reading import findings, valid

HOOK = 'enabled = true\nmode = "webhook"\nallowed_chat_ids = ["oc_1"]\n'


def said(text: str) -> list[tuple[str, str, str]]:
    return [
        (found.code, found.field_path, found.message)
        for found in findings('[providers.main]\nkind = "echo"\n' + text)
    ]


@pytest.mark.parametrize("path", ["/healthz", "/api/gateway/stop", "/v1/turn", "/", "hooks/x", "/readyz/"])
def test_the_gateways_own_paths_are_refused_by_name(path: str) -> None:
    (found,) = said(f'[feishu]\n{HOOK}webhook_path = "{path}"')
    assert found == ("config.value.invalid", "feishu.webhook_path", "is a path of the gateway itself")


@pytest.mark.parametrize("path", ["/a b", "/a?b", "/a#b", "/%61", "/ä", "/" + "a" * 300])
def test_a_path_that_no_request_could_have_is_refused(path: str) -> None:
    (found,) = said(f'[feishu]\n{HOOK}webhook_path = "{path}"')
    assert found[:2] == ("config.value.invalid", "feishu.webhook_path")


@pytest.mark.parametrize("bind", ["8080", "host:", "host:x", "host:70000", "host:-1"])
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    (found,) = said(f'[feishu]\n{HOOK}webhook_bind = "{bind}"')
    assert found == ("config.value.invalid", "feishu.webhook_bind", "expected host:port")


def test_accounts_that_share_a_path_or_an_address_are_a_warning_for_only_one_of_them_runs() -> None:
    accounts = (
        f"[feishu]\n{HOOK}[feishu.accounts.a]\napp_id_env = 'A'\n{{a}}\n"
        "[feishu.accounts.b]\napp_id_env = 'B'\n{b}"
    )
    same = 'webhook_path = "events"'
    assert said(accounts.format(a=same, b='webhook_path = "/events"')) == [
        (
            "config.webhook.taken",
            "feishu.accounts.b.webhook_path",
            "feishu/a has the same webhook_path as feishu/b; only one of them can run",
        )
    ]
    assert {found.severity for found in findings(accounts.format(a=same, b=same))} == {"warning"}
    bind = 'webhook_bind = "127.0.0.1:8080"'
    (found,) = said(accounts.format(a=f'{bind}\nwebhook_path = "/a"', b=f'{bind}\nwebhook_path = "/b"'))
    assert found[2] == "feishu/a has the same webhook_bind as feishu/b; only one of them can run"
    for other in ('mode = "websocket"', "enabled = false", 'webhook_path = "/other"'):
        assert said(accounts.format(a="", b=other)) == []
    free = 'webhook_bind = "127.0.0.1:0"'
    assert said(accounts.format(a=f'{free}\nwebhook_path = "/a"', b=f'{free}\nwebhook_path = "/b"')) == []


def test_there_is_no_listener_unless_one_is_written() -> None:
    account = valid(f"[feishu]\n{HOOK}").channels["feishu"].accounts["default"]
    assert (account.settings["webhook_bind"], account.settings["webhook_path"]) == (None, "/feishu/events")
    # Without webhook mode nobody looks at them.
    assert said('[feishu]\nenabled = true\nallowed_chat_ids = ["oc_1"]\nwebhook_path = "/healthz"') == []
