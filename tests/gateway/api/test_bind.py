"""Opening the port: by whose word, on which address, and what is said when it cannot be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from loong_gateway.api.bind import Bound, first_tailnet_address, open_listener
from loong_gateway.api.port_owner import end_port_owner, port_owner
from loong_gateway.base.faults import CommandError
from loong_gateway.config.snapshot import SecretRef
from tests.gateway.api.port_kit import PATIENCE_S, gateway_settings

ABSENT = SecretRef("absent", None, "gateway.auth.token", fallback_env=("LOONG_GATEWAY_TOKEN",))


@pytest.fixture(name="opened")
def opened_listeners() -> Iterator[object]:
    every: list[Bound] = []

    def opener(
        *, port: int | None = 0, bind: str | None = None, environ: object = None, **settings: object
    ) -> Bound:
        settings.setdefault("bind", "loopback")
        bound = open_listener(
            gateway_settings(**settings), port_override=port, bind_override=bind, environ=environ or {}
        )
        every.append(bound)
        return bound

    yield opener
    for bound in every:
        for sock in bound.sockets:
            sock.close()


@pytest.fixture(name="taken")
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture(name="foreign")
def foreign_listener() -> Iterator[object]:
    """Starts listeners in processes of their own; one that is stubborn ignores TERM."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*, stubborn: bool = False) -> tuple[subprocess.Popen[bytes], int]:
        script = (
            "import signal, socket\n"
            f"signal.signal(signal.SIGTERM, signal.{'SIG_IGN' if stubborn else 'SIG_DFL'})\n"
            "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
            "print(s.getsockname()[1], flush=True)\n"
            "signal.pause()\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script, "secret-argument"], stdout=subprocess.PIPE)
        running.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


def refusal(opened: object, **options: object) -> CommandError:
    with pytest.raises(CommandError) as refused:
        opened(**options)
    return refused.value


def test_loopback_means_both_families_on_one_port(opened: object) -> None:
    bound = opened()
    assert bound.address == "127.0.0.1"
    names = [sock.getsockname()[:2] for sock in bound.sockets]
    assert names[0] == ("127.0.0.1", bound.port)
    assert all(name in (("127.0.0.1", bound.port), ("::1", bound.port)) for name in names)
    for name in names:
        socket.create_connection(name, timeout=PATIENCE_S).close()


@pytest.mark.parametrize("bind", ["auto", "localhost", "Loopback", " loopback "])
def test_other_words_for_loopback(opened: object, bind: str) -> None:
    assert opened(bind=bind).address == "127.0.0.1"


def test_the_port_comes_from_flag_environment_config_or_default(opened: object, taken: int) -> None:
    assert opened(port=0).source == "ephemeral_cli"
    assert opened(port=None, environ={"LOONG_GATEWAY_PORT": "0"}).source == "env"
    assert opened(port=None, environ={"LOONG_GATEWAY_PORT": ""}).source == "default"
    free = opened(port=0)
    for sock in free.sockets:
        sock.close()
    again = opened(port=free.port, environ={"LOONG_GATEWAY_PORT": str(taken)})
    assert (again.port, again.source) == (free.port, "cli")


@pytest.mark.parametrize("given", ["x", "-1", "65536", "1e3", "\u0661", "123456", " 80"])
def test_a_port_that_is_no_number_is_named(opened: object, given: str) -> None:
    error = refusal(opened, port=None, environ={"LOONG_GATEWAY_PORT": given})
    assert (error.code, error.exit_code) == ("port.bad_variable", 78)
    assert given in error.message


@pytest.mark.parametrize("given", [-1, 65536])
def test_a_wrong_flag_is_wrong_usage(opened: object, given: int) -> None:
    assert refusal(opened, port=given).exit_code == 2
    assert refusal(opened, bind="somewhere").exit_code == 2


def test_a_busy_port_is_refused_with_its_owner(opened: object, foreign: object) -> None:
    process, port = foreign()
    error = refusal(opened, port=port)
    assert (error.code, error.exit_code) == ("port.busy", 78)
    assert f"port {port} on 127.0.0.1 is taken by pid {process.pid}" in error.message
    assert "python" in error.message
    assert "secret-argument" not in error.message
    assert str(port + 1) in error.fix


def test_a_port_that_is_given_up_meanwhile_is_taken(opened: object) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        script = "import sys; sys.stdin.read()"
        # The only listener is in a child by the time we try, and the child ends amid the tries.
        holder = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=[sock.fileno()]
        )
    assert refusal(opened, port=port).code == "port.busy"
    holder.stdin.close()
    assert holder.wait(PATIENCE_S) == 0
    assert opened(port=port).port == port


def test_a_port_taken_on_one_loopback_family_only_is_busy(opened: object) -> None:
    try:
        sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    with sock:
        assert refusal(opened, port=sock.getsockname()[1]).code == "port.busy"


@pytest.mark.parametrize("bind", ["lan", "0.0.0.0", "::", "192.0.2.1", "[2001:db8::1]", "custom"])
@pytest.mark.parametrize("by_flag", [True, False])
def test_nothing_is_opened_to_the_network_without_a_secret(opened: object, bind: str, by_flag: bool) -> None:
    settings = {"token": ABSENT, "password": ABSENT, "custom_bind_host": "0.0.0.0"}
    with pytest.raises(CommandError) as refused:
        if by_flag:
            opened(bind=bind, **settings)
        else:
            open_listener(gateway_settings(bind=bind, **settings), port_override=0, environ={})
    assert (refused.value.code, refused.value.exit_code) == ("port.no_auth", 78)
    assert refused.value.message.startswith("refusing to bind gateway to ")
    assert refused.value.message.endswith(" without auth")


def test_an_empty_secret_is_no_secret(opened: object) -> None:
    for ref in (
        SecretRef("inline", "", "gateway.auth.token"),
        SecretRef("env", "UNSET_VARIABLE", "gateway.auth.token"),
        ABSENT,
    ):
        environ = {"LOONG_GATEWAY_TOKEN": ""}
        assert refusal(opened, bind="lan", token=ref, password=ABSENT, environ=environ).code == "port.no_auth"


@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ({"token": ABSENT}, {"LOONG_GATEWAY_TOKEN": "a-secret"}),
        ({"token": SecretRef("env", "MINE", "gateway.auth.token")}, {"MINE": "a-secret"}),
        (
            {"auth_mode": "password", "password": SecretRef("inline", "a-secret", "gateway.auth.password")},
            {},
        ),
        ({"token": SecretRef("file", "/x", "gateway.auth.token")}, {}),
    ],
)
def test_with_a_secret_the_network_can_be_asked_for(
    opened: object, settings: object, environ: object
) -> None:
    bound = opened(bind="lan", environ=environ, **settings)
    assert bound.address == "0.0.0.0"


def test_only_the_secret_of_the_chosen_mode_counts(opened: object) -> None:
    password = SecretRef("inline", "a-secret", "gateway.auth.password")
    assert refusal(opened, bind="lan", token=ABSENT, password=password).code == "port.no_auth"
    assert refusal(opened, bind="lan", auth_mode="password").code == "port.no_auth"


def test_custom_needs_its_address(opened: object) -> None:
    assert opened(bind="custom", custom_bind_host="127.0.0.1").address == "127.0.0.1"
    for host in (None, "", "not an address"):
        assert refusal(opened, bind="custom", custom_bind_host=host).code == "port.no_custom_host"


def test_unknown_names_in_the_config_are_named() -> None:
    for name in ("everywhere", "", "localhost.", "0.0.0.0:80", "300.1.1.1"):
        with pytest.raises(CommandError) as refused:
            open_listener(gateway_settings(bind=name), port_override=0, environ={})
        assert (refused.value.code, refused.value.exit_code) == ("port.unknown_bind", 78)


def test_an_address_that_is_not_ours_is_refused_with_the_reason(opened: object) -> None:
    error = refusal(opened, bind="192.0.2.1")
    assert (error.code, error.exit_code) == ("port.failed", 78)
    assert "192.0.2.1" in error.message


def test_tailnet_takes_an_address_of_the_tailnet_or_says_there_is_none(opened: object) -> None:
    address = first_tailnet_address()
    if address is None:
        assert refusal(opened, bind="tailnet").code == "port.no_tailnet"
    else:
        assert opened(bind="tailnet").address == address


def test_the_owner_of_a_port_is_found(foreign: object, taken: int) -> None:
    process, port = foreign()
    assert port_owner(port).pid == process.pid
    assert port_owner(taken).pid == os.getpid()


def test_nobody_owns_a_free_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert port_owner(sock.getsockname()[1]) is None
        assert end_port_owner(sock.getsockname()[1]) is None


@pytest.mark.parametrize(("stubborn", "signal_number"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_foreign_listener_of_ours_is_ended(foreign: object, stubborn: bool, signal_number: int) -> None:
    process, port = foreign(stubborn=stubborn)
    ended = end_port_owner(port)
    assert ended.pid == process.pid
    assert process.wait(PATIENCE_S) == -signal_number
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))


def test_this_process_is_never_ended(taken: int) -> None:
    with pytest.raises(CommandError) as refused:
        end_port_owner(taken)
    assert refused.value.exit_code == 78
