"""How a profile proves who asks: its key and the headers that carry it. No other module writes a key anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.credentials import Credential
from loong_gateway.providers.errors import Subject

__all__ = ["Access"]

_SCHEMES = {"bearer": "Authorization: Bearer", "x-api-key": "x-api-key"}


class Access:
    """The access of one profile. Thread-safe. `key` and `refused` block while a secret is fetched."""

    def __init__(self, profile: ProviderProfile, kind: Kind, credential: Credential) -> None:
        self._profile = profile
        self._auth = kind.auth
        self._credential = credential

    def key(self) -> str:
        """The key to use now, "" where none is needed. Raises ProviderFault of kind secret_missing."""
        return self._credential.get()

    def refused(self, key: str) -> bool:
        """The service did not accept `key`; True when there is another one to try."""
        return self._credential.refused(key)

    def fingerprint(self, url: str) -> str:
        """One value per address and key, which tells neither."""
        return hashlib.sha256(f"{url}\n{self.key()}".encode()).hexdigest()

    def headers(self, key: str, accept: str, more: Mapping[str, str]) -> dict[str, str]:
        """The headers of a request; `more` are those of its protocol."""
        headers = {"Accept": accept, **more}
        if key:
            if self._auth == "bearer":
                headers["Authorization"] = f"Bearer {key}"
            else:
                headers[self._auth] = key
        for name, value in self._profile.headers.items():
            # The config's own headers come last and replace ours whatever their case.
            for known in [known for known in headers if known.lower() == name.lower()]:
                del headers[known]
            headers[name] = value
        return headers

    def subject(self, url: str) -> Subject:
        """What the texts of errors say of the profile."""
        profile = self._profile
        sent = f"; sent as {_SCHEMES[self._auth]}" if self._credential.known() else "; no key sent"
        setting = profile.api_key.setting or f"{profile.where}.api_key"
        return Subject(profile.id, profile.where, setting, self._credential.source() + sent, url)
