"""Whose session a tool may look at, and where it may send to."""

from __future__ import annotations

import dataclasses

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.control import SendOutcome, SendRequest
from loong_gateway.tools.builtin import all_tools
from loong_gateway.tools.contract import BadArgument, ToolFailed
from loong_gateway.tools.messages import message_tools
from loong_gateway.tools.sessions import TURN_NAMES, session_tools
from tests.gateway.api.whole_port import WholeGateway
from tests.gateway.tools.tool_rig import by_name, context, quiet_egress

OWN, OTHER = "agent:main:a", "agent:main:a:b"
TARGETS = '[tools.messages]\nenabled = true\ntargets = ["telegram:bot_110201543:1001", "telegram:bot_110201543:2002"]\n'


class Gateway(WholeGateway):
    """One with two sessions, that keeps what is sent. `outcome` is what becomes of a send."""

    def __init__(self, more: str = "") -> None:
        super().__init__(more)
        self.sessions.said = {OWN: [("user", "mine")] * 5, OTHER: [("user", "theirs")]}
        self.sent: list[SendRequest] = []
        self.outcome: SendOutcome | CommandError = SendOutcome("id", "sent", "default", ("m1",))

    def send(self, request: SendRequest) -> SendOutcome:
        self.sent.append(request)
        if isinstance(self.outcome, CommandError):
            raise self.outcome
        return self.outcome


def test_a_turn_looks_at_its_own_session_only() -> None:
    tools = by_name(session_tools(Gateway(), TURN_NAMES))
    assert [row["key"] for row in tools.sessions_list()["sessions"]] == [OWN]
    assert tools.sessions_history()["total"] == 5
    assert tools.sessions_history(sessionKey="a")["total"] == 5
    assert tools.sessions_status(sessionKey=OWN)["messages"] == 5
    for call in (tools.sessions_history, tools.sessions_status):
        for key in (OTHER, "main", "a:b", "agent:other:main"):
            with pytest.raises(BadArgument):
                call(sessionKey=key)
    nowhere = context(session=None)
    assert tools.sessions_list(nowhere)["total"] == 0
    with pytest.raises(BadArgument):
        tools.sessions_history(nowhere)
    for entry in ("http", "rpc", "hook"):
        with pytest.raises(BadArgument):
            tools.sessions_history(context(entry=entry, turn="run:1"), sessionKey=OTHER)


def test_where_the_configuration_says_so_it_looks_at_all_within_limits() -> None:
    gateway = Gateway('[tools.sessions]\nvisibility = "all"\nlist_limit = 1\nhistory_limit = 2\n')
    tools = by_name(session_tools(gateway, TURN_NAMES))
    assert (tools.sessions_list()["count"], tools.sessions_list()["total"]) == (1, 2)
    assert tools.sessions_history(sessionKey=OTHER)["total"] == 1
    assert len(tools.sessions_history()["messages"]) == 2
    caller = context(entry="http", turn="", session=None, is_direct=True)
    assert len(tools.sessions_history(caller, sessionKey="a")["messages"]) == 5


def test_the_session_tools_can_be_switched_off() -> None:
    off = session_tools(Gateway("[tools.sessions]\nenabled = false\n"), TURN_NAMES)
    assert not any(tool.available() for tool in off)


def test_a_message_goes_to_a_named_target_once_for_each_turn() -> None:
    gateway = Gateway(TARGETS)
    send = by_name(message_tools(gateway)).channels_send
    assert send.tool.acts
    told = send(target="telegram:bot_110201543:1001", text="hi")
    assert told == {
        "target": "telegram:bot_110201543:1001",
        "state": "sent",
        "messageIds": ["m1"],
        "error": "",
    }
    send(target="telegram:bot_110201543:1001", text="hi")
    send(target="telegram:bot_110201543:1001", text="other")
    send(context(turn="inbox:2"), target="telegram:bot_110201543:1001", text="hi")
    send(context(entry="http", turn="", is_direct=True), target="telegram:bot_110201543:1001", text="hi")
    keys = [request.idempotency_key for request in gateway.sent]
    assert keys[0] == keys[1]
    assert len(set(keys[1:])) == 4
    assert keys[4] is None
    first = dataclasses.replace(gateway.sent[0], idempotency_key=None, wait_s=0)
    assert first == SendRequest("telegram", "bot_110201543", "1001", "", "hi", wait_s=0)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "1001",
        "telegram:bot_110201543:1002",
        "telegram:bot_110201543:1001 ",
        "TELEGRAM:default:1001",
        "telegram::1001",
        "::",
    ],
)
def test_nothing_goes_to_another_target(target: str) -> None:
    gateway = Gateway(TARGETS)
    with pytest.raises(BadArgument):
        by_name(message_tools(gateway)).channels_send(target=target, text="hi")
    assert gateway.sent == []


def test_the_list_of_the_account_holds_as_well() -> None:
    gateway = Gateway(TARGETS)
    with pytest.raises(ToolFailed, match="allowed_chat_ids"):
        by_name(message_tools(gateway)).channels_send(target="telegram:bot_110201543:2002", text="hi")
    assert gateway.sent == []


def test_a_send_that_is_refused_says_why() -> None:
    gateway = Gateway(TARGETS)
    send = by_name(message_tools(gateway)).channels_send
    gateway.outcome = CommandError("channels.empty_text")
    with pytest.raises(ToolFailed):
        send(target="telegram:bot_110201543:1001", text=" ")
    gateway.outcome = SendOutcome("id", "refused", "default", error="not now")
    with pytest.raises(ToolFailed, match="not now"):
        send(target="telegram:bot_110201543:1001", text="hi")


def test_it_has_to_be_switched_on() -> None:
    gateway = Gateway(TARGETS.replace("true", "false"))
    send = by_name(message_tools(gateway)).channels_send
    assert not send.tool.available()
    with pytest.raises(BadArgument):
        send(target="telegram:bot_110201543:1001", text="hi")


def test_which_tools_there_are_and_which_of_them_act() -> None:
    tools = all_tools(Gateway(), lambda: 0, quiet_egress(), [])
    acting = {tool.name for tool in tools if tool.acts}
    assert acting == {"http.request", "file.write", "shell.run", "channels.send"}
