"""A request to a method without a connection: its parameters in, its answer or its refusal out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from loong_gateway.api.rpc.calls import ADMIN, DEFERRED, Client, Method, RpcFault
from loong_gateway.api.rpc.params import Params

NOBODY = Client("conn-1", "test", "backend", frozenset({ADMIN}))


class SmallCall:
    """Implements api.rpc.calls.Call for methods that answer once, before they return; it refuses every other use."""

    def __init__(self, method: str, params: object) -> None:
        self.method = method
        self.params = Params(params)
        self.client = NOBODY
        self.answers: list[object] = []

    def respond(self, payload: object) -> None:
        self.answers.append(payload)

    def fail(self, fault: RpcFault) -> None:
        raise fault

    def later(self, after_s: float, action: Callable[[], None]) -> Callable[[], None]:
        raise AssertionError(f"{self.method} is not done after {after_s} s: {action}")


def ask(methods: Sequence[Method], name: str, params: object = None) -> dict[str, object]:
    """What the method of that name answers, as it arrives at the other end."""
    (method,) = [one for one in methods if one.name == name]
    call = SmallCall(name, params)
    answer = method.handler(call)
    if answer is DEFERRED:
        (answer,) = call.answers
    else:
        assert not call.answers
    return json.loads(json.dumps(answer, allow_nan=False))


def refusal(methods: Sequence[Method], name: str, params: object = None) -> RpcFault:
    """How the method of that name refuses."""
    try:
        answer = ask(methods, name, params)
    except RpcFault as fault:
        assert str(fault)
        return fault
    raise AssertionError(f"{name} was answered: {answer}")
