"""The old place of the store's helpers, for the tests that have not moved to their rooms yet."""

from __future__ import annotations

from tests.gateway.storage.store_help import NOW_MS, memory, opened, part

__all__ = ["NOW_MS", "memory", "opened", "part"]
