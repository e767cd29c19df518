from __future__ import annotations

import pytest

from relufit import theory
from relufit.theory.network import FRAME_BYTES, Network, Work
from relufit.transport import frames


def test_the_frame_of_the_model_is_that_of_the_transport() -> None:
    assert frames.HEADER_BYTES == FRAME_BYTES


def test_bytes_on_the_wire_are_those_counted_by_hand() -> None:
    # 1448 bytes of a segment with time stamps; 14 of Ethernet's header, 4 of its checksum, 8 and 12 around.
    assert theory.wire_bytes(1448 - 56) == 1448 + 52 + 38
    assert theory.wire_bytes(1449 - 56) == 1449 + 2 * (52 + 38)
    assert theory.wire_bytes(1_000_000, 9001) == 1_000_056 + 112 * 90


def test_what_is_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        Network(0.0)
    with pytest.raises(ValueError, match="decode must be finite"):
        Work(decode=-1)
    with pytest.raises(ValueError, match="mtu"):
        Network(1.0, mtu=10)
