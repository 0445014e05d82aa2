"""Takes secrets out of text that leaves the process: log lines and error answers, never data that is worked with."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import OrderedDict
from urllib.parse import quote, quote_plus

__all__ = ["Redactor"]

MIN_CHARACTERS = 6
MAX_SECRETS = 1000
MASK = "***"
# Base64 of a part of a longer value is only worth looking for while it cannot be an ordinary word.
MIN_BASE64_CHARACTERS = 8

# What is secret by its shape, registered or not. Each group 1 stays.
_SHAPES = (
    # https://core.telegram.org/bots/api#making-requests puts the token into the path.
    re.compile(r"(/(?:file/)?bot[0-9]{1,20}(?::|%3[Aa]))[A-Za-z0-9_-]+"),
    re.compile(r"(\b[0-9]{6,20}:)[A-Za-z0-9_-]{30,}"),
    re.compile(r"(\b[Bb]earer +)[A-Za-z0-9\-._~+/=]{6,}"),
    re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]*:[^\s/@]+(?=@)"),
)
_ESCAPE = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Knows the secrets of this process. Thread-safe; `_guard` protects the table, readers take a finished pattern."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._forms: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> bool:
        """Hide `value` from now on, also URL-encoded, in base64 and JSON-escaped.

        False when it has fewer than 6 characters: hiding so little would black out ordinary text.
        """
        if len(value) < MIN_CHARACTERS:
            return False
        with self._guard:
            if value in self._forms:
                self._forms.move_to_end(value)
                return True
            self._forms[value] = _forms(value)
            if len(self._forms) > MAX_SECRETS:
                self._forms.popitem(last=False)
            every = {form for forms in self._forms.values() for form in forms}
            # The longest first, or a secret that begins with another would keep its tail.
            longest_first = sorted(every, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return True

    def scrub(self, text: str) -> str:
        """The text with every secret masked."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(MASK, text)
        for shape in _SHAPES:
            text = shape.sub(rf"\g<1>{MASK}", text)
        return text


def _forms(value: str) -> tuple[str, ...]:
    data = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        quote(data, safe=""),
        _ESCAPE.sub(lambda found: found.group().lower(), quote(data, safe="")),
        quote(data),
        quote_plus(data),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    }
    for prefix in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = _base64_core(encode(b"\0" * prefix + data).decode("ascii"), prefix, len(data))
            if len(core) >= MIN_BASE64_CHARACTERS:
                forms.add(core)
    return tuple(form for form in forms if len(form) >= MIN_CHARACTERS)


def _base64_core(encoded: str, prefix: int, length: int) -> str:
    """The characters that depend on the value alone when `prefix` other bytes stand before it and any behind."""
    first = (prefix * 8 + 5) // 6
    return encoded[first : (prefix + length) * 8 // 6]
