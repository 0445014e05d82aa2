"""AES for the platforms that encrypt what they push. The one place that uses `cryptography`, and only when asked to."""

from __future__ import annotations

import importlib
import importlib.util

from .faults import Fault

__all__ = ["CRYPTO_FIX", "CryptoMissing", "can_decrypt", "decrypt_cbc"]

CRYPTO_FIX = "pip install 'loong[crypto]'"


class CryptoMissing(Fault):
    """Raised when the package `cryptography` is needed and cannot be imported."""


def can_decrypt() -> bool:
    """Whether the package that decrypts is installed."""
    try:
        return importlib.util.find_spec("cryptography") is not None
    except (ImportError, ValueError):
        # Somebody has put something else in its place.
        return False


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
            f"the Python package cryptography is missing; install it with: {CRYPTO_FIX}"
        ) from error
    decryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv)).decryptor()
    plain: bytes = decryptor.update(data) + decryptor.finalize()
    return plain
