"""The socket in the state directory: who runs as this user needs no token there, and nobody else gets in."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import subprocess
import sys
import tempfile

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.local_socket import close_local, is_same_user, open_local
from loong_gateway.api.peers import LOCAL_USER
from loong_gateway.base.faults import CommandError
from tests.gateway.api.port_kit import PATIENCE_S, Port

NOBODY = 65534
OTHER_USER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
client.connect(sys.argv[1])
try:
    client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(len(client.recv(100)))
except (BrokenPipeError, ConnectionResetError):
    print(0)
"""


def ask(path: str, request: bytes) -> tuple[int, bytes]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(path)
        client.sendall(request)
        received = b""
        while piece := client.recv(65536):
            received += piece
    return int(received.split(b" ", 2)[1]), received


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "gateway.sock")


@pytest.fixture
def port(path: str) -> object:
    with Port(sockets=[open_local(path)]) as opened:
        yield opened


def test_no_token_is_needed(port: Port, path: str) -> None:
    status, answer = ask(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status == 200
    assert b'"phase":"running"' in answer


def test_a_wrong_token_does_no_harm(port: Port, path: str) -> None:
    head = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n"
    assert ask(path, head)[0] == 200


@pytest.mark.parametrize(
    ("field", "status"),
    [(b"Host: evil.example", 421), (b"Host: localhost\r\nOrigin: http://evil.example", 403)],
    ids=["host", "origin"],
)
def test_pages_are_kept_out_as_everywhere(port: Port, path: str, field: bytes, status: int) -> None:
    assert ask(path, b"GET /v1/status HTTP/1.1\r\n" + field + b"\r\n\r\n")[0] == status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_turned_away() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "gateway.sock")
        with Port(sockets=[open_local(path)]):
            # Let it reach the path, so that it is the system's word that keeps it out.
            os.chmod(path, 0o777)
            os.chmod(directory, 0o755)
            _ask_as_nobody(path)


def _ask_as_nobody(path: str) -> None:
    command = [sys.executable, "-I", "-c", OTHER_USER, path, str(NOBODY)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (found.stdout.strip(), found.returncode) == ("0", 0), found.stderr
    assert ask(path, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] == 200


def test_only_this_user_may_open_it(path: str) -> None:
    sock = open_local(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    close_local(sock, path)
    assert not os.path.lexists(path)
    close_local(sock, path)


def test_a_leftover_is_replaced_and_a_file_is_not(path: str) -> None:
    open_local(path).close()
    close_local(open_local(path), path)
    pathlib.Path(path).write_text("mine", encoding="utf-8")
    with pytest.raises(CommandError, match="something else lies there"):
        open_local(path)
    assert pathlib.Path(path).read_text(encoding="utf-8") == "mine"


def test_a_path_that_is_too_long(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CommandError) as raised:
        open_local(str(tmp_path / ("x" * 200)))
    assert raised.value.code == "port.no_socket"


def test_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert is_same_user(ours)
    with socket.socket(socket.AF_INET) as other:
        assert not is_same_user(other)


def test_hooks_have_a_token_of_their_own_there_too() -> None:
    hooks = Auth(secret="hook-token", control_token="")
    assert hooks.judge(None, LOCAL_USER, stop=StopToken()).outcome == "missing"
    assert hooks.judge(b"hook-token", LOCAL_USER, stop=StopToken()).outcome == "ok"
