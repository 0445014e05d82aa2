"""Who is at the other end of a connection: the direct peer's address, never a claimed one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Union

__all__ = ["Peer", "is_loopback", "peer_of"]

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_LOOPBACK_V4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_V6 = ipaddress.IPv6Address("::1")


@dataclass(frozen=True)
class Peer:
    """`key` is what caps and lockouts count by: the address, for IPv6 its /64, for loopback one word for all."""

    address: str
    key: str
    loopback: bool


def is_loopback(host: str) -> bool:
    """True for the loopback names and addresses that a Host field may carry. `host` is lower case, no brackets."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and _is_loopback_address(address)


def peer_of(address: str) -> Peer:
    """Describe the peer with this numeric address. An IPv4-mapped address counts as the IPv4 one."""
    parsed = _address(address.partition("%")[0])
    if parsed is None:
        return Peer(address, address, loopback=False)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if _is_loopback_address(parsed):
        return Peer(str(parsed), "loopback", loopback=True)
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
