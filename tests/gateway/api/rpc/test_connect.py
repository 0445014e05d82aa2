from __future__ import annotations

import copy

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.peers import Peer
from loong_gateway.api.rpc.connect import Refused, authenticate, negotiate, read_connect

HERE = Peer("127.0.0.1", "loopback", loopback=True)
ELSEWHERE = Peer("192.0.2.7", "192.0.2.7", loopback=False)
GOOD = {
    "minProtocol": 4,
    "maxProtocol": 4,
    "client": {"id": "gateway-client", "version": "0.0.0", "platform": "linux", "mode": "backend"},
    "caps": [],
    "role": "operator",
    "scopes": ["operator.admin"],
}


def changed(path: str, value: object) -> dict[str, object]:
    """The good parameters with one place changed; None takes it out."""
    params = copy.deepcopy(GOOD)
    *outer, last = path.split("/")
    place = params
    for name in outer:
        place = place.setdefault(name, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return params


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("minProtocol", None, "must have required property 'minProtocol'"),
        ("maxProtocol", None, "must have required property 'maxProtocol'"),
        ("client", None, "must have required property 'client'"),
        ("minProtocol", 0, "at /minProtocol: must be >= 1"),
        ("minProtocol", True, "at /minProtocol: must be integer"),
        ("maxProtocol", 4.0, "at /maxProtocol: must be integer"),
        ("client", "cli", "at /client: must be object"),
        ("client/id", None, "at /client: must have required property 'id'"),
        ("client/id", "somebody", "at /client/id: must be equal to one of the allowed values"),
        ("client/mode", "boss", "at /client/mode: must be equal to one of the allowed values"),
        ("client/version", "", "at /client/version: must NOT have fewer than 1 characters"),
        ("client/buildId", "x" * 97, "at /client/buildId: must NOT have more than 96 characters"),
        ("client/timeZone", "x" * 65, "at /client/timeZone: must NOT have more than 64 characters"),
        ("client/extra", 1, "at /client: must NOT have additional properties"),
        ("extra", 1, "must NOT have additional properties"),
        ("role", "", "at /role: must NOT have fewer than 1 characters"),
        ("scopes", "operator.admin", "at /scopes: must be array"),
        ("scopes", ["operator.read", 3], "at /scopes/1: must be string"),
        ("caps", [""], "at /caps/0: must NOT have fewer than 1 characters"),
        ("permissions", {"a": 1}, "at /permissions: must hold booleans"),
        ("auth", [], "at /auth: must be object"),
        ("auth/token", 7, "at /auth/token: must be string"),
        ("auth/secret", "x", "at /auth: must NOT have additional properties"),
        ("device", {"id": "a"}, "at /device: must have required property 'publicKey'"),
        ("locale", 1, "at /locale: must be string"),
    ],
    ids=range(25),
)
def test_bad_parameters_are_named(path: str, value: object, reason: str) -> None:
    with pytest.raises(Refused) as raised:
        read_connect(changed(path, value))
    text = f"invalid connect params: {reason}"
    assert (raised.value.code, raised.value.reason) == (1008, text)
    assert raised.value.fault is not None
    assert (raised.value.fault.code, str(raised.value.fault)) == ("INVALID_REQUEST", text)


@pytest.mark.parametrize("params", [None, [], "x"])
def test_parameters_are_an_object(params: object) -> None:
    with pytest.raises(Refused, match="bad_params"):
        read_connect(params)


def test_everything_that_may_be_there() -> None:
    params = {
        **GOOD,
        "client": {**GOOD["client"], "displayName": "me", "instanceId": "i"},
        "device": {"id": "a", "publicKey": "b", "signature": "c", "nonce": "d", "signedAt": 5},
        "auth": {"token": "", "deviceToken": "x"},
        "commands": ["a"],
        "permissions": {"a": True},
        "pathEnv": "",
        "locale": "de",
        "userAgent": "x",
    }
    request = read_connect(params)
    assert request.about == {
        "version": "0.0.0",
        "platform": "linux",
        "displayName": "me",
        "instanceId": "i",
    }
    assert request.token == ""
    assert read_connect({**GOOD, "client": {**GOOD["client"], "id": "loong-cli"}}).client_id == "loong-cli"


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (["operator.admin"], ("operator.admin",)),
        (["operator.read", "operator.read", "root"], ("operator.read",)),
        ([], ()),
        (None, ()),
    ],
)
def test_scopes_are_those_asked_for_that_there_are(asked: list[str] | None, granted: tuple[str, ...]) -> None:
    assert read_connect(changed("scopes", asked)).granted == granted


@pytest.mark.parametrize(
    ("mode", "window", "taken"),
    [
        ("backend", (4, 4), True),
        ("backend", (1, 9), True),
        ("backend", (3, 3), False),
        ("backend", (5, 6), False),
        ("probe", (3, 4), True),
        ("probe", (3, 3), True),
        ("probe", (2, 2), False),
    ],
)
def test_versions(mode: str, window: tuple[int, int], taken: bool) -> None:
    params = changed("client/mode", mode)
    params["minProtocol"], params["maxProtocol"] = window
    request = read_connect(params)
    if taken:
        negotiate(request)
        return
    with pytest.raises(Refused) as raised:
        negotiate(request)
    assert (raised.value.code, raised.value.reason) == (1002, "protocol mismatch")
    assert raised.value.fault.details == {
        "code": "PROTOCOL_MISMATCH",
        "clientMinProtocol": window[0],
        "clientMaxProtocol": window[1],
        "expectedProtocol": 4,
        "minimumProbeProtocol": 3,
    }


@pytest.mark.parametrize(("role", "code"), [("boss", "INVALID_REQUEST"), ("node", "NOT_PAIRED")])
def test_only_operators_come_in(role: str, code: str) -> None:
    with pytest.raises(Refused) as raised:
        negotiate(read_connect(changed("role", role)))
    assert raised.value.fault.code == code
    assert raised.value.code == 1008


def judged(
    auth: dict[str, str],
    *,
    mode: str = "token",
    peer: Peer = HERE,
    desk: Auth | None = None,
    client: str = "test",
):
    desk = desk or Auth(secret="the-secret", control_token="the-control")
    params = changed("client/id", client)
    params["auth"] = auth
    return authenticate(read_connect(params), desk, mode, peer, StopToken())


@pytest.mark.parametrize("mode", ["token", "password"])
@pytest.mark.parametrize("field", ["token", "password"])
def test_the_secret_is_taken_from_either_field(mode: str, field: str) -> None:
    assert judged({field: "the-secret"}, mode=mode) == "secret"
    assert judged({"token": "stale", "password": "stale", field: "the-secret"}, mode=mode) == "secret"


def test_the_control_token_is_taken_from_here_only() -> None:
    assert judged({"token": "the-control"}) == "control"
    with pytest.raises(Refused, match="token_mismatch"):
        judged({"token": "the-control"}, peer=ELSEWHERE)


@pytest.mark.parametrize(
    ("auth", "mode", "client", "wrong", "hint"),
    [
        ({}, "token", "test", "missing", "provide gateway auth token"),
        ({"token": ""}, "token", "test", "missing", "provide gateway auth token"),
        ({"token": "x"}, "token", "test", "mismatch", "provide gateway auth token"),
        ({"token": "x"}, "token", "cli", "mismatch", "use this gateway's gateway.auth.token"),
        ({}, "password", "test", "missing", "provide gateway auth password"),
        ({"password": "\ud800"}, "password", "test", "mismatch", "provide gateway auth password"),
    ],
    ids=range(6),
)
def test_what_is_wrong_with_a_credential(
    auth: dict[str, str], mode: str, client: str, wrong: str, hint: str
) -> None:
    with pytest.raises(Refused) as raised:
        judged(auth, mode=mode, client=client)
    fault = raised.value.fault
    assert str(fault) == raised.value.reason == f"unauthorized: gateway {mode} {wrong} ({hint})"
    assert raised.value.code == 1008
    assert fault.code == "INVALID_REQUEST"
    assert fault.details["code"] == f"AUTH_{mode}_{wrong}".upper()
    assert fault.details["authReason"] == f"{mode}_{wrong}"
    step = {"missing": "update_auth_configuration", "mismatch": "update_auth_credentials"}[wrong]
    assert fault.details["recommendedNextStep"] == step
    assert fault.details["canRetryWithDeviceToken"] is False
    assert not fault.retryable


def test_without_a_configured_secret_that_is_what_is_said() -> None:
    with pytest.raises(Refused) as raised:
        judged({"token": "x"}, desk=Auth(secret=None, control_token="the-control"))
    assert raised.value.fault.details["code"] == "AUTH_TOKEN_NOT_CONFIGURED"


def test_who_guesses_too_often_is_locked_out_even_with_the_right_one() -> None:
    desk = Auth(secret="the-secret", control_token="", attempts=2)
    for _ in range(2):
        with pytest.raises(Refused, match="token_mismatch"):
            judged({"token": "x"}, peer=ELSEWHERE, desk=desk)
    with pytest.raises(Refused) as raised:
        judged({"token": "the-secret"}, peer=ELSEWHERE, desk=desk)
    fault = raised.value.fault
    assert str(fault) == "unauthorized: too many failed authentication attempts (retry later)"
    assert fault.details["code"] == "AUTH_RATE_LIMITED"
    assert fault.details["recommendedNextStep"] == "wait_then_retry"
    assert fault.retryable
    assert 299_000 < fault.retry_after_ms <= 300_000
