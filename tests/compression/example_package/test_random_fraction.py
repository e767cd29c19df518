import pytest
from random_fraction import RandomFraction

from relufit.testing import check_compressor


@pytest.mark.parametrize("fraction", [0.05, 0.25, 1.0])
def test_conformance(fraction: float) -> None:
    check_compressor(RandomFraction(fraction))
