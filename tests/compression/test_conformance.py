"""Every compressor of this package keeps the promises of `relufit.testing.check_compressor`."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Collection

import pytest
from references import VALUES, Case, every_compressor

from relufit import testing
from relufit.compression import Compressor, make_compressor
from relufit.testing import Check, check_compressor, compressor_checks, statistics
from relufit.testing.hostile import peak_memory

#: What is decoded does not depend on the coding, which `test_round_trips` checks: nor do means over draws.
BYTES = [check for check in compressor_checks() if check not in statistics.CHECKS]


def representative() -> list[Case]:
    """Return every compressor, with a part of the combinations of QSGD's parameters.

    Every value of a parameter meets every value of each other one, also among the cases that are `packed`.
    `test_round_trips` has all combinations; so has `test_distribution`, with one coding.
    """
    cases = list(every_compressor())
    values = {
        key: list(dict.fromkeys(case.get(key) for case in cases if case.name == "qsgd"))
        for key in ("levels", "norm", "bucket_size", "coding")
    }

    def chosen(case: Case) -> bool:
        levels, norm, bucket, coding = (tried.index(case.get(key)) for key, tried in values.items())
        if case.get("coding") == "packed":
            return (levels + bucket) % 2 == norm
        return (levels + norm + bucket + coding) % 3 == 0

    return [case for case in cases if case.name != "qsgd" or chosen(case)]


@pytest.mark.parametrize("codings", [VALUES["coding"], ("packed",)], ids=["in any coding", "packed"])
def test_any_two_parameters_of_qsgd_are_combined_in_every_way(codings: Collection[str]) -> None:
    every, chosen = (
        {
            pair
            for case in cases
            if case.name == "qsgd" and case.get("coding") in codings
            for pair in itertools.combinations(case.parameters, 2)
        }
        for cases in (every_compressor(), representative())
    )
    assert chosen == every


@pytest.mark.parametrize("case", representative(), ids=str)
def test_a_compressor_keeps_its_promises(case: Case) -> None:
    check_compressor(case.compressor, None if case.get("coding", "packed") == "packed" else BYTES)


def test_every_check_has_a_name_of_its_own_and_a_line_that_describes_it() -> None:
    checks = compressor_checks()
    assert len({check.name for check in checks}) == len(checks) >= 20
    for check in checks:
        assert check.name.isidentifier()
        assert check.description.endswith(".")
        assert len(check.description) < 130


def test_every_function_that_checks_is_in_the_list() -> None:
    listed = {check.run for check in compressor_checks()}
    for module in (testing.declarations, testing.hostile, testing.payloads, testing.statistics, testing.sums):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            assert not name.startswith("check_") or function.__module__ != module.__name__ or function in listed, name


def test_memory_that_other_threads_take_meanwhile_is_not_counted() -> None:
    taken = []

    def decode() -> None:
        # What a thread of a cluster does now and then.
        if not taken:
            thread = threading.Thread(target=lambda: taken.append(bytes(10**6)))
            thread.start()
            thread.join()
        bytes(1000)

    assert 1000 <= peak_memory(decode, 20_000) <= 20_000
    assert peak_memory(lambda: bytes(10**6), 20_000) >= 10**6


def test_checks_can_be_chosen_and_a_failure_names_the_compressor_and_the_check() -> None:
    def check_nothing(compressor: Compressor) -> None:
        """Fail."""
        assert compressor.name == "fp64", f"{compressor.name} is not fp64"

    def check_error(compressor: Compressor) -> None:
        """Raise."""
        raise ZeroDivisionError("nothing by nothing")

    check_compressor(make_compressor("fp64"), [Check(check_nothing)])
    with pytest.raises(AssertionError, match=r"Float32\(\): nothing: fp32 is not fp64"):
        check_compressor(make_compressor("fp32"), [Check(check_nothing)])
    with pytest.raises(AssertionError, match=r"Float32\(\): error: raised ZeroDivisionError: nothing by nothing"):
        check_compressor(make_compressor("fp32"), [Check(check_error)])
