"""What kind of address a host is: whether a call may go there whose host somebody else has named. Pure.

The special ranges are those of https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry, and the places where clouds serve their credentials.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Union

__all__ = ["address_kind", "host_problem"]

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def _nets(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in text.split())


_LOOPBACK = _nets("127.0.0.0/8 ::1/128")
_PRIVATE = _nets("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7")
_NEVER = _nets(
    "0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "224.0.0.0/4 240.0.0.0/4 100.100.100.200/32 168.63.129.16/32 "
    "fd00:ec2::/32 fd20:ce::/32 2001::/23 2001:db8::/32 3fff::/20"
)
_IPV6_PUBLIC = ipaddress.ip_network("2000::/3")
# Where the last 32 bits are an IPv4 address: compatible, mapped, translated. The system may connect there by IPv4.
_SAME_AS_IPV4 = _nets("::/96 ::ffff:0:0/96 ::ffff:0:0:0/96")
# A router translates these; only what is public by IPv4 may be asked of it.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_6TO4 = ipaddress.ip_network("2002::/16")


def address_kind(text: str) -> str:
    """Return "public", "private" (of a network like this one), "loopback" or "never".

    The last is link-local, metadata, special, or no address. `text` is an address as the system's resolver gives it.
    """
    try:
        return _kind(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return "never"


def host_problem(host: str) -> str:
    """Why a host may not be named as `host`, "" if it may; an address must be a public one to be looked at further.

    Names are not looked up: what they lead to is judged when the connection is made.
    """
    name = host.rstrip(".").lower()
    if not name or name == "localhost" or name.endswith((".localhost", ".localdomain")):
        return "loopback"
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return "never" if _is_number(name) else ""
    kind = address_kind(name)
    return "" if kind == "public" else kind


def _is_number(name: str) -> bool:
    """Whether resolvers take a name for an IPv4 address in one of its old forms: 127.1, 0x7f.1, 2130706433."""
    try:
        socket.inet_aton(name)
    except (OSError, ValueError):
        # Also what begins like a number is looked up as a name.
        return name.rpartition(".")[2].isdecimal()
    return True


def _kind(address: _Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in net for net in _LOOPBACK):
            return "loopback"
        if any(address in net for net in _SAME_AS_IPV4):
            return _kind(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address in _NAT64 or address in _6TO4:
            shift = 0 if address in _NAT64 else 80
            inner = _kind(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
            return "public" if inner == "public" else "never"
    for kind, nets in (("never", _NEVER), ("loopback", _LOOPBACK), ("private", _PRIVATE)):
        if any(address in net for net in nets):
            return kind
    return "public" if address.version == 4 or address in _IPV6_PUBLIC else "never"
