"""AES for the platforms that encrypt what they push. The one place that uses `cryptography`, and only when asked to."""

from __future__ import annotations

import importlib
import importlib.util

from .faults import Fault

__all__ = ["CRYPTO_FIX", "CryptoMissing", "can_decrypt", "check_decryption", "decrypt_cbc"]

CRYPTO_FIX = "pip install 'loong[crypto]'"
_PACKAGE = "cryptography"


class CryptoMissing(Fault):
    """Raised when the package `cryptography` is needed and cannot be imported."""


def can_decrypt() -> bool:
    """Whether the package is installed. Does not import it."""
    try:
        return importlib.util.find_spec(_PACKAGE) is not None
    except (ImportError, ValueError):
        # Somebody has put something else in its place.
        return False


def check_decryption() -> None:
    """Raise CryptoMissing where nothing can be decrypted, before somebody fetches it in vain."""
    if not can_decrypt():
        raise _missing()


def decrypt_cbc(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES in CBC mode, the padding left in place.

    `key` has 32 bytes (AES-256), `iv` 16, `data` a multiple of 16. Pure but for the import; thread-safe.
    Raises CryptoMissing, and ValueError for sizes that do not fit.
    """
    if len(key) != 32 or len(iv) != 16 or len(data) % 16:
        raise ValueError("the sizes of key, iv or data do not fit AES-256-CBC")
    try:
        ciphers = importlib.import_module(f"{_PACKAGE}.hazmat.primitives.ciphers")
    except ImportError as error:
        raise _missing() from error
    decryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv)).decryptor()
    plain: bytes = decryptor.update(data) + decryptor.finalize()
    return plain


def _missing() -> CryptoMissing:
    return CryptoMissing(f"the Python package {_PACKAGE} is missing; install it with: {CRYPTO_FIX}")
