"""Whose a socket is, by lines as the kernel's tables have them."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from relufit.transport.owners import owner_of_connection, owner_of_peer, owners_of_listener, tables

#: As on a machine with the least significant byte first, which these addresses show.
pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the lines are of such a machine")
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2242 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1
   1: 0100007F:2242 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 12 1
   2: 0100007F:D431 0100007F:2242 01 00000000:00000000 00:00000000 00000000  1001        0 13 1
   3: 0100007F:2242 0100007F:D432 01 00000000:00000000 00:00000000 00000000     0        0 0 1
   4: 0100007F:2242 0100007F:D433 06 00000000:00000000 00:00000000 00000000  1000        0 14 1
   5: 00000000000000000000000001000000:2242 00000000000000000000000001000000:D434 01 0:0 00:0 0 1002 0 15 1
   6: 0000000000000000FFFF00000100007F:2243 0000000000000000FFFF00000100007F:D435 01 0:0 00:0 0 1003 0 16 1
   7: 00000000000000000000000000000000:2243 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1004 0 17 1
"""


@pytest.mark.parametrize(
    ("near", "far", "user"),
    [
        (("127.0.0.1", 0x2242), ("127.0.0.1", 0xD431), 1000),
        (("127.0.0.1", 0xD431), ("127.0.0.1", 0x2242), 1001),
        (("127.0.0.1", 0x2242), ("127.0.0.1", 0xD432), None),  # nobody has accepted it
        (("127.0.0.1", 0x2242), ("127.0.0.1", 0xD433), None),  # it is closing
        (("127.0.0.1", 0x2242), ("127.0.0.1", 0xD439), None),
        (("::1", 0x2242), ("::1", 0xD434), 1002),
        (("127.0.0.1", 0x2243), ("127.0.0.1", 0xD435), 1003),
        (("::ffff:127.0.0.1", 0x2242), ("::ffff:127.0.0.1", 0xD431), 1000),
    ],
)
def test_a_connection_is_of_the_user_whose_process_has_its_socket(
    near: tuple[str, int], far: tuple[str, int], user: int | None
) -> None:
    assert owner_of_connection(TABLE, near, far) == user


def test_who_listens_at_an_address_or_at_all_is_known() -> None:
    assert owners_of_listener(TABLE, ("127.0.0.1", 0x2242)) == {1000}
    assert owners_of_listener(TABLE, ("127.0.0.1", 0x2243)) == {1004}
    assert owners_of_listener(TABLE, ("127.0.0.1", 0xD431)) == set(), "that is a connection"


def test_the_other_end_of_a_connection_of_our_own_is_ours_once_it_is_accepted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        assert owner_of_peer(connection) is None
        accepted, _ = listener.accept()
        with accepted:
            assert owner_of_peer(connection) == os.getuid()
        assert owners_of_listener(tables(), listener.getsockname()) == {os.getuid()}
