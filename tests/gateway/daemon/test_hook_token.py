"""The token of the hooks never opens the port, whatever happens to either of them."""

from __future__ import annotations

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.peers import peer_of
from loong_gateway.base.faults import CommandError
from loong_gateway.daemon.hook_token import guard_hooks, hook_token
from loong_gateway.daemon.port_secret import PortSecret
from loong_gateway.logs.redaction import Redactor
from tests.gateway.config.reading import valid

CONFIG = '''
[gateway.auth]
token = { env = "PORT" }
[hooks]
enabled = true
token = { env = "HOOK" }
'''


def fetched(environ: dict[str, str]) -> str | None:
    config, redactor = valid(CONFIG, environ), Redactor()
    token = hook_token(config.hooks, environ, redactor, PortSecret(config.gateway, environ, redactor))
    assert token is None or token not in redactor.scrub(f"it is {token}.")
    return token


def test_a_token_of_its_own_is_taken_and_hidden_from_the_log() -> None:
    assert fetched({"PORT": "secret-of-the-port-1", "HOOK": "token-of-the-hooks-1"}) == "token-of-the-hooks-1"


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({"PORT": "one-and-the-same-1", "HOOK": "one-and-the-same-1"}, "run.hook_token_reused"),
        ({"PORT": "secret-of-the-port-1"}, "run.secret_missing"),
    ],
    ids=["reused", "missing"],
)
def test_a_start_without_one_is_refused_for_good(environ: dict[str, str], code: str) -> None:
    with pytest.raises(CommandError) as refused:
        fetched(environ)
    assert (refused.value.code, refused.value.exit_code) == (code, 78)


def test_hooks_are_closed_when_the_port_gets_their_token() -> None:
    hooks, peer = hook_auth("token-of-the-hooks-1"), peer_of("127.0.0.1")
    guard_hooks(hooks, "token-of-the-hooks-1", "another-secret")
    assert hooks.judge(b"token-of-the-hooks-1", peer, stop=StopToken()).outcome == "ok"
    guard_hooks(hooks, "token-of-the-hooks-1", "token-of-the-hooks-1")
    assert hooks.judge(b"token-of-the-hooks-1", peer, stop=StopToken()).outcome == "wrong"
