"""channels.* and send over a small gateway: shapes, probes within a budget, words for what cannot be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from loong_gateway.api.rpc.calls import ADMIN, READ, WRITE
from loong_gateway.api.rpc.methods_channels import methods
from loong_gateway.api.rpc.params import BadParam
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.config.snapshot import Config
from loong_gateway.control import ProbeOutcome, SendOutcome
from tests.gateway.api.port_kit import SmallGateway
from tests.gateway.api.small_call import ask, refusal
from tests.gateway.config.reading import valid

NOW_MS = 1_795_161_888_044
CONFIG = """
[telegram]
enabled = true
default_account = "work"
allowed_chat_ids = [1]
[telegram.accounts.work]
bot_token = "111111:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[telegram.accounts.home]
enabled = false
bot_token = "222222:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[wecom]
enabled = true
bot_id = "aib"
secret = { env = "WECOM" }
allowed_conversation_ids = ["x"]
"""
OUTER = {
    "ts",
    "channelOrder",
    "channelLabels",
    "channelDetailLabels",
    "channelSystemImages",
    "channelMeta",
    "channels",
    "channelAccounts",
    "channelDefaultAccountId",
    "partial",
    "warnings",
}


def surface(channel: str, account: str, phase: str, **more: object) -> dict[str, object]:
    return {
        "channel": channel,
        "account": account,
        "phase": phase,
        "since_ms": 1000,
        "last_error": None,
        "last_inbound_ms": 2000,
        "last_outbound_ms": None,
        "trouble": None,
        "consecutive_failures": 0,
        **more,
    }


class Gateway(SmallGateway):
    """The small gateway with channels; `late` are accounts whose platform does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.text = CONFIG
        self.late: set[tuple[str, str]] = set()
        self.budgets: list[float] = []
        self.outcome = SendOutcome("send-k1", "sent", "work", ("77",))
        self.surfaces = [
            surface("telegram", "work", "ready"),
            surface(
                "wecom",
                "wecom_aib",
                "backoff",
                last_error="refused",
                trouble="unreachable",
                consecutive_failures=3,
            ),
            surface("cli", "default", "ready"),
        ]

    def config(self) -> Config:
        return valid(self.text)

    def status(self) -> dict[str, object]:
        return {**super().status(), "started_at_ms": 500, "surfaces": self.surfaces}

    def send(self, request: object) -> SendOutcome:
        super().send(request)
        return self.outcome

    def ask(
        self,
        accounts: Sequence[tuple[str, str]],
        *,
        budget_s: float,
        done: Callable[[dict[tuple[str, str], ProbeOutcome | None]], None],
    ) -> None:
        self.budgets.append(budget_s)
        done(
            {
                one: None if one in self.late else self.probe_channel(*one, timeout_s=budget_s)
                for one in accounts
            }
        )

    def call(self, name: str, **params: object) -> dict[str, object]:
        return ask(methods(self, self.ask, lambda: NOW_MS), name, params)

    def refusal(self, name: str, **params: object) -> tuple[str, str]:
        fault = refusal(methods(self, self.ask, lambda: NOW_MS), name, params)
        return fault.code, str(fault)


def test_scopes() -> None:
    gateway = Gateway()
    assert {one.name: one.scope for one in methods(gateway, gateway.ask, lambda: NOW_MS)} == {
        "channels.status": READ,
        "channels.start": ADMIN,
        "channels.stop": ADMIN,
        "channels.restart": ADMIN,
        "send": WRITE,
    }


def test_status_without_a_probe() -> None:
    gateway = Gateway()
    found = gateway.call("channels.status")
    assert set(found) == OUTER
    assert found["ts"] == NOW_MS
    assert found["channelOrder"] == ["telegram", "wecom"]
    assert found["channelLabels"] == {"telegram": "Telegram", "wecom": "WeCom"}
    assert found["channelMeta"][0] == {"id": "telegram", "label": "Telegram", "detailLabel": "Telegram"}
    assert found["channelDefaultAccountId"] == {"telegram": "work", "wecom": "wecom_aib"}
    assert (found["partial"], found["warnings"], gateway.budgets) == (False, [], [])
    accounts = {one["accountId"]: one for one in found["channelAccounts"]["telegram"]}
    assert accounts["work"] == {
        "accountId": "work",
        "name": "work",
        "enabled": True,
        "configured": True,
        "running": True,
        "connected": True,
        "reconnectAttempts": 0,
        "lastConnectedAt": 1000,
        "lastError": None,
        "lastStartAt": 500,
        "lastStopAt": None,
        "lastInboundAt": 2000,
        "lastOutboundAt": None,
        "lastTransportActivityAt": None,
        "lastProbeAt": None,
        "mode": "polling",
        "healthState": "healthy",
    }
    home = accounts["home"]
    assert (home["enabled"], home["running"], home["connected"], home["healthState"]) == (
        False,
        False,
        False,
        "not-served",
    )
    (wecom,) = found["channelAccounts"]["wecom"]
    assert (wecom["running"], wecom["connected"], wecom["reconnectAttempts"]) == (True, False, 3)
    assert (wecom["lastError"], wecom["healthState"]) == ("refused", "unreachable")
    assert found["channels"]["wecom"]["lastError"] == "refused"
    assert found["channels"]["telegram"]["running"] is True


def test_a_probe_asks_what_is_served_within_the_budget() -> None:
    gateway = Gateway()
    found = gateway.call("channels.status", probe=True, timeoutMs=5000)
    assert [one[:2] for one in gateway.probes] == [("telegram", "work"), ("wecom", "wecom_aib")]
    assert gateway.budgets == [4.0]
    work, home = found["channelAccounts"]["telegram"]
    assert work["probe"] == {"ok": True, "elapsedMs": 3, "bot": {"username": "@bot"}}
    assert work["lastProbeAt"] == NOW_MS
    assert "probe" not in home


def test_a_late_platform_is_marked() -> None:
    gateway = Gateway()
    gateway.late = {("wecom", "wecom_aib")}
    found = gateway.call("channels.status", probe=True, timeoutMs=59_999)
    (wecom,) = found["channelAccounts"]["wecom"]
    assert wecom["probe"] == {"ok": False, "error": "no answer within the time that was given"}
    assert found["partial"] is True
    assert found["warnings"] == ["wecom/wecom_aib: no answer within the time that was given"]
    assert gateway.budgets == [30.0]


def test_one_channel() -> None:
    gateway = Gateway()
    found = gateway.call("channels.status", probe=True, channel="wechat-work")
    assert found["channelOrder"] == list(found["channels"]) == list(found["channelAccounts"]) == ["wecom"]
    assert [one[0] for one in gateway.probes] == ["wecom"]


@pytest.mark.parametrize("name", ["channels.status", "channels.start", "channels.stop", "channels.restart"])
def test_an_unknown_channel_is_refused(name: str) -> None:
    for channel in ("nope", "feishu"):
        assert Gateway().refusal(name, channel=channel) == ("INVALID_REQUEST", f"unknown channel: {channel}")


def test_start_stop_restart() -> None:
    gateway = Gateway()
    assert gateway.call("channels.start", channel="telegram", accountId="work") == {
        "channel": "telegram",
        "accountId": "work",
        "started": True,
        "outcome": "restarted",
    }
    assert gateway.call("channels.stop", channel="telegram")["stopped"] is True
    assert gateway.call("channels.restart", channel="telegram")["restarted"] is True
    assert [(one.action, one.account) for one in gateway.channel_requests] == [
        ("start", "work"),
        ("stop", None),
        ("restart", None),
    ]
    with pytest.raises(BadParam, match="must have required property 'channel'"):
        gateway.call("channels.start")


def test_send() -> None:
    gateway = Gateway()
    answer = gateway.call(
        "send", to="-1", channel="telegram", message="hi", idempotencyKey="k1", threadId="7", accountId="work"
    )
    assert answer == {
        "runId": "k1",
        "messageId": "77",
        "channel": "telegram",
        "accountId": "work",
        "state": "sent",
    }
    (request,) = gateway.sends
    assert (request.target, request.account, request.text, request.idempotency_key) == (
        "-1:7",
        "work",
        "hi",
        "k1",
    )


def test_a_send_that_waits_says_why() -> None:
    gateway = Gateway()
    gateway.outcome = SendOutcome("send-k1", "queued", "work", error="not connected")
    answer = gateway.call("send", to="1", channel="telegram", message="hi", idempotencyKey="k1")
    assert (answer["messageId"], answer["state"], answer["reason"]) == ("send-k1", "queued", "not connected")


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"channel": "nope"}, "INVALID_REQUEST", "unsupported channel: nope"),
        ({"channel": "discord"}, "INVALID_REQUEST", "unsupported channel: discord"),
        ({"channel": "feishu"}, "UNAVAILABLE", "feishu is not configured"),
        ({"channel": None}, "INVALID_REQUEST", "channel is required: more than one channel is configured"),
        (
            {"mediaUrl": "https://x/y"},
            "INVALID_REQUEST",
            "invalid send params: mediaUrl is not supported; send a text",
        ),
        ({"message": " "}, "INVALID_REQUEST", "invalid send params: message must not be empty"),
        (
            {"channel": "wecom", "threadId": "1"},
            "INVALID_REQUEST",
            "invalid send params: wecom has no threads",
        ),
        ({"replyToId": "5"}, "INVALID_REQUEST", "invalid send params: replyToId is not supported"),
    ],
    ids=["nope", "not_built", "not_configured", "which", "media", "empty", "thread", "reply"],
)
def test_sends_that_are_refused(params: dict[str, object], code: str, message: str) -> None:
    gateway = Gateway()
    whole = {"to": "1", "message": "hi", "channel": "telegram", "idempotencyKey": "k", **params}
    assert gateway.refusal("send", **whole) == (code, message)
    assert not gateway.sends


@pytest.mark.parametrize("state", ["failed", "refused", "expired", "unknown"])
def test_a_send_that_did_not_arrive_is_unavailable(state: str) -> None:
    gateway = Gateway()
    gateway.outcome = SendOutcome("send-k", state, "work", error="chat not found")
    code, message = gateway.refusal("send", to="1", channel="telegram", message="hi", idempotencyKey="k")
    assert code == "UNAVAILABLE"
    assert message.startswith(f"telegram/work: {state}: chat not found")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("channels.empty_text"), "INVALID_REQUEST"),
        (CommandError("run.not_up", phase="stopping"), "UNAVAILABLE"),
        (StoreUnwritable("disk full"), "UNAVAILABLE"),
    ],
    ids=["request", "gateway", "disk"],
)
def test_errors_of_the_gateway(error: Exception, code: str) -> None:
    gateway = Gateway()
    gateway.send_error = error
    assert gateway.refusal("send", to="1", channel="telegram", message="hi", idempotencyKey="k")[0] == code
