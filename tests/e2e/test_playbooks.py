"""The published playbooks for WeCom and for Volcengine with Feishu or Lark, walked command by command."""

from __future__ import annotations

import contextlib
import json
import pathlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, free_port
from tests.e2e.rollout import (
    ARK_PROVIDER,
    NAMED_WECOM,
    ONE_WECOM,
    VARIABLES,
    Platforms,
    all_ready,
    platforms,
    with_addresses,
)
from tests.fakes.feishu_sealing import signed_delivery

ONE_LARK = """
[feishu]
enabled = true
domain = "lark"
mode = "websocket"
receive_id_type = "chat_id"
app_id = { env = "FEISHU_APP_ID" }
app_secret = { env = "FEISHU_APP_SECRET" }
allowed_chat_ids = ["oc_room"]
"""
NAMED_LARK = """
[feishu]
enabled = true
default_account = "work"
mode = "websocket"

[feishu.accounts.work]
domain = "lark"
app_id = { env = "LARK_WORK_APP_ID" }
app_secret = { env = "LARK_WORK_APP_SECRET" }
allowed_chat_ids = ["oc_room"]
"""
TOKEN = "v-token"
KEY = "test-key"
WEBHOOK_SECRETS = {"FEISHU_VERIFICATION_TOKEN": TOKEN, "FEISHU_ENCRYPT_KEY": KEY}


@contextlib.contextmanager
def walk(directory: pathlib.Path, config: str, **environ: str) -> Iterator[tuple[Gateway, Platforms]]:
    """A home with this configuration, the provider of the playbooks, and the platforms around it."""
    with platforms(ark=True, prefix="/api/v3") as around:
        with Gateway(
            directory, whole(config, around), environ={**VARIABLES, **environ}, arguments=()
        ) as gateway:
            yield gateway, around
        assert around.complaints() == []


def whole(config: str, around: Platforms) -> str:
    provider = ARK_PROVIDER + f'base_url = "{around.model.base_url}"\n'
    addresses = {"feishu": around.feishu.base_url, "wecom": around.wecom.url}
    return provider + with_addresses(
        config, **{family: url for family, url in addresses.items() if f"[{family}]" in config}
    )


def served(gateway: Gateway, *words: str) -> dict[str, object]:
    """Start these words as the owner and wait until its surface is ready; the status."""
    gateway.arguments = list(words)
    gateway.start()
    return gateway.wait_status(all_ready)


def good(gateway: Gateway, *words: str) -> str:
    """What a command prints that must succeed."""
    done = gateway.run(*words)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


# --- WeCom


def test_wecom_from_the_provider_to_a_single_account(tmp_path: pathlib.Path) -> None:
    with walk(tmp_path, ONE_WECOM) as (gateway, around):
        good(gateway, "doctor")
        assert "doubao-seed-1-6-250615" in good(gateway, "list-models")
        question = "Confirm that the active provider path is healthy."
        assert question in good(gateway, "ask", "--message", question)
        around.wecom.say("known to the robot", group="group_demo")
        before = len(around.wecom.clients)
        good(gateway, "wecom-send", "--target", "group_demo", "--text", "hello wecom")
        assert around.wecom.texts("group_demo") == ["hello wecom"]
        served(gateway, "wecom-serve")
        assert len(around.wecom.clients) == before + 2
        around.wecom.say("@Robot are you there?", group="group_demo")
        around.wecom.say("let me in", user="mallory")
        around.wecom.wait_answers(2)
        assert around.wecom.texts("group_demo")[1] == "re: are you there?"
        good(gateway, "wecom-send", "--target", "group_demo", "--text", "from beside")
        assert around.wecom.texts() == ["hello wecom", "re: are you there?", "from beside"]
        refused = gateway.run("wecom-serve")
        assert refused.returncode == 78
        assert str(gateway.pid) in refused.stderr
        assert len(around.wecom.clients) == before + 2
        assert gateway.terminate() == 0


def test_wecom_with_named_accounts_served_and_then_owned_by_a_gateway(tmp_path: pathlib.Path) -> None:
    with walk(tmp_path, NAMED_WECOM) as (gateway, around):
        document = served(gateway, "wecom-serve", "--account", "work")
        assert document["mode"] == "multi_channel_serve"
        around.wecom.say("@Robot hello", group="group_work")
        around.wecom.say("@Robot hello", group="group_alerts")
        around.wecom.wait_answers(1)
        assert around.wecom.texts() == ["re: hello"]
        assert gateway.terminate() == 0

        served(gateway, *"gateway run --session daemon-gateway --channel-account wecom=work".split())
        document = json.loads(good(gateway, "gateway", "status", "--json"))
        assert [(one["channel"], one["account"]) for one in document["surfaces"]] == [("wecom", "work")]
        left_out = "wecom/alerts is enabled but not served: one account per channel runs"
        assert f"warning: {left_out}; choose with --channel-account wecom=alerts," in gateway.output()
        around.wecom.say("@Robot again", group="group_work")
        around.wecom.wait_answers(2)
        assert around.wecom.texts("group_work") == ["re: hello", "re: again"]
        assert around.wecom.texts("group_alerts") == []
        good(gateway, "gateway", "stop")
        assert gateway.wait_exit() == 0


# --- Feishu and Lark


def test_lark_from_the_first_message_to_a_gateway(tmp_path: pathlib.Path) -> None:
    with walk(tmp_path, ONE_LARK) as (gateway, around):
        around.feishu.rest.add_chat("oc_room")
        good(gateway, "doctor")
        assert "doubao-seed-1-6-250615" in good(gateway, "runtime", "models", "list")
        good(gateway, "channels", "send", "feishu", "--target", "oc_room", "--text", "hello lark")
        assert around.feishu.link.connected == 0
        assert around.feishu.rest.messages[0].receive_id_type == "chat_id"

        served(gateway, "channels", "serve", "feishu")
        around.feishu.say("let me in", "oc_elsewhere")
        around.feishu.say("are you there?")
        around.feishu.rest.wait_for(lambda: len(around.feishu.rest.texts()) == 2)
        assert around.feishu.rest.texts("oc_room") == ["hello lark", "re: are you there?"]
        assert gateway.terminate() == 0

        # A selector wants an account of that name.
        refused = gateway.run("gateway", "run", "--channel-account", "lark=work")
        assert refused.returncode == 2
        assert "accounts" in refused.stderr
        gateway.write_config(whole(NAMED_LARK, around))
        served(gateway, "gateway", "run", "--channel-account", "lark=work")
        around.feishu.say("and now?")
        around.feishu.rest.wait_for(lambda: len(around.feishu.rest.texts()) == 3)
        good(gateway, "feishu", "send", "--account", "work", "--target", "oc_room", "--text", "beside")
        assert around.feishu.rest.texts("oc_room")[2:] == ["re: and now?", "beside"]
        assert around.feishu.link.connected == 2
        assert gateway.stop() == 0


def posted(url: str, value: dict[str, Any], key: str = KEY) -> object:
    """What the webhook says to an event or a challenge. Raises urllib.error.HTTPError for a refusal."""
    if "header" in value:
        value = {**value, "header": {**value["header"], "token": TOKEN}}
    body, headers = signed_delivery(value, key)
    headers["Content-Type"] = "application/json; charset=utf-8"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
        return json.load(answer)


def webhook_config(port: int) -> str:
    more = f'webhook_bind = "127.0.0.1:{port}"\nwebhook_path = "/feishu/events"\n'
    return ONE_LARK.replace('mode = "websocket"\n', f'mode = "webhook"\n{more}')


@pytest.mark.parametrize("missing", sorted(WEBHOOK_SECRETS))
def test_a_webhook_without_its_secrets_is_refused_by_name(tmp_path: pathlib.Path, missing: str) -> None:
    # Without it, that is what is said first.
    pytest.importorskip("cryptography")
    known = {name: value for name, value in WEBHOOK_SECRETS.items() if name != missing}
    with walk(tmp_path, webhook_config(free_port()), **known) as (gateway, _):
        gateway.arguments = ["channels", "serve", "feishu"]
        gateway.start()
        document = gateway.wait_status(lambda document: document["degraded_reasons"])
        (surface,) = document["surfaces"]
        assert surface["trouble"] == "secret_missing"
        assert missing in f"{surface['last_error']} {surface['where']}"
        assert gateway.terminate() == 0


def test_lark_by_webhook(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("cryptography")
    port = free_port()
    with walk(tmp_path, webhook_config(port), **WEBHOOK_SECRETS) as (gateway, around):
        around.feishu.rest.add_chat("oc_room")
        served(gateway, "channels", "serve", "feishu")
        url = f"http://127.0.0.1:{port}/feishu/events"
        challenge = {"challenge": "a-challenge", "token": TOKEN, "type": "url_verification"}
        assert posted(url, challenge) == {"challenge": "a-challenge"}
        event = around.feishu.say("are you there?").envelope
        posted(url, event)
        around.feishu.rest.wait_for(around.feishu.rest.texts)
        posted(url, event)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            posted(url, event, "another-key")
        posted(url, around.feishu.say("let me in", "oc_elsewhere").envelope)
        posted(url, around.feishu.say("and now?").envelope)
        around.feishu.rest.wait_for(lambda: len(around.feishu.rest.texts()) == 2)
        assert around.feishu.rest.texts() == ["re: are you there?", "re: and now?"]
        assert around.feishu.link.connected == 0
        assert gateway.terminate() == 0
