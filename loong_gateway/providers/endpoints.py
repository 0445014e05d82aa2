"""Where a provider profile is reached: joins and checks addresses. Pure; the validation of a config uses it too."""

from __future__ import annotations

from urllib.parse import urlsplit

from loong_gateway.providers.kinds import Kind
from loong_gateway.snapshot import ProviderProfile

__all__ = ["chat_url", "join", "models_url", "url_problems"]

CHAT_SUFFIX = "/chat/completions"


def chat_url(profile: ProviderProfile, kind: Kind) -> str:
    """The address of chat completions."""
    if profile.endpoint:
        return profile.endpoint
    return join(profile.base_url or kind.base_url, profile.chat_completions_path or kind.chat_path)


def models_url(profile: ProviderProfile, kind: Kind) -> str:
    """The address of the model list."""
    if profile.models_endpoint:
        return profile.models_endpoint
    if kind.models_path.startswith("http"):
        return kind.models_path
    if profile.endpoint and profile.endpoint.endswith(CHAT_SUFFIX):
        return profile.endpoint[: -len(CHAT_SUFFIX)] + "/models"
    chat_path = profile.chat_completions_path or kind.chat_path
    derived = chat_path[: -len(CHAT_SUFFIX)] + "/models" if chat_path.endswith(CHAT_SUFFIX) else "/models"
    return join(profile.base_url or kind.base_url, kind.models_path or derived)


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


def url_problems(profile: ProviderProfile, kind: Kind) -> list[tuple[str, str]]:
    """What is wrong with the addresses of a profile, as (key, sentence); empty when they can be used."""
    if kind.protocol == "echo":
        return []
    problems = []
    for key in ("base_url", "endpoint", "models_endpoint"):
        value = getattr(profile, key)
        sentence = _shape_problem(value) if value else ""
        if value and not sentence and key != "models_endpoint":
            sentence = _kind_problem(value, kind)
        if key == "base_url" and not sentence and value and value.rstrip("/").endswith(CHAT_SUFFIX):
            sentence = f"ends in {CHAT_SUFFIX}; leave that away, or write the whole address as endpoint"
        if sentence:
            problems.append((key, sentence))
    if not kind.base_url and not profile.base_url and not profile.endpoint:
        problems.append(("base_url", f"is missing; kind {kind.name} has no address of its own"))
    return problems


def _shape_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "<" in url or any(char.isspace() or not char.isprintable() for char in url):
        return "is not an http or https address"
    if "@" in parts.netloc:
        return "holds a user name or password; write the key as api_key"
    if parts.query or parts.fragment:
        return "may not hold ? or #"
    return ""


def _kind_problem(url: str, kind: Kind) -> str:
    missing = kind.url_needs and kind.url_needs not in url
    unwanted = kind.url_refuses and kind.url_refuses in url
    return kind.url_reason if missing or unwanted else ""
