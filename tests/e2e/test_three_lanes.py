"""The published rollout playbook: one gateway with Lark, Telegram and WeCom, by its configuration and its commands."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.e2e.rollout import THREE_SELECTORS, VARIABLES, all_ready, three_lanes

SENDS = (
    ("wecom-send", "--target", "group_alerts"),
    ("feishu-send", "--receive-id", "oc_ops_room"),
    ("lark", "send", "--target", "oc_ops_room"),
    ("channels", "send", "telegram", "--target", "123456789"),
)


def test_three_lanes_answer_their_own_conversations_and_send_over_their_own_connections(
    tmp_path: pathlib.Path,
) -> None:
    with three_lanes(tmp_path) as (gateway, around):
        gateway.start()
        document = gateway.wait_status(all_ready)
        assert document["configured_surface_count"] == document["running_surface_count"] == 3
        assert [(one["channel"], one["account"], one["phase"]) for one in document["surfaces"]] == [
            ("feishu", "work", "ready"),
            ("telegram", "bot_123456", "ready"),
            ("wecom", "alerts", "ready"),
        ]
        assert (document["degraded_reasons"], gateway.status()[1]) == ([], 0)

        # Strangers first: what is answered afterwards shows that they were passed by.
        around.feishu.say("from a stranger", "oc_elsewhere")
        around.telegram.say("from a stranger", 666)
        around.wecom.say("from a stranger", user="mallory")
        around.wecom.say("@Robot from another group", user="mallory", group="group_other")
        around.feishu.say("hello lark", "oc_ops_room", direct=False)
        around.telegram.say("hello telegram", 123456789)
        around.wecom.say("@Robot hello wecom", user="lisi", group="group_alerts")
        around.telegram.wait_messages(1)
        around.wecom.wait_answers(1)
        around.feishu.rest.wait_for(around.feishu.rest.texts)
        assert around.feishu.rest.texts() == around.feishu.rest.texts("oc_ops_room") == ["re: hello lark"]
        assert around.telegram.texts() == around.telegram.texts(123456789) == ["re: hello telegram"]
        assert around.wecom.texts() == around.wecom.texts("group_alerts") == ["re: hello wecom"]
        assert sorted(around.model.questions()) == ["hello lark", "hello telegram", "hello wecom"]
        assert [event.acknowledged for event in around.feishu.events] == [True, True]
        log = pathlib.Path(gateway.home, "logs", "gateway.log").read_text(encoding="utf-8")
        for conversation in ("oc_elsewhere", "666", "mallory", "group_other"):
            assert f"conversation={conversation} " in log
        assert "from a stranger" not in log

        # A send of another process goes through the owner: nobody connects, nobody asks for a token.
        polls, http = around.telegram.bot.max_polls_in_flight, around.telegram.server.connections
        for words in SENDS:
            sent = gateway.run(*words, "--text", "from the shell", "--json")
            assert (sent.returncode, sent.stderr) == (0, "")
            assert json.loads(sent.stdout)["state"] == "sent"
        assert around.wecom.texts("group_alerts")[-1] == "from the shell"
        assert around.feishu.rest.texts("oc_ops_room")[-2:] == ["from the shell"] * 2
        assert around.telegram.texts(123456789)[-1] == "from the shell"
        assert len(around.wecom.clients) == 1
        assert [frame.cmd for frame in around.wecom.received].count("aibot_subscribe") == 1
        assert (around.feishu.link.connected, len(around.feishu.rest.calls("token", "endpoint"))) == (1, 2)
        assert (around.telegram.bot.max_polls_in_flight, around.telegram.server.connections) == (polls, http)
        assert around.complaints() == []
        assert gateway.stop() == 0
        assert [link.alive for link in around.feishu.link.links] == [False]
        for secret in (VARIABLES["LARK_WORK_APP_SECRET"], VARIABLES["WECOM_ALERTS_SECRET"]):
            assert secret not in gateway.output() + log


@pytest.mark.parametrize(
    ("selectors", "words"),
    [
        (("lark=work", "feishu=work"), "feishu"),
        (("wecom=nobody",), "nobody"),
        (("slack=work",), "slack"),
    ],
)
def test_a_selector_that_cannot_be_is_refused_before_anything_is_touched(
    tmp_path: pathlib.Path, selectors: tuple[str, ...], words: str
) -> None:
    with three_lanes(tmp_path) as (gateway, around):
        given = [part for selector in selectors for part in ("--channel-account", selector)]
        refused = gateway.run("gateway", "run", *given)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert around.wecom.clients == []
        assert around.feishu.rest.requests == []
        assert around.telegram.requests == []
        assert not pathlib.Path(gateway.store_path).exists()


def test_an_attached_session_says_that_there_is_no_terminal_and_serves_the_lanes(
    tmp_path: pathlib.Path,
) -> None:
    with three_lanes(tmp_path) as (gateway, around):
        gateway.arguments = ["gateway", "run", "--session", "cli-supervisor", *THREE_SELECTORS]
        gateway.start()
        document = gateway.wait_status(all_ready)
        assert (document["mode"], document["attached_cli_session"]) == (
            "gateway_attached_cli",
            "cli-supervisor",
        )
        around.telegram.say("hello", 123456789)
        around.telegram.wait_messages(1)
        for view in (("gateway", "status"), ("status", "--json")):
            assert gateway.run(*view).returncode == 0
        assert gateway.stop() == 0
