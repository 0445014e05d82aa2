"""Where a provider profile is reached: joins addresses and checks that they belong to the kind. Pure functions."""

from __future__ import annotations

from urllib.parse import urlsplit

from loong_gateway.config.kinds import REGION, REGION_ENV, Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.contract import ProviderFault

__all__ = ["chat_url", "check_addresses", "embeddings_url", "join", "models_url"]

CHAT_SUFFIX = "/chat/completions"


def chat_url(profile: ProviderProfile, kind: Kind) -> str:
    """The address of chat completions."""
    if profile.endpoint:
        return profile.endpoint
    return join(profile.base_url or kind.base_url, profile.chat_completions_path or kind.chat_path)


def models_url(profile: ProviderProfile, kind: Kind) -> str:
    """The address of the model list; beside the chat call where the config moved that and says no more."""
    if profile.models_endpoint:
        return profile.models_endpoint
    if profile.endpoint and profile.endpoint.endswith(CHAT_SUFFIX):
        return profile.endpoint[: -len(CHAT_SUFFIX)] + "/models"
    path = kind.models_path
    if "://" in path:
        if REGION not in path:
            return path
        # Without a region there is only the address that the config gives.
        path = urlsplit(path).path
    moved = profile.chat_completions_path
    if moved and moved.endswith(CHAT_SUFFIX):
        path = moved[: -len(CHAT_SUFFIX)] + "/models"
    return join(profile.base_url or kind.base_url, path)


def embeddings_url(profile: ProviderProfile, kind: Kind) -> str | None:
    """The address of embeddings, beside the chat call; None where there are none."""
    url = chat_url(profile, kind)
    if not kind.embeds or not url.endswith(CHAT_SUFFIX):
        return None
    return url[: -len(CHAT_SUFFIX)] + "/embeddings"


def join(base_url: str, path: str) -> str:
    """base_url + path; a leading part of the path that the base already ends in is not repeated."""
    base = base_url.rstrip("/")
    base_path = urlsplit(base).path
    segments = path.strip("/").split("/")
    for count in range(len(segments) - 1, 0, -1):
        lead = "/" + "/".join(segments[:count])
        if base_path.endswith(lead):
            return base[: -len(lead)] + "/" + "/".join(segments)
    return base + "/" + "/".join(segments)


def check_addresses(profile: ProviderProfile, kind: Kind) -> None:
    """Refuse addresses that cannot be used or belong to another kind; raises ProviderFault naming the key."""
    if kind.own_base_url and not profile.base_url and not profile.endpoint:
        raise _unusable("provider.base_url_missing", kind=kind.name, setting=f"{profile.where}.base_url")
    if REGION in kind.base_url and not profile.base_url and not profile.endpoint:
        setting = f"{profile.where}.base_url"
        names = ", ".join(REGION_ENV)
        raise _unusable(
            "provider.region_missing", kind=kind.name, names=names, name=REGION_ENV[0], setting=setting
        )
    for key in ("base_url", "endpoint", "models_endpoint"):
        url = getattr(profile, key)
        if not url:
            continue
        setting = f"{profile.where}.{key}"
        if not _usable(url):
            raise _unusable("provider.address_unusable", setting=setting)
        if key == "base_url" and url.rstrip("/").endswith(CHAT_SUFFIX):
            raise _unusable("provider.base_url_too_long", setting=setting)
        if key != "models_endpoint":
            if kind.never and kind.never in url:
                raise _unusable("provider.coding_lane", kind=kind.name, setting=setting)
            if kind.always and kind.always not in url:
                raise _unusable(
                    "provider.not_coding_lane", piece=kind.always, kind=kind.name, setting=setting
                )


def _unusable(code: str, **values: str) -> ProviderFault:
    return ProviderFault.of(code, "provider_missing", retry_after_s=None, **values)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fits and url.isascii() and url.isprintable() and not any(char in url for char in ' <>"@?#')
