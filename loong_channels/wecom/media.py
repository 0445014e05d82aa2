"""Files that came with a message: fetched when somebody asks for one, within the five minutes that their address lives.

The address is a key to the file for whoever knows it, so it is shown to nobody. Each file has a key of its own:
AES-256 in CBC mode, the first half of the key as initialisation vector, padded as PKCS #7 does for blocks of 32 bytes.
https://developer.work.weixin.qq.com/document/path/101463
"""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from loong_channels.aes import check_decryption, decrypt_cbc
from loong_channels.contract import Attachment, Media
from loong_channels.egress import is_loopback
from loong_channels.faults import BadAnswer, Overloaded, Refused
from loong_channels.files import downloaded_as
from loong_channels.net import Call, HttpClient
from loong_channels.waiting import Deadline, StopToken

__all__ = ["MediaStore", "unlock"]

_MAX_BYTES = 20 << 20
_BLOCK_BYTES = 32
_KEY_BYTES = 32


class MediaStore:
    """Fetches files. Thread-safe as far as the client is."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def fetch(self, attachment: Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken) -> Media:
        """The file behind an attachment. Blocks; raises faults: aes.CryptoMissing, and Refused (too_large) among them.

        Redirects are not followed: the address comes from the platform, where it leads on might come from anybody.
        """
        url, key = attachment.ref.get("url"), attachment.ref.get("aeskey")
        if not isinstance(url, str) or not _is_fetchable(url):
            raise Refused("the file has no address that may be fetched", code="media_address")
        if key is not None:
            check_decryption()
        limit = min(max_bytes, _MAX_BYTES)
        call = Call("GET", url, deadline, stop=stop, first_byte_s=20.0, gap_s=20.0)
        with self._client.stream(call) as answer:
            _check_status(answer.status)
            body = answer.read_file(limit if key is None else limit + _BLOCK_BYTES)
        content = body if key is None else unlock(body, str(key))
        if len(content) > limit:
            raise Refused(f"the file has more than {limit} bytes", code="too_large")
        return Media(content, *downloaded_as(answer.headers))

    def interrupt(self) -> None:
        """End everything that is under way, for good."""
        self._client.interrupt()


def unlock(content: bytes, aeskey: str) -> bytes:
    """Decrypt a file. Raises BadAnswer for what does not fit together, and CryptoMissing."""
    try:
        # The key usually comes without its padding; what is too much of it does no harm.
        key = base64.b64decode(aeskey + "=" * (-len(aeskey) % 4), validate=True)
    except ValueError:
        raise BadAnswer("the key of the file is not in base64") from None
    if len(key) != _KEY_BYTES or not content or len(content) % 16:
        raise BadAnswer("the file and its key do not fit together")
    plain = decrypt_cbc(key, key[:16], content)
    count = plain[-1]
    # Whole blocks of 16 occur as well, so only what the padding says of itself is checked.
    if not 1 <= count <= min(_BLOCK_BYTES, len(plain)) or plain[-count:] != bytes([count]) * count:
        raise BadAnswer("the key does not open the file")
    return plain[:-count]


def _check_status(status: int) -> None:
    if status >= 500:
        raise Overloaded(f"the file cannot be had now (HTTP {status})")
    if 300 <= status < 400:
        raise Refused(f"the file is said to be elsewhere (HTTP {status})", code="media_moved")
    if status != 200:
        raise Refused(f"the file is not there any more (HTTP {status})", code="media_gone")


def _is_fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
