"""Calls of RPC methods without a socket, over real runs and sessions."""

from __future__ import annotations

import queue
from types import SimpleNamespace

from loong_gateway.api.rpc.calls import DEFERRED, Client, RpcFault
from loong_gateway.api.rpc.params import Params
from loong_gateway.messaging.session_desk import SessionDesk
from tests.gateway.messaging.engine_rig import WAIT_S

CLIENT = Client("c1", "test", "test", frozenset(["operator.admin"]))


class SmallCall:
    """One request. Answers are `("ok", payload)` or `("fault", RpcFault)`, in order; timers fire by hand."""

    def __init__(self, method: str, params: dict[str, object]) -> None:
        self.method = method
        self.params = Params(params)
        self.client = CLIENT
        self.answers: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
        self.timers: list[tuple[float, object]] = []

    def respond(self, payload: object) -> None:
        self.answers.put(("ok", payload))

    def fail(self, fault: RpcFault) -> None:
        self.answers.put(("fault", fault))

    def later(self, after_s, action):
        entry = (after_s, action)
        self.timers.append(entry)
        return lambda: self.timers.remove(entry)

    def next(self) -> tuple[str, object]:
        return self.answers.get(timeout=WAIT_S)

    def payload(self) -> dict:
        kind, payload = self.next()
        assert kind == "ok", payload
        return payload


class SmallControl:
    """The parts of a control plane that runs and sessions need."""

    def __init__(self, rig) -> None:
        self.runs = rig.runs
        self.sessions = SessionDesk(rig.store, rig.clock, rig.bus)
        self.bus = rig.bus
        self.changes: dict[str, object] = {}
        self._config = rig.config

    def config(self):
        if not self.changes:
            return self._config
        config = self._config
        return SimpleNamespace(
            providers=config.providers, active_provider=config.active_provider, **self.changes
        )


class Rpc:
    """Calls methods by name."""

    def __init__(self, *lists) -> None:
        self.table = {method.name: method for methods in lists for method in methods}

    def begin(self, name: str, **params: object) -> SmallCall:
        call = SmallCall(name, params)
        answer = self.table[name].handler(call)
        if answer is not DEFERRED:
            call.respond(answer)
        return call

    def call(self, name: str, **params: object) -> dict:
        return self.begin(name, **params).payload()
