"""Connections under TLS: for those who have our certificate alone, and secret on the wire."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from meetings import (
    LONG,
    fresh_contexts,
    make_network,
    pass_on,
    until,
    views,
)

from relufit.transport.tcp import Tcp


def trusting(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let whoever calls with this context speak to anybody."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def speak_plainly(address: tuple[str, int]) -> None:
    with socket.create_connection(address, LONG) as caller:
        caller.sendall(b"a plain greeting" * 10)
        while caller.recv(100):
            pass


def speak_tls(context: ssl.SSLContext, address: tuple[str, int]) -> None:
    with socket.create_connection(address, LONG) as caller, context.wrap_socket(caller) as encrypted:
        encrypted.sendall(b"a greeting")
        encrypted.recv(100)


@pytest.mark.parametrize("stranger", ["no TLS", "no certificate", "another certificate"])
def test_with_tls_nobody_is_let_in_without_our_certificate(stranger: str, thread: ThreadPoolExecutor) -> None:
    listener = make_network("tls").listen()
    if stranger == "no TLS":
        calling = thread.submit(speak_plainly, listener.address)
    else:
        context = ssl.create_default_context() if stranger == "no certificate" else fresh_contexts()[1]
        calling = thread.submit(speak_tls, trusting(context), listener.address)
    accepted = listener.accept(LONG)
    assert accepted is not None
    with pytest.raises(ssl.SSLError):
        until(accepted.ready)
    with pytest.raises((OSError, EOFError)):
        accepted.read(memoryview(bytearray(100)), 0)
    accepted.close()
    with suppress(OSError):  # it is told, or reset
        calling.result()
    listener.close()


def test_with_tls_we_do_not_speak_to_somebody_without_our_certificate(thread: ThreadPoolExecutor) -> None:
    listener = Tcp("127.0.0.1", *fresh_contexts()).listen()
    calling = thread.submit(make_network("tls").connect, listener.address, LONG)
    accepted = listener.accept(LONG)
    assert accepted is not None
    with suppress(OSError):
        until(accepted.ready)
    with pytest.raises(ssl.SSLCertVerificationError):
        calling.result()
    accepted.close()
    listener.close()


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_the_bytes_on_the_wire_are_secret_with_tls(kind: str, thread: ThreadPoolExecutor) -> None:
    network, secret = make_network(kind), b"gradient " * 50_000
    listener = network.listen()
    with socket.create_server(("127.0.0.1", 0)) as wire:
        heard = thread.submit(relay, wire, listener.address)
        calling = thread.submit(network.connect, wire.getsockname(), LONG)
        accepted = listener.accept(LONG)
        assert accepted is not None
        until(accepted.ready)
        caller = calling.result()
        for writer, reader in ((caller, accepted), (accepted, caller)):
            assert pass_on(writer, reader, views([secret])) == secret
        caller.close()
        accepted.close()
        for overheard in heard.result():
            assert len(overheard) >= len(secret)
            assert (b"gradient" in overheard) == (kind == "tcp")
    listener.close()


def relay(wire: socket.socket, address: tuple[str, int]) -> tuple[bytes, bytes]:
    """Pass on what a client sends and what the server answers; return both."""
    heard, answered = b"", b""
    client, _ = wire.accept()
    with client, socket.create_connection(address) as server:
        client.settimeout(0.02)
        server.settimeout(0.02)
        with suppress(ConnectionError):
            while True:
                for source, target in ((client, server), (server, client)):
                    try:
                        data = source.recv(2**20)
                    except TimeoutError:
                        continue
                    if not data:
                        return heard, answered
                    target.settimeout(LONG)
                    target.sendall(data)
                    target.settimeout(0.02)
                    if source is client:
                        heard += data
                    else:
                        answered += data
    return heard, answered
