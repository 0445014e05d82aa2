"""`/v1/turn` as it grows, and who asks and leaves."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.gateway.api.port_kit import PATIENCE_S, SECRET, Port

TURN = {"session_id": "demo", "input": "hello", "stream": True}


@pytest.fixture
def port() -> Iterator[Port]:
    with Port() as made:
        made.control.runs.pieces = ("Hel", "lo.")
        yield made


def asked(port: Port) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*port.address, timeout=PATIENCE_S)
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/turn", json.dumps(TURN).encode(), headers)
    return connection, connection.getresponse()


def events(answer: http.client.HTTPResponse) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in answer.read().split(b"\n") if line.startswith(b"data: ")]


def test_an_answer_is_told_as_it_grows_and_then_as_a_whole(port: Port) -> None:
    connection, answer = asked(port)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *pieces, whole = events(answer)
    assert pieces == [{"delta": "Hel"}, {"delta": "lo."}]
    assert (whole["output_text"], whole["state"]) == ("Hello.", "completed")
    connection.close()


def test_what_fails_after_it_began_ends_in_its_error(port: Port) -> None:
    port.control.runs.fault = ("transport_failure", "the provider has gone")
    connection, answer = asked(port)
    assert events(answer)[-1] == {"error": "the provider has gone"}
    connection.close()


def test_what_fails_at_once_has_a_status_of_its_own(port: Port) -> None:
    port.control.runs.pieces = ()
    port.control.runs.fault = ("rate_limited", "slow down")
    connection, answer = asked(port)
    assert (answer.status, json.loads(answer.read())) == (429, {"error": "slow down"})
    connection.close()


def test_who_leaves_ends_the_turn(port: Port) -> None:
    port.control.gate.clear()
    connection, answer = asked(port)
    assert answer.readline().startswith(b"data: ")
    answer.close()
    connection.close()
    assert port.control.runs.aborted.wait(PATIENCE_S)
    assert port.control.runs.abort_reason == "client_gone"
