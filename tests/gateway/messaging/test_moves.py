from __future__ import annotations

import pytest

from loong_gateway.messaging.moves import Moves
from tests.gateway.storage.store_help import opened


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "store.sqlite3") as made:
        yield made


def test_a_conversation_is_followed_through_several_moves(store):
    moves = Moves(store)
    assert moves.add("telegram", "work", "1", "2")
    assert moves.add("telegram", "work", "2", "3")
    assert not moves.add("telegram", "work", "2", "3")
    assert moves.current("telegram", "work", "1") == "3"
    assert moves.current("telegram", "home", "1") == "1"


def test_memory_and_disk_agree_about_a_conversation_that_moves_back(store):
    moves = Moves(store)
    moves.add("telegram", "work", "1", "2")
    moves.add("telegram", "work", "2", "1")
    store.write(lambda conn: None)
    for place in (moves, Moves(store)):
        assert place.current("telegram", "work", "2") == "1"
        assert place.current("telegram", "work", "1") == "1"
