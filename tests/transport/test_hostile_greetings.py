"""Hostile greetings in great number: nobody is let in or answered, and the members are not disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import sleep

import psutil
import pytest
from callers import sealed
from meetings import TOKEN, make_network, until
from receptions import (
    Open,
    Watched,
    assert_linked,
    come,
    receiving,
    sockets_at,
    take,
)
from strangers import MOST, hostile, is_refused_at_once

from relufit.errors import TransportError
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest, check, unpack
from relufit.transport.greeting import HELLO_BYTES, PROOF_BYTES

#: `make test` sends fewer than the hundred thousand that the environment may ask for.
GREETINGS = int(os.environ.get("RELUFIT_HOSTILE_GREETINGS", "10000"))


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.PROOF])
def test_hostile_greetings_are_of_all_sorts_and_never_valid(kind: Kind) -> None:
    """What is said of the strangers below is so."""
    most = MOST[kind]
    valid = sealed(kind, bytes(range(HELLO_BYTES if kind is Kind.HELLO else 70)), rank=2)
    sent = [hostile(valid, 0, index) for index in range(3000)]
    assert sent == [hostile(valid, 0, index) for index in range(3000)]
    assert not any(data.startswith(valid) for data in sent)
    assert len(set(sent)) > len(sent) // 2
    refused = sum(is_refused_at_once(data, most, tls=False) for data in sent)
    assert min(refused, len(sent) - refused) > len(sent) // 10
    right = [data for data in sent if len(data) >= HEADER_BYTES and is_sealed(data)]
    assert len(right) > len(sent) // 20, "many have the right checksum"


def is_sealed(data: bytes) -> bool:
    """Tell whether a frame is without fault."""
    with suppress(TransportError):
        header = unpack(data, PROOF_BYTES)
        body = data[HEADER_BYTES : HEADER_BYTES + header.length]
        check(data[:HEADER_BYTES], body_digest(body), header.checksum)
        return True
    return False


ATTACKERS = 2


def attack(kind: str, number: int, receive: Open) -> None:
    """Send so many hostile greetings to a reception, while members exchange frames and others come and go."""
    network = Watched(make_network(kind))
    threads = receiving()
    at = receive(network, 3)
    port, me = at.address[1], psutil.Process()
    # Rank 0 stays, rank 1 comes and goes, and strangers call themselves rank 2.
    links = [come(network, at, 0)]
    links.append(take(at, 0).link)
    memory, most, joined = me.memory_info().rss, 0, 1
    script = Path(__file__).with_name("strangers.py")
    command = [sys.executable, str(script), at.address[0], str(port), kind, "0"]
    attackers = [
        subprocess.Popen(
            [*command, str(first), str(number), str(ATTACKERS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for first in range(ATTACKERS)
    ]
    body = bytes(range(256)) * 100
    try:
        for attacker in attackers:
            assert attacker.stdin is not None
            attacker.stdin.write(TOKEN)
            attacker.stdin.close()
        iteration = 0
        while joined < 4 or any(attacker.poll() is None for attacker in attackers):
            iteration += 1
            for sender, receiver in (links, links[::-1]):
                sender.send(Kind.GRADIENT, body, iteration=iteration)
                assert receiver.receive(Kind.GRADIENT, limit=len(body), iteration=iteration)[1] == body
            if iteration % 10 == 0:
                link = come(network, at, 1)
                assert_linked(take(at, 1), link)
                joined += 1
                assert at.waiting() == {}
            most = max(most, me.memory_info().rss)
            sleep(0.005)
        counts = Counter[str]()
        for attacker in attackers:
            assert attacker.stdout is not None
            assert attacker.stderr is not None
            assert attacker.wait() == 0, attacker.stderr.read().decode()
            counts.update(json.loads(attacker.stdout.read()))
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
            for pipe in (attacker.stdout, attacker.stderr):
                assert pipe is not None
                pipe.close()
    assert counts.keys() == {"left", "turned away"}, "nobody was answered"
    assert counts.total() == number
    assert counts["turned away"] > number // 10
    if kind == "tcp":  # with TLS, some are gone before they are looked at
        until(lambda: network.accepted == joined + number)
    link = come(network, at, 1)
    assert_linked(take(at, 1), link)
    assert at.waiting() == {}
    assert most - memory < 50e6
    at.close()
    assert receiving() == threads
    assert len(sockets_at(port)) == 1
    for link in links:
        link.close()
    assert sockets_at(port) == []


def test_a_hundred_thousand_hostile_greetings_change_nothing(receive: Open) -> None:
    """10,000 unless the environment's RELUFIT_HOSTILE_GREETINGS says how many."""
    attack("tcp", GREETINGS, receive)


def test_hostile_greetings_change_nothing_with_tls_either(receive: Open) -> None:
    """A tenth as many, none of which gets beyond the handshake."""
    attack("tls", max(GREETINGS // 10, 100), receive)
