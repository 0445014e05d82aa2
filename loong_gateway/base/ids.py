"""Makers of identifiers."""

from __future__ import annotations

import secrets

__all__ = ["new_id"]


def new_id(prefix: str) -> str:
    """A random 96-bit identifier such as `run-4f…`."""
    return f"{prefix}-{secrets.token_hex(12)}"
