"""The direct peer: what counts as loopback, and by what key others are counted."""

from __future__ import annotations

import pytest

from loong_gateway.api.peers import is_loopback, peer_of


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "0:0:0:0:0:0:0:1"])
def test_loopback_names_and_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost.",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.nip.example",
        "127.1",
        "0127.0.0.1",
        "0x7f000001",
        "2130706433",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "::1.evil.example",
        "128.0.0.1",
        "",
    ],
)
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_all_loopback_peers_share_one_key() -> None:
    peers = [peer_of(a) for a in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.3")]
    assert {peer.key for peer in peers} == {"loopback"}
    assert all(peer.loopback for peer in peers)


def test_mapped_addresses_count_as_the_ones_they_map() -> None:
    assert peer_of("::ffff:192.0.2.7").key == peer_of("192.0.2.7").key == "192.0.2.7"


def test_the_addresses_of_one_ipv6_network_share_a_key() -> None:
    assert peer_of("2001:db8::1").key == peer_of("2001:db8::ffff:2").key
    assert peer_of("2001:db8::1").key != peer_of("2001:db8:0:1::1").key
    assert peer_of("fe80::1%eth0").key == peer_of("fe80::2").key


def test_a_name_that_is_no_address_stays_itself() -> None:
    peer = peer_of("unix")
    assert (peer.key, peer.loopback) == ("unix", False)


def test_a_peer_with_our_own_address_is_on_this_host() -> None:
    assert peer_of("192.0.2.10", "192.0.2.10").loopback
    assert peer_of("::ffff:192.0.2.10", "192.0.2.10").key == "loopback"
    assert not peer_of("192.0.2.11", "192.0.2.10").loopback
    assert peer_of("127.0.0.1", "192.0.2.10").loopback
    assert not peer_of("2001:db8::1", "2001:db8::2").loopback
