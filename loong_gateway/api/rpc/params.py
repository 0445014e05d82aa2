"""Reads the parameters of a request, with errors that say which one is wrong and why. Unknown ones are ignored."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BadParam", "Params"]

LONGEST_TEXT = 1 << 20


class BadParam(Exception):
    """Raised for a parameter that is missing or wrong. `str()` names it and what is expected, never its value."""


class Params:
    """The `params` object of a request; a request without one has none. Each method raises BadParam."""

    def __init__(self, given: object) -> None:
        if given is not None and not isinstance(given, dict):
            raise BadParam("must be object")
        self._given: Mapping[str, object] = given or {}

    def __contains__(self, name: str) -> bool:
        return self._given.get(name) is not None

    def raw(self, name: str) -> object:
        """The value as it came, None when it is missing."""
        return self._given.get(name)

    def required_text(self, name: str, *, longest: int = LONGEST_TEXT) -> str:
        """A text of at least one character."""
        if name not in self._given:
            raise BadParam(f"must have required property '{name}'")
        text = self.text(name, longest=longest)
        if not text:
            raise BadParam(f"at /{name}: must NOT have fewer than 1 characters")
        return text

    def text(self, name: str, *, longest: int = LONGEST_TEXT) -> str | None:
        """A text, None when it is missing or null."""
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise BadParam(f"at /{name}: must be string")
        if len(value) > longest:
            raise BadParam(f"at /{name}: must NOT have more than {longest} characters")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadParam(f"at /{name}: must be valid Unicode") from None
        return value

    def flag(self, name: str) -> bool:
        """True or false, false when it is missing or null."""
        value = self._given.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise BadParam(f"at /{name}: must be boolean")
        return value

    def integer(self, name: str, *, minimum: int, maximum: int, default: int | None = None) -> int | None:
        """A whole number within its bounds, `default` when it is missing or null."""
        value = self._given.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadParam(f"at /{name}: must be integer")
        if value < minimum:
            raise BadParam(f"at /{name}: must be >= {minimum}")
        if value > maximum:
            raise BadParam(f"at /{name}: must be <= {maximum}")
        return value

    def choice(self, name: str, choices: tuple[str, ...], *, default: str) -> str:
        """One of several words."""
        value = self.text(name)
        if value is None:
            return default
        if value not in choices:
            raise BadParam(f"at /{name}: must be equal to one of the allowed values")
        return value

    def texts(self, name: str, *, most: int, longest: int = 512) -> tuple[str, ...]:
        """A list of texts, empty when it is missing or null."""
        value = self._given.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadParam(f"at /{name}: must be array of strings")
        if len(value) > most or any(len(one) > longest for one in value):
            raise BadParam(f"at /{name}: must NOT have more than {most} items of {longest} characters")
        return tuple(value)

    def table(self, name: str) -> Mapping[str, object]:
        """An object, empty when it is missing or null."""
        value = self._given.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadParam(f"at /{name}: must be object")
        return value
