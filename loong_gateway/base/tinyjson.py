"""JSON for the status path: the interpreter's own scanner without the modules that usually come with it.

Importing `json` costs more than half of what a bare interpreter needs to start.
Reference: https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

try:
    import _json
except ImportError:  # an interpreter built without the accelerator
    from json.decoder import JSONDecoder
    from json.encoder import encode_basestring, encode_basestring_ascii

    _scan = JSONDecoder().scan_once  # type: ignore[attr-defined]
else:
    encode_basestring, encode_basestring_ascii = _json.encode_basestring, _json.encode_basestring_ascii

    class _Options:
        """What the scanner asks of a decoder."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float

    _scan = _json.make_scanner(_Options())  # type: ignore[arg-type]

__all__ = ["dumps", "loads"]

_SPACE = " \t\r\n"


def loads(text: str) -> object:
    """The value of a JSON text. Raises ValueError for anything else, however deeply nested."""
    try:
        start = len(text) - len(text.lstrip(_SPACE))
        value, end = _scan(text, start)
    except (StopIteration, RecursionError, SystemError) as error:
        # To name a fault the scanner looks for a class of `json`; where that is not loaded, it fails in its own way.
        raise ValueError("not a JSON text") from error
    if text[end:].strip(_SPACE):
        raise ValueError("something follows the JSON value")
    return value


def dumps(value: object, indent: int | None = None, *, ascii_only: bool = True) -> str:
    """The JSON text of dicts with text keys, lists, tuples, texts, numbers, truth values and None.

    `indent` is the number of spaces per level; None means one line. What is not printable is always an escape: the
    text may be shown on a terminal. Raises TypeError for other values.
    """
    quote = encode_basestring_ascii if ascii_only else _quoted
    return _encode(value, "" if indent is None else " " * indent, "\n", quote)


def _quoted(text: str) -> str:
    quoted: str = encode_basestring(text)
    if quoted.isprintable():
        return quoted
    return "".join(c if c.isprintable() else encode_basestring_ascii(c)[1:-1] for c in quoted)


def _encode(value: object, step: str, newline: str, quote) -> str:  # type: ignore[no-untyped-def]
    if isinstance(value, str):
        return quote(value)  # type: ignore[no-any-return]
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        # JSON has no word for infinities and not-a-number.
        return repr(value) if value - value == 0 else "null"
    inner = newline + step
    if isinstance(value, dict):
        pair = ": " if step else ":"
        items = [f"{quote(str(k))}{pair}{_encode(v, step, inner, quote)}" for k, v in value.items()]
        return _bracket("{", items, "}", step, newline)
    if isinstance(value, (list, tuple)):
        return _bracket("[", [_encode(item, step, inner, quote) for item in value], "]", step, newline)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _bracket(opening: str, items: list[str], closing: str, step: str, newline: str) -> str:
    if not items:
        return opening + closing
    if not step:
        return opening + ",".join(items) + closing
    inner = newline + step
    return opening + inner + f",{inner}".join(items) + newline + closing
