"""An account of AWS that is a moto server on this machine."""

from __future__ import annotations

import pytest
from account import Account


@pytest.fixture
def account(aws_environment: None) -> Account:
    """An account with a network and an image."""
    return Account()
