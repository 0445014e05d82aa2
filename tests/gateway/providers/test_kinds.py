"""Every kind against the published list of them: data, addresses, and what a server sees when it is asked."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.config.kinds import KINDS, placed
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.endpoints import chat_url, models_url
from tests.fakes.scripted_peer import Connection, ScriptedPeer
from tests.gateway.providers.provider_rig import KEY, PROFILE, ask, provider_for

ROWS: list[dict[str, Any]] = json.loads(
    (pathlib.Path(__file__).parent / "kinds.json").read_text(encoding="utf-8")
)
BY_KIND = pytest.mark.parametrize("row", ROWS, ids=[row["kind"] for row in ROWS])
REGION = {"AWS_REGION": "eu-west-9"}
PROTOCOLS = {
    "openai_chat_completions": "openai_chat",
    "anthropic_messages": "anthropic_messages",
    "bedrock_converse": "bedrock_converse",
}
ANSWERS: dict[str, object] = {
    "openai_chat": {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]},
    "anthropic_messages": {"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"},
    "bedrock_converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
        "stopReason": "end_turn",
    },
}
LISTED = {"data": [{"id": "m1"}], "modelSummaries": [{"modelId": "m1"}]}


@pytest.fixture(scope="module")
def peer() -> Iterator[ScriptedPeer]:
    # Which protocol is asked shows in the path.
    def answer(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            head = request[0].split("\r\n")[0]
            protocol = "bedrock_converse" if "/converse" in head else "openai_chat"
            protocol = "anthropic_messages" if "/messages" in head else protocol
            connection.answer_json(200, LISTED if head.startswith("GET") else ANSWERS[protocol])

    with ScriptedPeer(answer) as server:
        yield server


def test_the_list_is_complete() -> None:
    assert sorted(KINDS) == sorted(["echo", *(row["kind"] for row in ROWS)])


@BY_KIND
def test_the_row_says_what_the_list_says(row: dict[str, Any]) -> None:
    kind = KINDS[row["kind"]]
    agent = {"User-Agent": row["default_user_agent"]} if row["default_user_agent"] else {}
    default = row["default_model"] or row["onboarding_fallback_model"]
    other = [one["base_url"] for one in row["region_variants"] if not one.get("default")]
    tokens = [row["oauth_token_env"], *row["oauth_token_env_aliases"]]
    assert {
        "aliases": set(kind.aliases),
        "env": [*kind.key_env],
        "token": [*kind.oauth_env],
        "auth": kind.auth,
        "optional": kind.key_optional,
        "list": kind.open_list or kind.key_optional,
        "protocol": kind.protocol,
        "headers": {**kind.headers},
        "own": kind.own_base_url,
        "elsewhere": kind.elsewhere,
    } == {
        "aliases": set(row["aliases"]),
        "env": [name for name in (row["api_key_env"], *row["api_key_env_aliases"]) if name],
        "token": [name for name in tokens if name],
        "auth": {"bearer": "bearer", "x_api_key": "x-api-key"}[row["auth"]],
        "optional": row["auth_optional"],
        "list": row["model_probe_auth_optional"],
        "protocol": PROTOCOLS[row["protocol"]],
        "headers": {**row["default_headers"], **agent},
        "own": row["requires_base_url"],
        "elsewhere": other[0] if other else "",
    }
    if default:
        assert kind.auto_models == (default,)


@BY_KIND
def test_the_default_addresses_are_the_documented_ones(row: dict[str, Any]) -> None:
    profile, kind = replace(PROFILE, kind=row["kind"], base_url=None), placed(KINDS[row["kind"]], REGION)
    expected = [row[name].replace("<region>", "eu-west-9") for name in ("chat_url", "models_url")]
    assert [chat_url(profile, kind), models_url(profile, kind)] == expected


def test_the_first_variable_that_names_a_region_wins() -> None:
    environ = {"AWS_DEFAULT_REGION": "c", "AWS_REGION": "b", "BEDROCK_AWS_REGION": "a"}
    for region in "abc":
        assert placed(KINDS["bedrock"], environ).base_url == f"https://bedrock-runtime.{region}.amazonaws.com"
        del environ[next(reversed(environ))]


@pytest.mark.parametrize("region", ["us east", "evil.example/", "evil.example#", "EU", "é", "a" * 41])
def test_what_is_no_region_gets_into_no_address(region: str) -> None:
    assert placed(KINDS["bedrock"], {"AWS_REGION": region}) == KINDS["bedrock"]


@BY_KIND
def test_the_server_sees_the_documented_request(row: dict[str, Any], peer: ScriptedPeer) -> None:
    kind = row["kind"]
    root = f"{peer.url}{urlsplit(row['base_url']).path}"
    if kind in ("custom", "cloudflare_ai_gateway"):
        root = f"{peer.url}/v1/mine"
    models_path = row["models_path_effective"]
    changes: dict[str, Any] = {"kind": kind, "base_url": root, "api_key": SecretRef("env", "KEY", "k")}
    if "://" in models_path:
        models_path = urlsplit(models_path).path
        changes["models_endpoint"] = f"{peer.url}{models_path}"
        listed_at = models_path
    else:
        listed_at = urlsplit(root).path + models_path
    provider = provider_for(None, environ={"KEY": KEY, **REGION}, **changes)
    before = len(peer.requests)
    assert ask(provider).text == "hi"
    assert list(provider.models(deadline=Deadline(5))) == ["m1"]
    chat, listing = (head for head, _ in peer.requests[before:])
    wanted = urlsplit(root).path + row["chat_path"].replace("{modelId}", "m1")
    assert chat.startswith(f"POST {wanted} HTTP/1.1\r\n")
    assert listing.split(" ")[1].split("?")[0] == listed_at
    sent = dict(row["default_headers"])
    sent.update({"User-Agent": row["default_user_agent"]} if row["default_user_agent"] else {})
    name = {"bearer": "Authorization", "x_api_key": "x-api-key"}[row["auth"]]
    sent[name] = f"Bearer {KEY}" if row["auth"] == "bearer" else KEY
    for head in (chat, listing):
        lines = {line.partition(":")[0].lower(): line.partition(": ")[2] for line in head.split("\r\n")[1:]}
        assert {name: lines.get(name.lower()) for name in sent} == sent
        assert ("authorization" in lines) != ("x-api-key" in lines)


@pytest.mark.parametrize("kind", sorted(row["kind"] for row in ROWS if row["model_probe_auth_optional"]))
def test_models_are_listed_without_a_key_where_the_service_allows_it(kind: str, peer: ScriptedPeer) -> None:
    before = len(peer.requests)
    base = f"{peer.url}{urlsplit(KINDS[kind].base_url).path}"
    missing = SecretRef("absent", None, "k", KINDS[kind].key_env)
    provider = provider_for(None, environ={}, kind=kind, base_url=base, api_key=missing)
    assert list(provider.models(deadline=Deadline(5))) == ["m1"]
    assert "authorization" not in peer.requests[before][0].lower()
    if not KINDS[kind].key_optional:
        with pytest.raises(ProviderFault, match="_KEY"):
            ask(provider)


@pytest.mark.parametrize(("effort", "thinking"), [("none", "disabled"), ("low", "enabled")])
def test_kimi_is_told_whether_to_think(effort: str, thinking: str, peer: ScriptedPeer) -> None:
    before = len(peer.requests)
    ask(provider_for(peer, kind="kimi", reasoning_effort=effort))
    body = json.loads(peer.requests[before][1])
    assert body["thinking"] == {"type": thinking} and "reasoning_effort" not in body
