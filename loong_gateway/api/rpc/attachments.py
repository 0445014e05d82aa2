"""Files that come inside a request: pictures for the model, texts into the question, nothing else."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from loong_channels.contract import Attachment
from loong_gateway.messaging.file_texts import image_type, placed, read_text
from loong_gateway.providers.contract import Image

from .calls import RpcFault
from .params import Params

__all__ = ["MAX_BYTES", "MAX_IMAGE_BYTES", "Attached", "attached"]

# Announced as `policy.attachments` when a client says hello.
MAX_BYTES = 20_971_520
MAX_IMAGE_BYTES = 6_291_456
MOST = 20
# Of one file the model is shown so much.
TEXT_BYTES = 64 << 10


@dataclass(frozen=True)
class Attached:
    """A message with what came with it."""

    text: str
    images: tuple[Image, ...]


def attached(params: Params, text: str, *, takes_images: bool) -> Attached:
    """The message `text` with the request's `attachments`: objects with `content` (base64 or a data URL), `mimeType`
    and `fileName`. Raises RpcFault for one that is too large, cannot be read or is of no use to the model."""
    given = params.raw("attachments")
    if given is None:
        return Attached(text, ())
    if not isinstance(given, list) or len(given) > MOST:
        raise _refused(f"attachments must be a list of at most {MOST}")
    images: list[Image] = []
    texts: list[tuple[Attachment, str]] = []
    left = MAX_BYTES
    for number, one in enumerate(given, 1):
        where = f"attachment {number}"
        if not isinstance(one, dict):
            raise _refused(f"{where} must be an object")
        content = _content(one, where, left)
        left -= len(content)
        picture = image_type(content)
        if picture is not None:
            if not takes_images:
                raise _refused(f"{where} is a picture, and the model is not shown pictures (provider images)")
            if len(content) > MAX_IMAGE_BYTES:
                raise _refused(f"{where} is a picture of more than {MAX_IMAGE_BYTES} bytes")
            images.append(Image(picture, content))
            continue
        name = _text(one, "fileName")
        file = Attachment("file", name, _text(one, "mimeType"), len(content), {})
        found = read_text(file, name, content, TEXT_BYTES) if content else None
        if found is None:
            raise _refused(f"{where} is neither a picture (PNG, JPEG, GIF, WebP) nor a text")
        texts.append((file, found.block(TEXT_BYTES)))
    return Attached(placed(text, texts) if texts else text, tuple(images))


def _content(one: Mapping[str, object], where: str, left: int) -> bytes:
    content = one.get("content")
    if not isinstance(content, str) or not content:
        raise _refused(f"{where} has no content in base64")
    if content.startswith("data:"):
        content = content.partition(",")[2]
    # Judged by its length before anything is made of it.
    if len(content) > (left + 2) // 3 * 4 + 4:
        raise _refused(f"the attachments have more than {MAX_BYTES} bytes")
    try:
        found = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise _refused(f"{where} is not base64") from None
    if len(found) > left:
        raise _refused(f"the attachments have more than {MAX_BYTES} bytes")
    return found


def _text(one: Mapping[str, object], name: str) -> str | None:
    value = one.get(name)
    return value[:256] if isinstance(value, str) and value.isprintable() else None


def _refused(why: str) -> RpcFault:
    return RpcFault("INVALID_REQUEST", why)
