"""How a profile proves who asks: its key and the headers that carry it. No other module writes a key anywhere."""

from __future__ import annotations

import hashlib

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.credentials import KeyRing
from loong_gateway.providers.errors import Failure, Subject

__all__ = ["Access"]

_SCHEMES = {"bearer": "Authorization: Bearer", "x-api-key": "x-api-key"}


class Access:
    """The access of one profile. Thread-safe. `ordered` and `refused` block while a secret is fetched."""

    def __init__(self, profile: ProviderProfile, kind: Kind, ring: KeyRing) -> None:
        self._profile = profile
        self._kind = kind
        self._ring = ring

    def ordered(self, *, listing: bool = False) -> list[str]:
        """The keys to try, in this order, [""] where none is needed; `listing` is for the model list, which some
        services show to everybody. Raises ProviderFault of kind secret_missing."""
        return self._ring.ordered(optional=listing and self._kind.open_list)

    def using(self, key: str) -> None:
        """The key is about to be sent."""
        if key:
            self._ring.health.using(key)

    def judged(self, key: str, failure: Failure | None) -> None:
        """What became of a call with this key: None for an answer."""
        self._ring.judged(key, failure)

    def refused(self, key: str) -> None:
        """The service did not accept `key`: look whether there is another one by now."""
        self._ring.refused(key)

    def health(self) -> list[dict[str, object]]:
        """The keys as status shows them."""
        return self._ring.health.shown(self._ring.keys())

    def fingerprint(self, url: str) -> str:
        """One value per address and set of keys, which tells neither."""
        keys = sorted(self.ordered(listing=True))
        return hashlib.sha256("\n".join((url, *keys)).encode("utf-8", "surrogatepass")).hexdigest()

    def headers(self, key: str, accept: str) -> dict[str, str]:
        """The headers of a request."""
        headers = {"Accept": accept, **self._kind.headers}
        if key:
            if self._kind.auth == "bearer":
                headers["Authorization"] = f"Bearer {key}"
            else:
                headers[self._kind.auth] = key
        for name, value in self._profile.headers.items():
            # The config's own headers come last and replace ours whatever their case.
            for known in [known for known in headers if known.lower() == name.lower()]:
                del headers[known]
            headers[name] = value
        return headers

    def subject(self, url: str) -> Subject:
        """What the texts of errors say of the profile."""
        profile = self._profile
        sent = f"; sent as {_SCHEMES[self._kind.auth]}" if self._ring.keys() else "; no key sent"
        setting = profile.api_key.setting or f"{profile.where}.api_key"
        return Subject(profile.id, profile.where, setting, self._ring.source() + sent, url, self._elsewhere())

    def _elsewhere(self) -> str:
        """The root of the same service in another region, "" where there is none or none is meant."""
        base = self._profile.base_url or self._kind.base_url
        other = self._kind.elsewhere
        if self._profile.endpoint or base.rstrip("/") not in (self._kind.base_url, other):
            return ""
        return self._kind.base_url if base.rstrip("/") == other else other
