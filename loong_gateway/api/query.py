"""Reads the query of a request, with errors that name the parameter and never show its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

from .fields import BadFields

__all__ = ["names_credential", "query_number", "query_of"]

MOST = 32
MAX_DIGITS = 18
# What somebody may take for a place of a secret. It would end up in every log on the way.
CREDENTIALS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "key",
        "password",
        "secret",
        "token",
    }
)


def _names(query: str) -> list[tuple[str, str]]:
    pairs = [one.partition("=") for one in query.split("&") if one]
    return [(unquote_plus(name, errors="replace"), value) for name, _, value in pairs]


def names_credential(query: str) -> bool:
    """Whether one of the parameters has the name of a credential."""
    return any(name.strip().lower().replace("-", "_") in CREDENTIALS for name, _ in _names(query))


def query_of(query: str, known: Sequence[str]) -> Mapping[str, str]:
    """The parameters by name, decoded. Raises BadFields for one that is unknown, there twice, or a credential."""
    if names_credential(query):
        raise BadFields("the query must not hold a credential; it belongs into the Authorization field")
    pairs = _names(query)
    if len(pairs) > MOST:
        raise BadFields(f"the query has more than {MOST} parameters")
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadFields(f"the query may hold {', '.join(known) or 'nothing'}")
        if name in found:
            raise BadFields(f"{name}: must be there once")
        found[name] = unquote_plus(value, errors="replace")
    return found


def query_number(
    given: Mapping[str, str], name: str, *, minimum: int, maximum: int, default: int | None = None
) -> int | None:
    """A whole number within its bounds, `default` when it is missing. Raises BadFields."""
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS) or not (
        minimum <= int(text) <= maximum
    ):
        raise BadFields(f"{name}: must be a whole number from {minimum} to {maximum}")
    return int(text)
