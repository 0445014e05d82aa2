"""The type of what a store operation is run on, so that only this package needs to know the database's module."""

from __future__ import annotations

from sqlite3 import Connection

__all__ = ["Connection"]
