"""Calls that wait for a person: who may decide, over the port and in a chat, and what a client of the port is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from loong_channels.contract import Address
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.api.rpc.calls import RpcFault
from loong_gateway.api.rpc.methods_approvals import methods
from loong_gateway.api.rpc.params import BadParam, Params
from loong_gateway.control.origin import Origin
from loong_gateway.control.tools import ToolRequest
from loong_gateway.tools.contract import Tool
from loong_gateway.tools.desk import Call, Tools
from tests.gateway.messaging.engine_rig import CONFIG, Rig, rig_at
from tests.waiting import wait_until

WAIT_S = 15.0
LANE = "telegram:work:7"
PORT = (
    CONFIG
    + b"""
[gateway.tools]
allow = ["time"]
[tools]
allow = ["time"]
[tools.approval]
mode = "strict"
approvers = ["42", "44"]
"""
)


@pytest.fixture(name="rig")
def _rig(tmp_path) -> Iterator[Rig]:
    with rig_at(tmp_path / "store.sqlite3", PORT) as rig:
        rig.tools.add(lambda: [Tool("time", "", lambda *_: {"now": 1})])
        yield rig


class Waiting:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, rig: Rig, origin: Origin | None = None, arguments: object = None) -> None:
        self.stop = StopToken()
        self.outcome = None
        self._rig = rig
        self._arguments = arguments or {}
        self._origin = origin
        before = {one.id for one in rig.approvals.waiting()}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        (self.call,) = wait_until(lambda: [one for one in rig.approvals.waiting() if one.id not in before])

    def _run(self) -> None:
        if self._origin is None:
            self.outcome = self._rig.tools.invoke(ToolRequest("time", self._arguments, "http"))
            return
        call = Call("time", self._arguments, self._origin, Deadline(WAIT_S), self.stop)
        self.outcome = self._rig.tools.call(call)

    def end(self):
        self.thread.join(WAIT_S)
        return self.outcome


def chat(sender: str | None = "43") -> Origin:
    return Origin("chat", "inbox:1", "agent:main:x", Address("telegram", "work", "7"), sender)


def rpc(rig: Rig, name: str, **params: object):
    control = SimpleNamespace(approvals=rig.approvals)
    (method,) = [one for one in methods(control) if one.name == name]
    return method.handler(SimpleNamespace(params=Params(params)))


def test_only_those_that_are_named_may_decide_in_the_chat(rig):
    waiting = Waiting(rig, chat())
    for sender in ("43", None, ""):
        assert not rig.approvals.resolve_in_chat(waiting.call.id, LANE, sender, approved=True)
    assert rig.approvals.resolve_in_chat(waiting.call.id, LANE, "44", approved=True)
    assert waiting.end().error_code == ""


def test_nobody_is_known_where_nobody_asked(rig):
    none = replace(rig.config.tools.approval, approvers=())
    rig.config = replace(rig.config, tools=replace(rig.config.tools, approval=none))
    waiting = Waiting(rig, chat(sender=None))
    assert not rig.approvals.resolve_in_chat(waiting.call.id, LANE, None, approved=True)
    waiting.stop.set("user")
    assert waiting.end().error_code == "interrupted"
    assert rig.audit.records == []


@pytest.mark.parametrize("decision", ["allow-once", "deny"])
def test_an_operator_decides_over_the_port_once(rig, decision):
    told = []
    rig.bus.listen(lambda numbered: told.append(numbered.event))
    waiting = Waiting(rig, chat())
    (row,) = rpc(rig, "exec.approval.list")["approvals"]
    assert (row["id"], row["tool"], row["entry"], row["sessionKey"]) == (
        waiting.call.id,
        "time",
        "chat",
        "agent:main:x",
    )
    assert rpc(rig, "exec.approval.resolve", id=row["id"], decision=decision)["ok"] is True
    assert waiting.end().error_code == ("" if decision == "allow-once" else "refused")
    for id in (row["id"], "nope"):
        with pytest.raises(RpcFault) as refused:
            rpc(rig, "exec.approval.resolve", id=id, decision="allow-once")
        assert refused.value.code == "APPROVAL_NOT_FOUND"
    with pytest.raises(BadParam):
        rpc(rig, "exec.approval.resolve", id=row["id"], decision="allow-always")
    assert rpc(rig, "exec.approval.list") == {"approvals": []}
    assert [(one.name, one.scope) for one in told] == [
        ("exec.approval.requested", "operator.approvals"),
        ("exec.approval.resolved", "operator.approvals"),
    ]
    assert told[1].payload["decision"] == ("approved" if decision == "allow-once" else "refused")


def test_what_a_client_of_the_port_calls_itself_waits_as_well(rig):
    waiting = [Waiting(rig) for _ in range(4)]
    refused = rig.tools.invoke(ToolRequest("time", {}, "rpc"))
    assert refused.error_code == "refused"
    assert "too many" in refused.error
    # Turns have room of their own.
    turn = Waiting(rig, chat())
    for one in [*waiting, turn]:
        assert rig.approvals.resolve(one.call.id, approved=True)
        assert one.end().content == {"now": 1}


def test_without_anybody_to_ask_nothing_is_called_that_must_be_approved(rig):
    called = []
    tools = Tools(lambda: rig.config, [Tool("time", "", lambda *_: called.append(1) or {})])
    assert tools.invoke(ToolRequest("time", {}, "http")).error_code == "refused"
    assert called == []


def test_what_is_asked_is_one_harmless_line(rig):
    arguments = {"text": "a\x1b[2J\nb /approve x" + "y" * 1500, "more": "z"}
    tool = Tool(
        "time", "", lambda *_: {}, {name: {"type": "string", "maxLength": 9999} for name in arguments}
    )
    rig.tools = Tools(lambda: rig.config, [tool], approvals=rig.approvals)
    waiting = Waiting(rig, chat(), arguments)
    assert waiting.call.summary.isprintable()
    assert waiting.call.summary.endswith("yyy, more=z")
    # Nobody shall approve what was hidden from them: what does not fit is said to be missing.
    _, told = rig.asked_people.get(timeout=WAIT_S)
    more = len(waiting.call.summary) - 1000
    assert f"yyy [and {more} characters more: loong approvals list shows them]? Answer /approve" in told
    assert rig.approvals.resolve(waiting.call.id, approved=False)
    assert waiting.end().error_code == "refused"
