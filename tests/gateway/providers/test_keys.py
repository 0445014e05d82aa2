"""Several keys of one profile: their order, their health, and what of it outlives the process."""

from __future__ import annotations

import json
import os
import pathlib
import stat
from dataclasses import replace

import pytest

from loong_gateway.config.kinds import KINDS
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.access import Access
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.credentials import KeyRing
from loong_gateway.providers.health_file import HealthFile
from loong_gateway.providers.key_health import HealthRules, KeyHealth, rules_of
from tests.fakes.scripted_peer import Connection, ScriptedPeer
from tests.gateway.providers.provider_rig import PROFILE, ask, completion, provider_for

ONE, TWO, THREE = "key-number-one", "key-number-two", "key-number-three"
ALL = [ONE, TWO, THREE]
TOKEN = "token-of-an-account"
SEVERAL = SecretRef("env", "MODEL_KEY", "providers.main.api_key", several=True)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def health(clock: Clock, **rules: object) -> KeyHealth:
    return KeyHealth(
        HealthRules(**{"cooldown_ms": 1000, "longest_ms": 4000, "disable_ms": 9000, **rules}), now_ms=clock
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a1,b2", "a1;b2", "a1\nb2\n", " a1 , ; b2,a1"])
def test_keys_are_separated_by_commas_semicolons_and_lines(text: str) -> None:
    assert resolve(SEVERAL, {"MODEL_KEY": text}) == "a1\nb2"


@pytest.mark.parametrize("text", [",;", "a b,c", "a,b\u00e9"])
def test_each_of_several_keys_must_be_one(text: str) -> None:
    with pytest.raises(SecretUnavailable):
        resolve(SEVERAL, {"MODEL_KEY": text})


def test_the_key_that_rested_longest_goes_first() -> None:
    keys = health(Clock())
    used = []
    for _ in range(5):
        used.append(keys.order(ALL, 0)[0])
        keys.using(used[-1])
    assert used == [ONE, TWO, THREE, ONE, TWO]


def test_failed_keys_go_last_soonest_recovery_first_and_none_is_left_out() -> None:
    clock = Clock()
    keys = health(clock)
    keys.failed(ONE, "auth_rejected")
    keys.failed(TWO, "rate_limited")
    assert keys.order(ALL, 0) == [THREE, TWO, ONE]
    keys.failed(THREE, "provider_overloaded", at_least_s=5)
    assert keys.order(ALL, 0) == [TWO, THREE, ONE]
    clock.now_ms += 6000
    assert keys.order(ALL, 0) == [TWO, THREE, ONE]
    keys.worked(ONE)
    assert keys.order(ALL, 0) == ALL


def test_each_failure_doubles_the_time_up_to_the_bound_and_a_success_forgets_them() -> None:
    clock = Clock()
    keys = health(clock)
    left = []
    for _ in range(4):
        keys.failed(ONE, "rate_limited")
        left.append(keys.shown([ONE])[0]["left_s"])
    assert left == [1, 2, 4, 4]
    keys.worked(ONE)
    assert keys.shown([ONE]) == [{"key": 1, "state": "ready"}] and keys.dump() == {}


def test_a_refused_key_is_disabled_and_what_is_nobodys_fault_does_not_count() -> None:
    keys = health(Clock())
    keys.failed(ONE, "auth_rejected")
    keys.failed(TWO, "model_mismatch")
    keys.failed(THREE, "interrupted")
    assert keys.shown(ALL) == [
        {"key": 1, "state": "disabled", "left_s": 9, "last_error": "auth_rejected"},
        {"key": 2, "state": "ready"},
        {"key": 3, "state": "ready"},
    ]


def test_an_observed_profile_counts_and_keeps_its_order() -> None:
    keys = health(Clock(), observed=True)
    keys.failed(ONE, "rate_limited")
    keys.using(ONE)
    assert keys.order(ALL, 0) == ALL and keys.shown(ALL)[0]["state"] == "cooling"


@pytest.mark.parametrize(
    ("kind", "mode", "observed"),
    [
        ("openrouter", "provider_default", True),
        ("openrouter", "enforce", False),
        ("openai", "provider_default", False),
        ("openai", "observe_only", True),
    ],
)
def test_whether_health_orders_is_the_kinds_or_the_configs_word(kind: str, mode: str, observed: bool) -> None:
    assert rules_of(replace(PROFILE, profile_health_mode=mode), KINDS[kind]).observed is observed


def test_few_keys_are_remembered() -> None:
    keys = health(Clock(), most=2)
    for key in ALL:
        keys.using(key)
        keys.failed(key, "rate_limited")
    assert [one["state"] for one in keys.shown(ALL)] == ["ready", "cooling", "cooling"]


def test_a_step_of_the_clock_makes_no_wait_longer_than_the_rules_allow() -> None:
    clock = Clock()
    keys = health(clock)
    keys.failed(ONE, "rate_limited")
    clock.now_ms -= 900_000
    assert keys.shown([ONE])[0]["left_s"] == 9


def test_health_outlives_the_process_without_any_key_in_the_file(tmp_path: pathlib.Path) -> None:
    path, clock = tmp_path / "provider-profile-state.json", Clock()
    first, before = HealthFile(str(path)), health(clock)
    first.share("main", before)
    first.keep()
    assert not path.exists()
    before.failed(ONE, "auth_rejected")
    first.keep()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert ONE not in path.read_text() and json.loads(path.read_text())["schema_version"] == 1
    after = health(clock)
    HealthFile(str(path)).share("main", after)
    assert after.order([ONE, TWO], 0) == [TWO, ONE]
    # A replaced key starts clean.
    assert after.shown([TWO])[0]["state"] == "ready"


def test_a_file_is_only_written_when_something_changed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.json"
    file, keys = HealthFile(str(path)), health(Clock())
    file.share("main", keys)
    keys.failed(ONE, "rate_limited")
    file.keep()
    path.unlink()
    keys.using(ONE)
    file.keep()
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"profiles": 3}',
        b'{"profiles": {"main": 3}}',
        b"\xff",
        b'{"profiles": {"main": {"x": {"failures": "many"}}}}',
    ],
    ids=["empty", "cut", "list", "null", "number", "no-table", "no-text", "odd-entry"],
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file, keys = HealthFile(str(path)), health(Clock())
    file.share("main", keys)
    assert keys.order(ALL, 0) == ALL
    keys.failed(ONE, "rate_limited")
    file.keep()
    assert list(json.loads(path.read_bytes())["profiles"]) == ["main"]


def refusing(refused: dict[str, int], seen: list[str]) -> ScriptedPeer:
    """A server that answers per key with a status."""

    def script(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            lines = [
                line.partition(": ")[2]
                for line in request[0].split("\r\n")
                if line.startswith("Authorization")
            ]
            key = lines[0].partition(" ")[2] if lines else ""
            seen.append(key)
            status = refused.get(key, 200)
            connection.answer_json(status, completion() if status == 200 else {"error": {"message": "no"}})

    return ScriptedPeer(script)


def test_a_refused_key_gives_way_to_the_next_and_stays_last() -> None:
    seen: list[str] = []
    with refusing({ONE: 401}, seen) as peer:
        provider = provider_for(peer, api_key=SEVERAL, environ={"MODEL_KEY": f"{ONE},{TWO}"})
        for _ in range(3):
            assert ask(provider).text == "hello"
        shown = provider.health()["keys"]
    assert seen == [ONE, TWO, TWO, TWO]
    assert [one["state"] for one in shown] == ["disabled", "ready"]  # type: ignore[attr-defined]
    assert ONE not in str(shown)


def test_the_only_key_is_asked_again_however_often_it_was_refused() -> None:
    seen: list[str] = []
    refused = {ONE: 401}
    with refusing(refused, seen) as peer:
        provider = provider_for(peer, environ={"MODEL_KEY": ONE})
        for _ in range(3):
            with pytest.raises(ProviderFault, match="refused the key"):
                ask(provider)
        refused.clear()
        assert ask(provider).text == "hello"
    assert seen == [ONE] * 4


def test_a_limited_key_gives_way_after_its_tries() -> None:
    seen: list[str] = []
    with refusing({ONE: 429}, seen) as peer:
        environ = {"MODEL_KEY": f"{ONE},{TWO}"}
        provider = provider_for(peer, api_key=SEVERAL, environ=environ, retry_max_attempts=2)
        assert ask(provider).text == "hello"
    assert seen == [ONE, ONE, TWO]


def test_when_every_key_is_refused_the_text_says_what_was_tried() -> None:
    with refusing({ONE: 401, TWO: 403}, []) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, api_key=SEVERAL, environ={"MODEL_KEY": f"{ONE},{TWO}"}))
    assert caught.value.kind == "auth_rejected"
    assert caught.value.where == (
        "providers.main.api_key (env MODEL_KEY, 2 keys set; sent as Authorization: Bearer)"
    )


def test_the_token_of_an_account_goes_before_the_keys_while_it_is_well() -> None:
    seen: list[str] = []
    token = SecretRef("env", "TOKEN", "providers.main.oauth_access_token")
    refused: dict[str, int] = {}
    with refusing(refused, seen) as peer:
        environ = {"MODEL_KEY": f"{ONE},{TWO}", "TOKEN": TOKEN}
        provider = provider_for(peer, api_key=SEVERAL, oauth_access_token=token, environ=environ)
        ask(provider)
        ask(provider)
        refused[TOKEN] = 401
        ask(provider)
        ask(provider)
    assert seen == [TOKEN, TOKEN, TOKEN, ONE, TWO]


def test_a_key_that_was_replaced_in_its_file_is_used_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{ONE}\n")
    seen: list[str] = []
    refused: dict[str, int] = {}
    with refusing(refused, seen) as peer:
        provider = provider_for(peer, api_key=SecretRef("file", str(path), "k", several=True))
        ask(provider)
        path.write_text(f"{TWO}\n{THREE}\n")
        refused[ONE] = 401
        assert ask(provider).text == "hello"
    assert seen == [ONE, ONE, TWO]


@pytest.mark.parametrize(
    ("kind", "base", "hint"),
    [
        ("kimi", "", "https://api.moonshot.ai"),
        ("zhipu", "https://api.z.ai", "https://open.bigmodel.cn"),
        ("openai", "", ""),
        ("kimi", "https://proxy.example", ""),
    ],
)
def test_a_refused_key_may_belong_to_another_region(kind: str, base: str, hint: str) -> None:
    profile = replace(PROFILE, kind=kind, base_url=base or None)
    ring = KeyRing(profile.api_key, lambda _: ONE, required=True)
    assert Access(profile, KINDS[kind], ring).subject("u").elsewhere == hint


def test_a_wrong_address_says_nothing_about_the_keys() -> None:
    with refusing({ONE: 404, TWO: 404}, []) as peer:
        provider = provider_for(peer, api_key=SEVERAL, environ={"MODEL_KEY": f"{ONE},{TWO}"})
        with pytest.raises(ProviderFault, match="nothing answers chat calls"):
            ask(provider)
        assert [one["state"] for one in provider.health()["keys"]] == ["ready", "ready"]  # type: ignore[attr-defined]
