"""What the model reads in place of a file: its text between two marks, or a label that says why it is not there. Pure.

A text must not be able to end its own block: both marks carry an id that nobody can guess, and no line of the text
looks like a mark. Names are on one line.
"""

from __future__ import annotations

import codecs
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from loong_channels.contract import Attachment
from loong_channels.text import one_line

__all__ = ["FileText", "expected", "image_type", "is_named_file", "label", "placed", "read_text"]

_TEXTS = frozenset({"forward", "card"})
_PICTURES = frozenset({"image", "photo"})
_FILES = frozenset({"file", "document"})
# How a channel calls what it could not show, where that is not the kind itself.
_WORDS = {"forward": "forwarded messages", "media": "video"}
_TEXT_APPLICATIONS = """json ld+json ndjson xml yaml x-yaml toml sql javascript x-javascript typescript x-sh
    x-python x-php x-httpd-php x-tex graphql"""
_TEXT_MIMES = frozenset(f"application/{name}" for name in _TEXT_APPLICATIONS.split())
_ENDINGS = """txt text md markdown rst adoc tex bib log csv tsv json jsonl ndjson json5 xml xsd xsl svg html htm xhtml
    css scss less yaml yml toml ini cfg conf cnf properties env lock diff patch sql graphql proto srt vtt ics vcf po
    py pyi ipynb rb php pl pm lua r jl js mjs cjs jsx ts tsx vue java kt kts scala groovy gradle go rs c h cc cpp cxx
    hh hpp m mm cs fs vb swift dart ex exs erl hs ml clj lisp el zig asm s sh bash zsh fish ps1 bat cmd
    tf tfvars hcl nix cmake mk make dockerfile gitignore editorconfig"""
_TEXT_ENDINGS = frozenset(_ENDINGS.split())
_IMAGE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "webp"})
_IMAGE_MIMES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_NO_MIME = frozenset({"", "application/octet-stream"})
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Its beginning is the mark of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAX_NAME = 100
_UNSAFE_IN_NAMES = str.maketrans({'"': "'", "[": "(", "]": ")"})
# Control characters but for tabs, and what changes the direction of the line that it stands in.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_LOOKS_LIKE_A_MARK = re.compile(r"^(?=[ \t]*-{3,}[ \t]+(?:begin|end)\b)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class FileText:
    """The readable beginning of a file. `size_bytes` is that of the whole file, as it was sent."""

    title: str
    text: str
    size_bytes: int
    is_cut: bool

    def block(self, limit_bytes: int) -> str:
        """At most so many bytes of the text (in UTF-8), between its marks."""
        encoded = self.text.encode("utf-8", "replace")
        text = encoded[:limit_bytes].decode("utf-8", "ignore")
        lines = _INVISIBLE.sub("", "\n".join(text.splitlines()))
        lines = _LOOKS_LIKE_A_MARK.sub("> ", lines)
        mark = secrets.token_hex(4)
        end = f"--- end {mark} ---"
        if self.is_cut or len(encoded) > limit_bytes:
            shown = min(limit_bytes, len(encoded))
            end = f"--- end {mark}: cut here, {_size(shown)} of {_size(self.size_bytes)} are shown ---"
        return f"--- begin {mark}: {self.title}, {_size(self.size_bytes)} ---\n{lines}\n{end}"


def expected(kind: str, name: str | None, mime: str | None) -> str:
    """What a file is by what is said of it: "text", "image", "unknown", or "" for everything else."""
    if kind in _TEXTS:
        return "text"
    if kind in _PICTURES:
        return "image"
    return _expected_of_file(name or "", mime or "") if kind in _FILES else ""


def _expected_of_file(name: str, mime: str) -> str:
    stem, dot, ending = name.strip().lower().rpartition(".")
    mime = mime.partition(";")[0].strip().lower()
    if mime.startswith("text/") or mime in _TEXT_MIMES or mime.endswith(("+json", "+xml")):
        return "text"
    if dot and ending in _TEXT_ENDINGS:
        return "text"
    if mime in _IMAGE_MIMES or (dot and ending in _IMAGE_ENDINGS):
        return "image"
    return "unknown" if mime in _NO_MIME and not (dot and stem) else ""


def image_type(content: bytes) -> str | None:
    """The MIME type of a picture that models take, by its first bytes; None for anything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content.startswith(b"RIFF") and content[8:12] == b"WEBP" else None


def read_text(attachment: Attachment, name: str | None, content: bytes, limit_bytes: int) -> FileText | None:
    """A file as text of at most `limit_bytes` in UTF-8, None for what is none.

    It is UTF-8, says its encoding by a byte order mark, or is GB18030, which is common in China.
    """
    bom, encoding = next((row for row in _BOMS if content.startswith(row[0])), (b"", "utf-8"))
    body = content[len(bom) :]
    # No encoding needs more than four bytes for what is one byte in UTF-8.
    head = body[: 4 * limit_bytes]
    is_whole = len(head) == len(body)
    text = _decoded(head, encoding, is_whole=is_whole)
    if text is None and not bom:
        text = _decoded(head, "gb18030", is_whole=is_whole)
        # It makes characters of almost any bytes, but not such as people write.
        text = None if text is None or _CONTROL.search(text) else text
    if text is None or "\0" in text:
        return None
    encoded = text.encode("utf-8")
    is_cut = len(encoded) > limit_bytes or not is_whole
    title = _word(attachment) if attachment.kind in _TEXTS else f"{_word(attachment)} {_shown(name)}".rstrip()
    return FileText(title, encoded[:limit_bytes].decode("utf-8", "ignore"), len(content), is_cut)


def _decoded(head: bytes, encoding: str, *, is_whole: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head, final=is_whole)
    except UnicodeDecodeError:
        return None


def label(attachment: Attachment, name: str | None, *, size_bytes: int | None = None, note: str = "") -> str:
    """What stands for a file that is not shown: `[file report.pdf, 1.2 MB]`, `[image: could not be fetched]`."""
    words = f"{_word(attachment)} {_shown(name, quote='')}".rstrip()
    if size_bytes is not None:
        words += f", {_size(size_bytes)}"
    return f"[{words}: {note}]" if note else f"[{words}]"


def is_named_file(attachment: Attachment) -> bool:
    """Whether it is a file whose name a person would look for, other than a picture or a sound."""
    return attachment.kind in _FILES


def placed(text: str, pieces: Sequence[tuple[Attachment, str]]) -> str:
    """The text of a message with each piece in place of what the channel wrote for its attachment.

    An empty piece leaves what is there. What has no place in the text comes at its end, in order.
    """
    end = len(text)
    after: list[str] = []
    # From the end, because what a person wrote or quoted, and might look the same, comes before.
    for attachment, piece in reversed(pieces):
        found = next((spot for spot in _spots(text, attachment, end) if spot[0] >= 0), None)
        if found is None:
            after += [piece] if piece else []
            continue
        start, stop = found
        if piece:
            text = _joined(text[:start], piece, text[stop:])
        end = start
    for piece in reversed(after):
        text = _joined(text, f"\n{piece}" if text else piece, "")
    return text


def _spots(text: str, attachment: Attachment, end: int) -> list[tuple[int, int]]:
    word, name = _word(attachment), attachment.name
    spellings = [f"[{word}: {name}]", f"[{word} {name}]"] if name else []
    starts = [(text.rfind(spelling, 0, end), spelling) for spelling in (*spellings, f"[{word}]")]
    return [(start, start + len(spelling)) for start, spelling in starts]


def _joined(before: str, piece: str, after: str) -> str:
    """A block stands on lines of its own; a label stays within its line."""
    if "\n" in piece.strip("\n"):
        before += "\n" if before and not before.endswith("\n") and not piece.startswith("\n") else ""
        after = f"\n{after}" if after and not after.startswith("\n") else after
    return f"{before}{piece}{after}"


def _word(attachment: Attachment) -> str:
    return _WORDS.get(attachment.kind) or one_line(attachment.kind.replace("_", " "), 40) or "file"


def _shown(name: str | None, quote: str = '"') -> str:
    shown = one_line(name or "", _MAX_NAME).translate(_UNSAFE_IN_NAMES)
    return f"{quote}{shown}{quote}" if shown else ""


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
