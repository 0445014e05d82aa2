"""Errors that end a command or refuse an operation. They carry a code and values; the sentence is in `texts`.

Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

from loong_gateway.texts import render

__all__ = ["CommandError", "StoreUnwritable"]


class CommandError(Exception):
    """Raised to end a command: `code` names a row of the texts table, the keywords fill it in. Never holds a secret.

    `message`, `where`, `fix` and `exit_code` are derived; `where` and `fix` may be None. `details` are further lines
    for people, between the message and the fix.
    """

    details: tuple[str, ...] = ()

    def __init__(self, code: str, **values: object) -> None:
        self.code = code
        self.values = values
        self.message, self.where, self.fix, self.exit_code = render(code, values)
        super().__init__(self.message)


class StoreUnwritable(Exception):
    """Raised when an operation could not be made durable; nothing of it was stored. Try again later."""
