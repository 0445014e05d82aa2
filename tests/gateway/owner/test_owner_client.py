"""The local client finds the owner, proves itself, and turns every failure into a line with a next step."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.owner import files
from loong_gateway.owner.client import ControlClient
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places, resolve_places


class Port(http.server.BaseHTTPRequestHandler):
    """Echoes what it was asked; the path chooses what goes wrong."""

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        status, document = 200, json.dumps({"got": body.decode(), "type": self.headers["Content-Type"]})
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            status, document = 401, '{"error": {"code": "unauthorized", "message": "no"}}'
        elif self.path == "/broken":
            status, document = 503, '{"error": {"message": "not\\nnow"}}'
        elif self.path == "/refused":
            status = 400
            document = '{"error": {"message": "no such", "where": "a.toml", "fix": "loong\\nchannels"}}'
        elif self.path == "/plain":
            status, document = 500, '{"error": "plain words"}'
        elif self.path == "/text":
            document = "not json"
        data = document.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})


@pytest.fixture
def live(places: Places) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    lock = OwnerLock.acquire(places)
    server.token = files.write_control_token(places)
    files.publish(places, {"pid": os.getpid(), "bind_address": "0.0.0.0", "port": server.server_address[1]})
    yield server
    lock.release()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_document_comes_back(places: Places, live: http.server.ThreadingHTTPServer) -> None:
    client = ControlClient(places)
    assert client.available()
    assert client.get("/x") == {"got": "", "type": None}
    posted = client.post("/x", {"text": "ü"}, timeout_s=5)
    assert json.loads(posted["got"]) == {"text": "ü"}
    assert posted["type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/broken", "control.failed", "the gateway answered 503: not now"),
        ("/plain", "control.failed", "the gateway answered 500: plain words"),
        ("/text", "control.failed", "the gateway answered 200: something that is not a JSON object"),
    ],
)
def test_a_bad_answer_is_an_error_in_its_words(
    places: Places, live: http.server.ThreadingHTTPServer, path: str, code: str, said: str
) -> None:
    with pytest.raises(CommandError) as caught:
        ControlClient(places).get(path)
    assert (caught.value.code, caught.value.message, caught.value.exit_code) == (code, said, 2)


def test_the_next_step_is_the_one_that_the_owner_names(
    places: Places, live: http.server.ThreadingHTTPServer
) -> None:
    with pytest.raises(CommandError) as caught:
        ControlClient(places).get("/refused")
    assert (caught.value.where, caught.value.fix) == ("a.toml", "loong channels")
    with pytest.raises(CommandError) as caught:
        ControlClient(places).get("/broken")
    assert (caught.value.where, caught.value.fix) == (None, "loong logs --lines 50")


def test_a_refused_token_names_its_file_and_never_itself(
    places: Places, live: http.server.ThreadingHTTPServer
) -> None:
    Path(places.control_token).write_text("a-wrong-one\n")
    with pytest.raises(CommandError) as caught:
        ControlClient(places, patience_s=0).get("/x")
    assert caught.value.code == "control.refused"
    assert caught.value.where == places.control_token
    assert "a-wrong-one" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a\nb: injected\n"])
def test_without_a_usable_token_nothing_is_asked(
    places: Places, live: http.server.ThreadingHTTPServer, content: bytes | None
) -> None:
    os.unlink(places.control_token)
    if content is not None:
        Path(places.control_token).write_bytes(content)
    client = ControlClient(places, patience_s=0)
    assert not client.available()
    with pytest.raises(CommandError, match="token file"):
        client.get("/x")


def test_without_an_owner_the_error_says_how_to_start_one(places: Places) -> None:
    client = ControlClient(places)
    assert not client.available()
    with pytest.raises(CommandError) as raised:
        client.get("/x")
    assert (raised.value.code, raised.value.fix) == ("control.not_running", "loong gateway run")


def test_an_owner_without_a_port_cannot_be_asked(places: Places) -> None:
    lock = OwnerLock.acquire(places)
    try:
        files.publish(places, {"pid": os.getpid(), "phase": "starting"})
        with pytest.raises(CommandError, match="starting or stopping: it has not opened a port"):
            ControlClient(places, patience_s=0).get("/x")
    finally:
        lock.release()


@pytest.mark.parametrize("missing", ["token", "port", "fresh token"])
def test_an_owner_that_starts_is_waited_for(
    places: Places, live: http.server.ThreadingHTTPServer, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"pid": os.getpid(), "bind_address": "127.0.0.1", "port": live.server_address[1]}
    if missing == "port":
        files.publish(places, {**document, "port": None, "phase": "starting"})
    elif missing == "token":
        os.unlink(places.control_token)
    else:
        Path(places.control_token).write_text("of-the-process-before\n")
    looked = threading.Event()

    def wait(*_: object) -> None:
        # The pause between two looks: by its end the owner has come up.
        looked.set()
        files.publish(places, {**document, "phase": "running"})
        files.keep_control_token(places, live.token)

    monkeypatch.setattr("loong_gateway.owner.client.pause", wait)
    assert ControlClient(places).get("/x") == {"got": "", "type": None}
    assert looked.is_set()


def test_a_port_where_nobody_listens_is_told_with_its_address(
    places: Places, live: http.server.ThreadingHTTPServer
) -> None:
    files.publish(places, {"pid": os.getpid(), "bind_address": "127.0.0.1", "port": 1})
    with pytest.raises(CommandError, match=r"does not answer on 127\.0\.0\.1:1: connection refused"):
        ControlClient(places, patience_s=0).get("/x")
