"""Reads a JSON object out of a request body and its members out of the object, with errors that name the member."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.base.strict_json import read_json

__all__ = [
    "LONGEST_ID",
    "BadFields",
    "bounded_number",
    "json_object",
    "object_list",
    "optional_flag",
    "optional_object",
    "optional_text",
    "required_text",
]

LONGEST_ID = 512
LONGEST_TEXT = 1024 * 1024


class BadFields(Exception):
    """Raised for a body that is not what the route takes. `str()` names the member, never its value."""


def json_object(body: bytes) -> Mapping[str, object]:
    """The object in `body`; an empty body is an empty object. Raises BadFields."""
    if not body:
        return {}
    try:
        document = read_json(body)
    except ValueError:
        raise BadFields("the body is not valid JSON") from None
    if not isinstance(document, dict):
        raise BadFields("the body must be a JSON object")
    return document


def required_text(document: Mapping[str, object], name: str, *, longest: int = LONGEST_TEXT) -> str:
    """A text of at least one visible character and at most `longest`. Raises BadFields."""
    value = optional_text(document, name, longest=longest)
    if value is None or not value.strip():
        raise BadFields(f"{name}: must be a non-empty string")
    return value


def optional_flag(document: Mapping[str, object], name: str) -> bool:
    """True or false; false when the member is missing or null. Raises BadFields."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadFields(f"{name}: must be true or false")
    return bool(value)


def optional_object(document: Mapping[str, object], name: str, *, most: int) -> Mapping[str, object]:
    """An object of at most `most` members; an empty one when it is missing or null. Raises BadFields."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > most:
        raise BadFields(f"{name}: must be an object of at most {most} members")
    return value


def object_list(document: Mapping[str, object], name: str, *, most: int) -> list[Mapping[str, object]]:
    """A list of at most `most` objects; an empty one when it is missing or null. Raises BadFields."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, dict) for one in value):
        raise BadFields(f"{name}: must be a list of at most {most} objects")
    return value


def optional_text(document: Mapping[str, object], name: str, *, longest: int = LONGEST_ID) -> str | None:
    """A text, or None when the member is missing or null. Raises BadFields, also for what UTF-8 cannot carry."""
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadFields(f"{name}: must be a string")
    if len(value) > longest:
        raise BadFields(f"{name}: must have at most {longest} characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadFields(f"{name}: must be valid Unicode") from None
    return value


def bounded_number(
    document: Mapping[str, object], name: str, *, default: float, minimum: float, maximum: float
) -> float:
    """A number within its bounds. Raises BadFields."""
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value <= maximum:
        raise BadFields(f"{name}: must be a number from {minimum:g} to {maximum:g}")
    return float(value)
