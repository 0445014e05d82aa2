"""Who is at the other end of a connection: the direct peer's address, never a claimed one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Union

__all__ = ["LOCAL_USER", "Network", "Peer", "is_loopback", "network_of", "peer_of"]

LOOPBACK_KEY = "loopback"
# How much of a mapped address comes before the IPv4 one.
MAPPED_BITS = 96

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_LOOPBACK_V4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_V6 = ipaddress.IPv6Address("::1")


@dataclass(frozen=True)
class Peer:
    """`key` is what caps and lockouts count by: the address, for IPv6 its /64, for this host one word for all.

    `loopback` says that the peer is on this host, `same_user` that the system vouches for who it is: the gateway's own
    user, by the socket in its state directory.
    """

    address: str
    key: str
    loopback: bool
    same_user: bool = False


LOCAL_USER = Peer("unix", LOOPBACK_KEY, loopback=True, same_user=True)


def is_loopback(host: str) -> bool:
    """True for the loopback names and addresses that a Host field may carry. `host` is lower case, no brackets."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and _is_loopback_address(address)


def peer_of(address: str, local_address: str | None = None) -> Peer:
    """Describe the peer with this numeric address. An IPv4-mapped address counts as the IPv4 one.

    With the connection's own `local_address`, a peer that has the same one is on this host as well: no system takes
    a packet from outside that claims an address of its own.
    """
    peer = _described(address)
    if local_address is not None and not peer.loopback and peer.address == _described(local_address).address:
        return Peer(peer.address, LOOPBACK_KEY, loopback=True)
    return peer


def network_of(text: str) -> Network | None:
    """The network that an address or a CIDR stands for; None for what is neither. Mapped IPv4 counts as IPv4."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= MAPPED_BITS:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, found.prefixlen - MAPPED_BITS), strict=False)
    return found


def _described(address: str) -> Peer:
    parsed = _address(address.partition("%")[0])
    if parsed is None:
        return Peer(address, address, loopback=False)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if _is_loopback_address(parsed):
        return Peer(str(parsed), LOOPBACK_KEY, loopback=True)
    if isinstance(parsed, ipaddress.IPv6Address):
        # One host usually owns a whole /64 and could take a new address for every try.
        return Peer(str(parsed), str(ipaddress.ip_network((parsed, 64), strict=False)), loopback=False)
    return Peer(str(parsed), str(parsed), loopback=False)


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_loopback_address(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address in _LOOPBACK_V4
    return address == _LOOPBACK_V6
