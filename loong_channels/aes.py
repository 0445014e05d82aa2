"""AES for the platforms that encrypt what they push. The one place that uses `cryptography`, and only when asked to."""

from __future__ import annotations

import importlib

from .faults import Fault

__all__ = ["CryptoMissing", "decrypt_cbc"]


class CryptoMissing(Fault):
    """Raised when the package `cryptography` is needed and cannot be imported."""


def decrypt_cbc(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES in CBC mode, the padding left in place.

    `key` has 32 bytes (AES-256), `iv` 16, `data` a multiple of 16. Pure but for the import; thread-safe.
    Raises CryptoMissing, and ValueError for sizes that do not fit.
    """
    if len(key) != 32 or len(iv) != 16 or len(data) % 16:
        raise ValueError("the sizes of key, iv or data do not fit AES-256-CBC")
    try:
        ciphers = importlib.import_module("cryptography.hazmat.primitives.ciphers")
    except ImportError as error:
        raise CryptoMissing(
            "the Python package cryptography is missing; install it with: pip install 'loong[crypto]'"
        ) from error
    decryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv)).decryptor()
    plain: bytes = decryptor.update(data) + decryptor.finalize()
    return plain
