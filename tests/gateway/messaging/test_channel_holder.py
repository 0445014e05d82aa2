"""What helps when the credential of an account is refused or cannot be read: by where it comes from."""

from __future__ import annotations

from typing import Any

import pytest

from loong_channels.contract import Account, ChannelSpec
from loong_channels.feishu.spec import SPEC
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, SecretRef
from loong_gateway.messaging.channel_holder import CannotServe, ChannelHolder, OpenChannel

ID = "feishu.app_id"
SECRET = "feishu.app_secret"


def holder(*, secret_form: str, failing: SecretUnavailable) -> ChannelHolder:
    def resolve(_spec: ChannelSpec, _account: AccountConfig) -> Account:
        raise failing

    def build(_account: Account) -> Any:
        raise AssertionError("there is nothing to build it from")

    settings = {
        "mode": "websocket",
        "app_id": SecretRef("env", "APP_ID", ID, ()),
        "app_secret": SecretRef(secret_form, "x", SECRET, ()),
    }
    account = AccountConfig("feishu", "work", "work", True, settings)
    opening = OpenChannel(resolve, build)
    return ChannelHolder(SPEC, account, opening=opening, threads=ThreadRegistry(), clock=Clock())


def unset(setting: str) -> SecretUnavailable:
    return SecretUnavailable("secret.env_not_set", name="APP", setting=setting)


@pytest.mark.parametrize(("form", "reload"), [("env", False), ("file", True), ("exec", True)])
def test_a_refused_credential_is_read_again_where_any_of_it_can_be(form: str, reload: bool) -> None:
    _, fix = holder(secret_form=form, failing=unset(ID)).doubt()
    assert fix.startswith("put the new credential there") is reload
    assert "loong secrets reload" in fix
    assert "gateway run" not in fix


@pytest.mark.parametrize(("setting", "restart"), [(ID, True), (SECRET, False)])
def test_what_cannot_be_read_is_told_by_the_secret_that_is_missing(setting: str, restart: bool) -> None:
    failing = unset(setting)
    with pytest.raises(CannotServe) as caught:
        holder(secret_form="file", failing=failing).open()
    fix = caught.value.fix or ""
    assert fix.startswith("set it for the service and restart that") is restart
    assert (fix == failing.fix) is not restart
