"""An account of AWS that is a moto server on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import requests
from account import KEY, REGION, SECRET, Account


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """Return where the moto server listens."""
    server = pytest.importorskip("moto.server", reason="needs moto")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def aws_environment(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point AWS's clients of this process, and of those it starts, at an empty account."""
    requests.post(f"{moto_address}/moto-api/reset", timeout=10)
    for name, value in {
        "AWS_ENDPOINT_URL": moto_address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    # Nobody outside this machine is ever called.
    monkeypatch.setattr("moto.ec2.models.elastic_network_interfaces.random_public_ip", lambda: "127.219.219.219")


@pytest.fixture
def account(aws_environment: None) -> Account:
    """An account with a network and an image."""
    return Account()
