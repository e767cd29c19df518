"""What a compressor says of itself: its name, its parameters, its state, and that it is a value."""

from __future__ import annotations

import copy
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from relufit.compression import Compressor, compressor_names, make_compressor
from relufit.compression.lengths import payload_bits
from relufit.testing.check import SIZES, Check, gaussian, neighbours, sent


def check_name_and_parameters(compressor: Compressor) -> None:
    """Name and parameters are JSON and, if the name is registered, make an equal compressor."""
    assert isinstance(compressor, Compressor), "is no subclass of relufit.compression.Compressor"
    name, parameters = getattr(compressor, "name", None), compressor.parameters
    assert isinstance(name, str), f"name is {name!r}"
    assert name, "the name is empty"
    assert "name" not in parameters, "a parameter is called 'name'"
    assert json.loads(json.dumps(parameters)) == parameters, f"parameters {parameters} are not JSON"
    if name in compressor_names():
        made = make_compressor(**compressor.description)
        assert made == compressor, f"make_compressor(**{compressor.description}) makes {made!r}, which is not equal"


def check_is_a_value(compressor: Compressor) -> None:
    """Copies, through pickle as well, are equal, have the same hash, and encode the same bytes."""
    vector, key = gaussian(300), 5
    payload = compressor.encode(vector, key)
    for way, other in (("pickle", pickle.loads(pickle.dumps(compressor))), ("copy", copy.deepcopy(compressor))):
        assert other == compressor, f"a copy by {way} is not equal"
        assert hash(other) == hash(compressor), f"a copy by {way} has another hash"
        assert other.encode(vector, key) == payload, f"a copy by {way} encodes other bytes"


def check_has_no_state(compressor: Compressor) -> None:
    """Payloads and decoded vectors do not depend on what the compressor has done before."""
    assert compressor.stateful is False, f"stateful is {compressor.stateful!r}: memory is not supported yet"
    fresh = pickle.loads(pickle.dumps(compressor))
    vector, other = gaussian(300, 1), gaussian(300, 2)
    first, second = fresh.encode(vector, 3), fresh.encode(other, 4)
    decoded = fresh.decode(first, 300)
    for _ in range(3):
        compressor.decode(compressor.encode(other, 9), 300)
    assert compressor.encode(vector, 3) == first, "the payload depends on earlier ones"
    assert compressor.decode(first, 300).tobytes() == decoded.tobytes(), "another instance decodes something else"
    compressor.encode(other, 4)
    again = compressor.decode(first, 300).tobytes()
    assert again == decoded.tobytes(), "what is decoded depends on what was encoded last"
    assert compressor.decode(second, 300).tobytes() != again, "different vectors are decoded to the same"


def check_threads(compressor: Compressor) -> None:
    """Threads that encode and decode at the same time get what one thread gets."""
    tasks = [(gaussian(2000, seed), key) for seed, key in enumerate(neighbours(1) * 4)]

    def run(task: tuple[object, int]) -> tuple[bytes, bytes]:
        payload = compressor.encode(task[0], task[1])  # type: ignore[arg-type]
        return payload, compressor.decode(payload, 2000).tobytes()

    alone = list(map(run, tasks))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, tasks)) == alone, "threads disturb each other"


def check_numbers(compressor: Compressor) -> None:
    """What is said in numbers, from the variance to fused payloads, is possible, or None where that may be."""
    for size in SIZES:
        omega, bound = compressor.variance(size), compressor.variance_bound(size)
        for what, value in (("variance", omega), ("bound", bound), ("bits", compressor.expected_bits(size))):
            if value is not None:
                assert isinstance(value, (int, float)), f"{what} of size {size} is {value!r}"
                assert 0 <= value < math.inf, f"{what} of size {size} is {value!r}"
        if omega is not None and bound is not None:
            assert omega <= bound * (1 + 1e-12), f"variance({size}) = {omega:g} exceeds its bound {bound:g}"
        delta = compressor.contraction(size)
        assert delta is None or 0 < delta <= 1, f"contraction({size}) = {delta!r}"
        assert 0 <= compressor.resolution(size) < math.inf, f"resolution({size}) = {compressor.resolution(size)!r}"
        assert isinstance(compressor.coding_name(size), str), "the name of a coding is no text"
        assert payload_bits(compressor, size) > 0, f"payloads of {size} coordinates have no bits"


def check_exact(compressor: Compressor) -> None:
    """What calls itself exact decodes float64 numbers to what they were."""
    if compressor.exact:
        for size in SIZES:
            vector = gaussian(size)
            assert sent(compressor, vector, 1).tobytes() == vector.tobytes(), f"other numbers come back in {size}"


def check_random(compressor: Compressor) -> None:
    """What says that it draws nothing makes the same payload with every key."""
    if not compressor.random:
        for size in SIZES:
            # Halves of it are integers: numbers are equal, and some are zero.
            vector = np.round(2 * gaussian(size)) / 2
            payloads = {compressor.encode(vector, key) for key in (0, 1, 2**127)}
            assert len(payloads) == 1, f"payloads of {size} coordinates depend on the key"


def check_family(compressor: Compressor) -> None:
    """Members of the family, which plans choose from, can be made for every size."""
    for resolution, make in type(compressor).family((0.1, 1.0)):
        assert 0 <= resolution < math.inf, f"a resolution of {resolution!r}"
        for size in SIZES:
            member = make(size)
            assert member.name == compressor.name, f"a member of the family has the name {member.name!r}"


CHECKS = tuple(
    map(
        Check,
        (
            check_name_and_parameters,
            check_is_a_value,
            check_has_no_state,
            check_numbers,
            check_exact,
            check_random,
            check_family,
            check_threads,
        ),
    )
)
