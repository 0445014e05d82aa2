"""The table of connections: whom it cuts, whom it lets in."""

from __future__ import annotations

import socket

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.connections import Connection, ConnectionTable
from loong_gateway.api.peers import Peer, peer_of


class Table:
    """A table over socket pairs with a clock that moves by hand."""

    def __init__(self, **caps: int) -> None:
        self.now = 0.0
        limits = {"max_unauthenticated": 4, "max_per_peer": 2, "max_clients": 2, **caps}
        self.table = ConnectionTable(exempt=lambda peer: peer.loopback, clock=lambda: self.now, **limits)
        self.far: list[socket.socket] = []

    def admit(self, address: str = "127.0.0.1") -> Connection | None:
        self.now += 1
        near, far = socket.socketpair()
        self.far.append(far)
        connection = self.table.admit(near, peer_of(address), "127.0.0.1")
        if connection is None:
            near.close()
        return connection

    def close(self) -> None:
        for far in self.far:
            far.close()


@pytest.fixture(name="made")
def made_tables() -> object:
    tables: list[Table] = []

    def make(**caps: int) -> Table:
        tables.append(Table(**caps))
        return tables[-1]

    yield make
    for table in tables:
        for connection in list(table.table._connections.values()):
            table.table.remove(connection)
        table.close()


def test_the_one_that_waited_longest_gives_way(made: object) -> None:
    table = made()
    admitted = [table.admit() for _ in range(6)]
    assert [c.cut for c in admitted] == [True, True, False, False, False, False]


def test_waiting_is_counted_from_the_last_request(made: object) -> None:
    table = made()
    first, second, *_ = [table.admit() for _ in range(4)]
    table.now += 1
    table.table.enter(first, "waiting")
    table.admit()
    assert (first.cut, second.cut) == (False, True)


def test_a_peer_over_its_cap_displaces_its_own(made: object) -> None:
    table = made()
    other = table.admit("192.0.2.1")
    greedy = [table.admit("192.0.2.2") for _ in range(3)]
    assert not other.cut
    assert [c.cut for c in greedy] == [True, False, False]


def test_loopback_has_no_cap_per_peer(made: object) -> None:
    table = made()
    assert not any(c.cut for c in [table.admit() for _ in range(4)])


def test_a_newcomer_is_turned_away_when_all_are_busy(made: object) -> None:
    table = made()
    for connection in [table.admit() for _ in range(4)]:
        table.table.enter(connection, "busy")
    assert table.admit() is None


def test_a_closing_connection_gives_way(made: object) -> None:
    table = made()
    connections = [table.admit() for _ in range(4)]
    for connection in connections:
        table.table.enter(connection, "busy")
    table.table.enter(connections[2], "closing")
    assert table.admit() is not None
    assert connections[2].cut


def test_authenticated_connections_do_not_count_as_strangers(made: object) -> None:
    table = made()
    known = table.admit()
    assert table.table.promote(known)
    assert table.table.promote(known)
    for _ in range(8):
        table.admit()
    assert not known.cut
    assert table.table.counts()[1] == 1


def test_an_idle_client_gives_way_to_an_active_one(made: object) -> None:
    table = made()
    clients = [table.admit() for _ in range(3)]
    for client in clients:
        table.table.enter(client, "busy")
    assert table.table.promote(clients[0])
    assert table.table.promote(clients[1])
    assert not table.table.promote(clients[2])
    table.table.enter(clients[0], "waiting")
    assert table.table.promote(clients[2])
    assert clients[0].cut


def test_in_a_shortage_the_longest_waiter_goes(made: object) -> None:
    table = made()
    assert not table.table.relieve()
    first = table.admit()
    table.admit()
    assert table.table.relieve()
    assert first.cut


def test_a_closed_table_admits_nobody(made: object) -> None:
    table = made()
    table.table.close(Deadline(1), grace_s=0)
    assert table.admit() is None


def test_peers_are_values() -> None:
    assert peer_of("::1") == Peer("::1", "loopback", loopback=True)
