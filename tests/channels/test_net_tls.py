"""TLS with a private certificate authority, made for the run by the openssl command."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import threading
from typing import Callable

import pytest

from loong_channels import egress as egress_module
from loong_channels.egress import Egress, EgressInvalid
from loong_channels.faults import Interrupted, TimedOut, Unreachable
from loong_channels.net import Call, CertificateRefused, HttpClient
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.fakes.certificates import server_context
from tests.fakes.scripted_peer import Connection, ScriptedPeer, answering, tunnel_to

MakeClient = Callable[..., HttpClient]


@pytest.fixture
def trusting(certs: pathlib.Path, opened: MakeClient) -> MakeClient:
    """Makes clients that trust the private authority."""
    return lambda **options: opened(Egress(ca_bundle=str(certs / "ca.pem"), environ={}, **options))


def ok(connection: Connection) -> None:
    connection.answer_json(200, {"ok": True})


def test_a_private_authority_is_trusted_when_the_config_names_it(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    with ScriptedPeer(answering(ok), tls=server_context(certs)) as peer:
        client = trusting()
        statuses = [client.request(Call("GET", peer.url, deadline=Deadline(5))).status for _ in range(3)]
    assert statuses == [200, 200, 200] and peer.connections == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_authority_is_trusted_when_the_environment_names_it(
    certs: pathlib.Path, opened: MakeClient, variable: str
) -> None:
    client = opened(Egress(environ={variable: str(certs / "ca.pem")}))
    with ScriptedPeer(answering(ok), tls=server_context(certs)) as peer:
        assert client.request(Call("GET", peer.url, deadline=Deadline(5))).status == 200


@pytest.fixture
def bare_host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A host on which nothing is trusted; the directory is where OpenSSL looks for certificates."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(egress_module, "_SYSTEM_BUNDLES", (str(tmp_path / "none.pem"),))
    return tmp_path


def status_of(client: HttpClient, certs: pathlib.Path) -> int:
    with ScriptedPeer(answering(ok), tls=server_context(certs)) as peer:
        status: int = client.request(Call("GET", peer.url, deadline=Deadline(5))).status
    return status


def test_a_host_without_any_trusted_certificates_is_told_what_to_do(
    bare_host: pathlib.Path, certs: pathlib.Path, opened: MakeClient
) -> None:
    egress = Egress(environ={})
    with pytest.raises(EgressInvalid, match=r"no store .*; install .* ca-certificates, or name") as caught:
        status_of(opened(egress), certs)
    assert caught.value.setting == "network.ca_bundle" and not caught.value.maybe_processed
    assert [name for name, _ in egress.problems()] == ["network.ca_bundle"]
    with ScriptedPeer(answering(ok)) as peer:
        assert opened(egress).request(Call("GET", peer.url, deadline=Deadline(5))).status == 200


def test_a_host_without_trusted_certificates_needs_a_configured_bundle_only(
    bare_host: pathlib.Path, certs: pathlib.Path, trusting: MakeClient
) -> None:
    assert status_of(trusting(), certs) == 200


def test_the_bundle_of_the_system_is_found_when_openssl_looks_elsewhere(
    bare_host: pathlib.Path, certs: pathlib.Path, opened: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_host / "empty.pem").touch()
    bundles = [bare_host / "missing.pem", bare_host / "empty.pem", certs / "ca.pem"]
    monkeypatch.setattr(egress_module, "_SYSTEM_BUNDLES", tuple(map(str, bundles)))
    assert status_of(opened(Egress(environ={})), certs) == 200


def test_a_store_that_comes_later_is_heeded_without_a_restart(
    bare_host: pathlib.Path, certs: pathlib.Path, opened: MakeClient
) -> None:
    client = opened(Egress(environ={}))
    with pytest.raises(EgressInvalid):
        status_of(client, certs)
    shutil.copy(certs / "ca.pem", bare_host / "none.pem")
    assert status_of(client, certs) == 200


def test_one_of_several_directories_of_hashed_certificates_is_a_store(
    bare_host: pathlib.Path, certs: pathlib.Path, opened: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = bare_host / "hashed"
    hashed.mkdir()
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(certs / "ca.pem")]
    name = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    shutil.copy(certs / "ca.pem", hashed / f"{name}.0")
    monkeypatch.setenv("SSL_CERT_DIR", f"{bare_host / 'missing'}:{bare_host}:{hashed}")
    assert status_of(opened(Egress(environ={})), certs) == 200


@pytest.mark.parametrize("bundle", [None, "other.pem"])
def test_an_unknown_authority_is_refused_before_anything_is_sent(
    certs: pathlib.Path, opened: MakeClient, bundle: str | None
) -> None:
    client = opened(Egress(ca_bundle=bundle and str(certs / bundle), environ={}))
    with (
        ScriptedPeer(answering(ok), tls=server_context(certs)) as peer,
        pytest.raises(CertificateRefused, match=r"certificate of 127\.0\.0\.1") as caught,
    ):
        client.request(Call("GET", peer.url, deadline=Deadline(5)))
    assert not caught.value.maybe_processed and peer.requests == []


def test_a_certificate_for_another_name_is_refused(certs: pathlib.Path, trusting: MakeClient) -> None:
    with (
        ScriptedPeer(answering(ok), tls=server_context(certs)) as peer,
        ScriptedPeer(tunnel_to(peer.port)) as proxy,
        pytest.raises(CertificateRefused),
    ):
        trusting(proxy=f"http://127.0.0.1:{proxy.port}").request(
            Call("GET", "https://else.test/", deadline=Deadline(5))
        )
    assert peer.requests == []


def test_tls_runs_through_a_tunnel_and_the_connection_is_kept(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    with (
        ScriptedPeer(answering(ok), tls=server_context(certs)) as peer,
        ScriptedPeer(tunnel_to(peer.port)) as proxy,
    ):
        client = trusting(proxy=f"http://user:sesame@127.0.0.1:{proxy.port}")
        for _ in range(3):
            assert client.request(Call("GET", "https://peer.test/x", deadline=Deadline(5))).status == 200
        client.close()
    assert proxy.connections == 1
    assert all("Proxy-Authorization" not in head for head, _ in peer.requests)


def test_a_client_certificate_is_shown_when_configured(certs: pathlib.Path, trusting: MakeClient) -> None:
    with ScriptedPeer(answering(ok), tls=server_context(certs, demands_client=True)) as peer:
        client = trusting(client_cert=str(certs / "client.pem"), client_key=str(certs / "client.key"))
        assert client.request(Call("GET", peer.url, deadline=Deadline(5))).status == 200
        with pytest.raises(Unreachable):
            trusting().request(Call("GET", peer.url, deadline=Deadline(5)))


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"ca_bundle": "{home}/missing.pem"}, "network.ca_bundle"),
        ({"ca_bundle": "{home}/ca.key"}, "network.ca_bundle"),
        ({"client_cert": "{home}/missing.pem"}, "network.client_cert"),
        ({"client_cert": "{home}/client.pem", "client_key": "{home}/missing"}, "network.client_key"),
        ({"client_cert": "{home}/client.pem", "client_key": "{home}/server.key"}, "network.client_cert"),
    ],
)
def test_an_unusable_certificate_file_is_named_by_its_setting(
    certs: pathlib.Path, opened: MakeClient, options: dict[str, str], setting: str
) -> None:
    egress = Egress(environ={}, **{key: value.format(home=certs) for key, value in options.items()})
    with pytest.raises(EgressInvalid) as caught:
        opened(egress).request(Call("GET", "https://127.0.0.1:9/", deadline=Deadline(5)))
    assert caught.value.setting == setting
    assert [name for name, _ in egress.problems()] == [setting]


def silent(connection: Connection) -> None:
    connection.wait_closed()


def test_a_handshake_that_never_comes_is_ended_by_the_deadline(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    with ScriptedPeer(silent) as peer, pytest.raises(TimedOut) as caught:
        trusting().request(Call("GET", f"https://127.0.0.1:{peer.port}/", deadline=Deadline(0.3)))
    assert not caught.value.maybe_processed


def drip(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
    while not connection.peer.released.wait(0.02):
        connection.send(b"x")


def test_a_peer_that_drips_over_tls_is_cut_off_by_the_deadline(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    with ScriptedPeer(drip, tls=server_context(certs)) as peer, pytest.raises(TimedOut) as caught:
        trusting().request(Call("GET", peer.url, deadline=Deadline(0.5)))
    assert caught.value.maybe_processed


def test_a_reset_over_tls_amid_the_body_is_unreachable(certs: pathlib.Path, trusting: MakeClient) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nab")
        connection.reset()

    with ScriptedPeer(script, tls=server_context(certs)) as peer, pytest.raises(Unreachable) as caught:
        trusting().request(Call("GET", peer.url, deadline=Deadline(5)))
    assert caught.value.maybe_processed and not isinstance(caught.value, TimedOut)


@pytest.mark.parametrize("phase", ["handshake", "answer"])
def test_a_blocked_tls_call_wakes_when_it_must_end(
    certs: pathlib.Path, trusting: MakeClient, phase: str
) -> None:
    stop = StopToken()
    reached = threading.Event()

    def script(connection: Connection) -> None:
        if phase == "answer":
            connection.read_request()
        else:
            connection.sock.recv(1)
        reached.set()
        connection.wait_closed()

    with ScriptedPeer(script, tls=server_context(certs) if phase == "answer" else None) as peer:
        call = Call("GET", f"https://127.0.0.1:{peer.port}/", deadline=Deadline(60), stop=stop)
        raised = raised_when_woken(lambda: trusting().request(call), blocked=reached.is_set, wake=stop.set)
    assert isinstance(raised, Interrupted)


def test_a_large_request_and_answer_pass_over_tls(certs: pathlib.Path, trusting: MakeClient) -> None:
    body = bytes(range(256)) * 8192
    with ScriptedPeer(answering(lambda c: c.answer(200, body)), tls=server_context(certs)) as peer:
        answer = trusting().request(Call("POST", peer.url, body=body, deadline=Deadline(10)))
    assert answer.body == body and peer.requests[0][1] == body


def test_an_upload_that_moves_is_not_taken_for_one_that_stalls(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    def script(connection: Connection) -> None:
        left = 5 << 20
        while left > 0:
            piece = connection.sock.recv(65536)
            left -= len(piece)
            if (left >> 16) % 10 == 0:
                connection.peer.released.wait(0.03)
        connection.answer_json(200, {})

    with ScriptedPeer(script, tls=server_context(certs)) as peer:
        call = Call("POST", peer.url, body=b"x" * (5 << 20), deadline=Deadline(60), gap_s=0.5)
        assert trusting().request(call).status == 200


def test_an_answer_that_comes_before_the_upload_is_over_is_heard(
    certs: pathlib.Path, trusting: MakeClient
) -> None:
    def script(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.answer(413, b"too large", extra="Connection: close\r\n")

    with ScriptedPeer(script, tls=server_context(certs)) as peer:
        call = Call("POST", peer.url, body=b"x" * (16 << 20), deadline=Deadline(30))
        assert trusting().request(call).status == 413
