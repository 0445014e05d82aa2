"""The port's own secret is read again, and whoever judges by it hears of a new one."""

from __future__ import annotations

import pathlib

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.peers import Peer
from loong_gateway.base.faults import CommandError
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.daemon.held_secret import HeldSecret, keep_apart
from loong_gateway.logs.redaction import Redactor
from tests.gateway.api.port_kit import gateway_settings

HERE = Peer("127.0.0.1", "127.0.0.1", loopback=True)


def secret_of(ref: SecretRef, redactor: Redactor | None = None, **changes: object) -> HeldSecret:
    return HeldSecret.of_port(gateway_settings(token=ref, **changes), {}, redactor or Redactor())


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


def test_a_new_value_replaces_the_old_one(file: pathlib.Path) -> None:
    redactor = Redactor()
    secret = secret_of(SecretRef("file", str(file), "gateway.auth.token"), redactor)
    auth = Auth(secret=secret.value, control_token="control-token-of-this-run")
    closed: list[str] = []
    secret.on_change(auth.replace_secret)
    secret.on_change(lambda _: closed.append("shared"))
    assert secret.reload().outcome == "unchanged"
    file.write_text("second-token\n")
    assert secret.reload().outcome == "replaced"
    assert closed == ["shared"]
    verdicts = [
        auth.judge(token, HERE, stop=StopToken()).outcome
        for token in (b"first-token", b"second-token", b"control-token-of-this-run")
    ]
    assert verdicts == ["wrong", "ok", "ok"]
    assert redactor.scrub("second-token first-token") == "*** ***"


def test_the_old_value_holds_while_there_is_no_new_one(file: pathlib.Path) -> None:
    secret = secret_of(SecretRef("file", str(file), "gateway.auth.token"))
    secret.on_change(pytest.fail)
    file.unlink()
    outcome = secret.reload()
    assert (outcome.outcome, secret.value) == ("unavailable", "first-token")
    assert "first-token" not in outcome.detail


def test_without_one_there_is_nothing_to_read() -> None:
    secret = secret_of(SecretRef("absent", None, "gateway.auth.token", ("LOONG_GATEWAY_TOKEN",)))
    assert (secret.value, secret.reload()) == (None, None)


def test_one_that_cannot_be_had_at_the_start_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CommandError) as raised:
        secret_of(SecretRef("file", str(tmp_path / "nowhere"), "gateway.auth.token"))
    assert raised.value.code == "run.secret_missing"


def test_no_hook_is_taken_while_its_token_is_the_secret_of_the_port() -> None:
    environ = {"PORT": "secret-of-the-port-1", "HOOK": "token-of-the-hooks-1"}
    hook, port = (
        HeldSecret(SecretRef("env", name, name.lower()), ("gateway", name), environ, Redactor())
        for name in ("HOOK", "PORT")
    )
    hooks = hook_auth(str(hook.value))
    keep_apart(hooks, hook, port)

    def taken(token: str) -> bool:
        return hooks.judge(token.encode(), HERE, stop=StopToken()).outcome == "ok"

    environ["PORT"] = "token-of-the-hooks-1"
    port.reload()
    assert not taken("token-of-the-hooks-1")
    environ["HOOK"] = "token-of-the-hooks-2"
    hook.reload()
    assert taken("token-of-the-hooks-2")
    assert not taken("token-of-the-hooks-1")
