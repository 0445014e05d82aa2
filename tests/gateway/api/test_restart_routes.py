"""The route by which a restart is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.auth import Auth
from loong_gateway.api.bind import open_listener
from loong_gateway.api.listener import Listener
from loong_gateway.api.restart_routes import restart_routes
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from tests.gateway.api.port_kit import CONTROL, SECRET, Client, SmallGateway, gateway_settings, request

PATH = "/api/gateway/restart"


class RestartPort:
    """A listener with this route alone."""

    def __init__(self) -> None:
        self.control = SmallGateway()
        bound = open_listener(gateway_settings(), environ={})
        self.address = (bound.address, bound.port)
        auth = Auth(secret=SECRET, control_token=CONTROL)
        routes = restart_routes(self.control)
        self.listener = Listener(bound.sockets, routes, auth, gateway_settings(), ThreadRegistry())

    def post(self, document: object, token: str | None = CONTROL) -> tuple[int, object]:
        with Client(self.address) as client:
            answer = client.send(request("POST", PATH, token=token, document=document)).answer()
        return answer.status, answer.json


@pytest.fixture(name="port")
def running_port() -> Iterator[RestartPort]:
    port = RestartPort()
    port.listener.start()
    yield port
    assert port.listener.stop(Deadline(10)) == []


def test_a_restart_is_asked_for_once(port: RestartPort) -> None:
    assert port.post({}) == (
        200,
        {
            "outcome": "requested",
            "message": "gateway restart requested",
            "due_in_s": 0.0,
            "instance_id": None,
        },
    )
    status, again = port.post({})
    assert (status, again["outcome"]) == (200, "already_requested")


def test_the_answer_says_when_it_begins(port: RestartPort) -> None:
    status, answer = port.post({"delay_s": 20})
    assert (status, answer["due_in_s"]) == (200, 20.0)
    assert answer["message"] == "gateway restart requested; it begins in 20 s"


def test_a_refusal_names_its_place_and_nothing_is_asked_without_a_credential(port: RestartPort) -> None:
    port.control.restart_error = CommandError(
        "restart.refused", detail="config is invalid", where="config.toml", fix="loong validate-config"
    )
    status, answer = port.post({})
    assert (status, answer["error"]["where"], answer["error"]["fix"]) == (
        409,
        "config.toml",
        "loong validate-config",
    )
    port.control.restart_error = None
    assert port.post({"delay_s": -1})[0] == 400
    assert port.post({}, token=None)[0] == 401
    assert port.control.restarts == []
