from __future__ import annotations

from loong_gateway.messaging.fresh_rows import FreshRows
from loong_gateway.storage.inbox import InboxRow
from tests.gateway.storage.store_help import message


def row(seq: int) -> InboxRow:
    return InboxRow(seq, message("e1"), "new", 0, 0)


def test_a_row_is_given_out_once() -> None:
    rows = FreshRows()
    rows.put(row(7))
    assert rows.take(7) == row(7)
    assert rows.take(7) is None


def test_the_oldest_is_forgotten_first() -> None:
    rows = FreshRows(most=2)
    for seq in (1, 2, 3):
        rows.put(row(seq))
    assert rows.take(1) is None
    assert (rows.take(2), rows.take(3)) == (row(2), row(3))
