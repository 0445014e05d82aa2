"""What is looked at before any credential: does this request come from where a request may come from?

A page in a browser on this host can reach a loopback port. Its requests are told from the operator's by the Host it
was loaded from (DNS rebinding), its Origin, its Sec-Fetch-Site, and by proxies that nobody configured.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from .http_request import Refusal, RequestHead
from .peers import Network, Peer, is_loopback, network_of, peer_of

__all__ = ["Guards"]

FORWARDING = re.compile(
    r"forwarded|x-forwarded-[a-z0-9-]+|x-real-ip|x-client-ip|true-client-ip|cf-connecting-ip"
)
_ORIGIN = re.compile(r"http://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._]{1,253})(?::([0-9]{1,5}))?")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f:.]*:[0-9a-f:.]*")


@dataclass(frozen=True)
class Guards:
    """Immutable and thread-safe. `allowed_hosts` are names or addresses without a port; origins are exact.

    `trusted_proxies` are addresses and networks (CIDR) whose forwarding fields are expected, and still not believed.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()

    def trusts(self, peer: Peer) -> bool:
        """True for the direct address of a configured proxy."""
        if not self._proxies:
            return False
        direct = network_of(peer.address)
        return direct is not None and any(direct.network_address in proxy for proxy in self._proxies)

    @functools.cached_property
    def _proxies(self) -> tuple[Network, ...]:
        found = (network_of(proxy) for proxy in self.trusted_proxies)
        return tuple(network for network in found if network is not None)

    def check(self, head: RequestHead, peer: Peer, local_address: str, *, probe: bool = False) -> None:
        """Raise Refusal (421 or 403) for a request that must not get as far as authentication.

        `local_address` is the address this connection came in on. A `probe` tells nothing and changes nothing, so a
        load balancer that adds forwarding fields may call it.
        """
        if not self._host_allowed(head.host, peer_of(local_address)):
            raise Refusal(421, "misdirected_request")
        origin = head.get("origin")
        if origin is not None and not self._origin_allowed(origin, head):
            raise Refusal(403, "origin_not_allowed")
        site = head.get("sec-fetch-site")
        if site is not None and site.lower() not in ("same-origin", "same-site", "none"):
            raise Refusal(403, "cross_site_request")
        if not probe and any(FORWARDING.fullmatch(name) for name, _ in head.fields) and not self.trusts(peer):
            raise Refusal(403, "proxy_attribution_required")

    def _host_allowed(self, host: str, local: Peer) -> bool:
        if is_loopback(host) or host in (name.lower().strip("[]") for name in self.allowed_hosts):
            return True
        # A bare address cannot be rebound by a name server; a name can, unless names were listed.
        return not local.loopback and (not self.allowed_hosts or _ADDRESS.fullmatch(host) is not None)

    def _origin_allowed(self, origin: str, head: RequestHead) -> bool:
        if origin in self.allowed_origins:
            return True
        found = _ORIGIN.fullmatch(origin)
        if found is None:
            return False
        host, port = found.group(1).strip("[]").lower(), int(found.group(2) or 80)
        same_host = host == head.host or (is_loopback(host) and is_loopback(head.host))
        return same_host and port == (head.port or 80)
