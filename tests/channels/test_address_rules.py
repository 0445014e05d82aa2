"""What kind of address a host is, and that a connection is only made to the kinds that may be."""

from __future__ import annotations

import socket

import pytest

from loong_channels.address_rules import address_kind, host_problem
from loong_channels.faults import Refused
from loong_channels.net import Call, Egress, HttpClient
from loong_channels.waiting import Deadline

KINDS = {
    "public": "1.1.1.1 8.8.8.8 172.32.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fdff::1 ::ffff:10.0.0.1 ::10.1.2.3",
    "loopback": "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::ffff:0:127.0.0.1 ::127.0.0.1",
    "never": "0.0.0.0 0.1.2.3 169.254.169.254 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.9 "
    "224.0.0.1 240.0.0.1 255.255.255.255 100.100.100.200 168.63.129.16 :: fe80::1 fe80::1%eth0 fec0::1 ff02::1 "
    "fd00:ec2::254 fd20:ce::254 2001::1 2001:db8::1 3fff::1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 "
    "2002:7f00:1::1 2002:a00:1::1 ::ffff:169.254.169.254 100::1 4000::1 nonsense",
}


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, one) for kind, texts in KINDS.items() for one in texts.split()]
)
def test_every_address_has_a_kind(kind: str, address: str) -> None:
    assert address_kind(address) == kind


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("example.com", ""),
        ("example.com.", ""),
        ("8.8.8.8", ""),
        ("2606:4700::1111", ""),
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
        ("a.localhost", "loopback"),
        ("localhost.localdomain", "loopback"),
        ("", "loopback"),
        (".", "loopback"),
        ("127.0.0.1.", "loopback"),
        ("127.1", "never"),
        ("0x7f.1", "never"),
        ("0177.0.0.1", "never"),
        ("2130706433", "never"),
        ("1.2.3.4.5", "never"),
        ("0", "never"),
        ("10.0.0.8", "private"),
        ("::1", "loopback"),
        ("fe80::1%lo", "never"),
    ],
)
def test_how_a_host_may_be_named(host: str, problem: str) -> None:
    assert host_problem(host) == problem


def test_a_host_with_one_address_that_must_not_be_reached_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        rows = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: rows)
        client = HttpClient(Egress(environ={}), reach=lambda address: address == "127.0.0.1")
        with pytest.raises(Refused) as caught:
            client.request(Call("GET", f"http://two.test:{port}/", Deadline(2)))
        assert caught.value.code == "blocked_address"
        canary.setblocking(False)
        with pytest.raises(BlockingIOError):
            canary.accept()
