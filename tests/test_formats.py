"""docs/formats.md is held against the code: the example, the program and the formulas on it are run."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit import streams
from relufit.compression import make_compressor
from relufit.compression.coding import CODINGS
from relufit.errors import PayloadError

PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
SIZE, LEVELS = 12, 4


def _block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return str(block)


def _table(*titles: str) -> list[list[str]]:
    """The cells of the table with these titles."""
    head = "| " + " | ".join(titles) + " |\n"
    lines = PAGE[PAGE.index(head) + len(head) :].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _example() -> np.ndarray:
    (numbers,) = re.findall(r"The vector \((.*?)\)", PAGE, re.S)
    return np.array([float(number.replace("−", "-")) for number in numbers.split(",")])


def _bytes(coding: str) -> bytes:
    return b"".join(bytes.fromhex(re.split(r"\s{2,}", line)[0]) for line in _block(coding).splitlines())


@pytest.fixture(scope="module")
def decode() -> Callable[..., list[float]]:
    space: dict[str, Any] = {}
    exec(compile(_block("py"), "docs/formats.md", "exec"), space)
    decoder: Callable[..., list[float]] = space["decode"]
    return decoder


@pytest.mark.parametrize("coding", CODINGS)
def test_the_bytes_of_the_example_are_what_the_code_gives_with_any_key(coding: str) -> None:
    compressor, vector = make_compressor("qsgd", levels=LEVELS, coding=coding), _example()
    assert {compressor.encode(vector, key) for key in range(20)} == {_bytes(coding)}
    decoded = compressor.decode(_bytes(coding), SIZE)
    assert decoded.tolist() == vector.tolist()
    assert (decoded / np.linalg.norm(vector) * LEVELS).tolist() == [int(level) for level in _block("levels").split()]


def test_the_bits_that_the_example_shows_in_elias_are_those_of_its_bytes() -> None:
    shown = [re.match(r"[\d .]+:", re.split(r"\s{2,}", line, maxsplit=1)[1]) for line in _block("elias").splitlines()]
    bits = "".join(re.sub(r"\D", "", match.group()) for match in shown if match)
    assert bits == "".join(f"{byte:08b}" for byte in _bytes("elias")[13:])


def test_the_walk_through_the_example_in_rans_is_right_at_every_step() -> None:
    symbols = [[int(cell) for cell in row] for row in _table("symbol", "level", "frequency", "before")]
    assert sum(frequency for _, _, frequency, _ in symbols) == 2**12
    (word,), state = re.findall(r"one word, (\w+)", PAGE), re.findall(r"state 0, (\w+)", PAGE)[0]
    levels, taken = [], []
    titles = ("coordinate", "state", "slot", "symbol", "level", "state after step 2", "after step 3")
    for row in _table(*titles):
        assert row[1] == state
        slot, symbol, level = map(int, row[2:5])
        before, frequency = symbols[symbol][3], symbols[symbol][2]
        assert slot == int(state, 16) % 2**12
        assert before <= slot < before + frequency
        assert level == symbols[symbol][1]
        after = frequency * (int(state, 16) >> 12) + slot - before
        assert after == int(row[5], 16)
        if after < 2**32:
            taken.append(word)
            assert row[6] == f"{after:08x}{word}"
        state = row[6] or row[5]
        levels.append(level)
    assert state == f"{2**32:012x}"
    assert taken == [word]
    assert levels == [int(level) for level in _block("levels").split()]


@pytest.mark.parametrize("levels", [1, 2, 4, 16, 40, 1000, 32767])
@pytest.mark.parametrize(("size", "bucket"), [(1, None), (12, 5), (300, 64), (5000, None), (33000, 4096)])
def test_the_decoder_on_the_page_reads_what_the_code_writes(
    levels: int, size: int, bucket: int | None, decode: Callable[..., list[float]]
) -> None:
    rng = np.random.default_rng(levels * size)
    draw = rng.standard_normal(size)
    compressor = make_compressor("qsgd", levels=levels, coding="rans", bucket_size=bucket)
    for vector in (draw, np.abs(draw), -(draw**2), np.where(draw > 2, draw, 0.0), np.zeros(size), draw * 1e-300):
        payload = compressor.encode(vector, size)
        assert decode(payload, size, levels, bucket) == compressor.decode(payload, size).tolist()


@pytest.mark.parametrize("levels", [1, 4, 40, 1000])
def test_the_decoder_on_the_page_refuses_what_the_code_refuses(levels: int, decode: Callable[..., list[float]]) -> None:
    size, bucket, refused = 60, 50, 0
    rng = np.random.default_rng(levels)
    compressor = make_compressor("qsgd", levels=levels, coding="rans", bucket_size=bucket)
    payload = compressor.encode(rng.standard_normal(size) ** 3, 1)
    for trial in range(600):
        damaged = bytearray(payload)
        index = rng.integers(len(damaged))
        match trial % 3:
            case 0:
                damaged[index] ^= 1 << rng.integers(8)
            case 1:
                damaged[index:] = rng.bytes(trial % 5)
            case 2:
                damaged[20:24] = rng.bytes(4)
        try:
            expected = compressor.decode(damaged, size).tolist()
        except PayloadError:
            refused += 1
            with pytest.raises(ValueError, match="not a payload"):
                decode(bytes(damaged), size, levels, bucket)
        else:
            assert decode(bytes(damaged), size, levels, bucket) == expected
    assert 200 < refused < 600


def _unit(i: int, seed: int, rank: int, iteration: int) -> float:
    """The random number of coordinate i, by the formulas on the page."""
    message = struct.pack("<qqq", seed, rank, iteration) + b"dither"
    key = hashlib.blake2b(message, digest_size=16, person=b"relufit").digest()
    space: dict[str, int] = dict(zip("abcd", struct.unpack("<4I", key), strict=True)) | {"i": i}
    for line in _block("text").splitlines():
        name, _, formula = line.partition(" = ")
        space[name] = eval(formula, {}, space) % 2**32
    return space["word"] / 2**32


@pytest.mark.parametrize("levels", [1, 7, 32767])
def test_the_roundings_of_qsgd_follow_from_the_page(levels: int) -> None:
    vector = np.random.default_rng(3).standard_normal(301)
    largest = max(map(abs, vector))
    factor = levels / float(largest)
    compressor = make_compressor("qsgd", levels=levels, norm="max")
    sent = compressor.decode(compressor.encode(vector, streams.key(-5, rank=2, iteration=9)), vector.size)
    for i, value in enumerate(vector.tolist()):
        level = math.trunc(value * factor + math.copysign(_unit(i, -5, 2, 9), value))
        assert sent[i] == level * (float(largest) / levels)


def test_the_roundings_of_natural_compression_follow_from_the_page() -> None:
    vector = np.random.default_rng(4).standard_normal(301) ** 5
    compressor = make_compressor("natural", coding="packed")
    payload = compressor.encode(vector, streams.key(8))
    exponents = [math.frexp(abs(value))[1] - 1 for value in vector.tolist()]
    assert struct.unpack_from("<Hh", payload, 2) == (max(exponents) - min(exponents) + 2, max(exponents) + 1)
    sent = compressor.decode(payload, vector.size)
    for i, (value, e) in enumerate(zip(vector.tolist(), exponents, strict=True)):
        up = _unit(i, 8, 0, 0) < abs(value) / 2**e - 1
        assert sent[i] == math.copysign(2.0 ** (e + up), value)


def test_the_kinds_on_the_page_are_those_of_the_payloads() -> None:
    parameters: dict[str, dict[str, Any]] = {"qsgd": {"levels": 3}}
    codings, values = [{"coding": coding} for coding in CODINGS], [{"values": "fp32"}, {"values": "fp16"}]
    for kinds, names, *_ in _table("kind", "compressor", "parameter", "after the header"):
        for name in names.split(", "):
            chosen = {1: [{}], 2: values, 3: codings}[len(kinds.split(", "))]
            made = [make_compressor(name, **parameters.get(name, {}), **choice) for choice in chosen]
            payloads = [compressor.encode(np.ones(5), 0) for compressor in made]
            assert [payload[0] for payload in payloads] == [int(kind) for kind in kinds.split(", ")]
            assert {payload[1] for payload in payloads} == {1}


@pytest.mark.parametrize("s", [1, 2, 5, 300, 32767])
def test_a_number_of_the_coding_packed_is_where_the_page_says(s: int) -> None:
    levels = np.random.default_rng(s).integers(-s, s + 1, 2 * 1280 + 100).astype(np.int16)
    body, width = CODINGS["packed"].encode(levels, s), (2 * s).bit_length()
    end = levels.size // 256 * 256
    rest = int.from_bytes(body[end * width // 8 :], "little")
    for i, level in enumerate(levels.tolist()):
        block, n = divmod(i, 256)
        if s == 1 and i < 2 * 1280:
            block, n = divmod(i, 1280)
            number = body[256 * block + n % 256] // 3 ** (n // 256) % 3
        elif s == 1:
            number = body[(i - 2560) // 5 + 512] // 3 ** (i % 5) % 3
        elif i < end:
            at = 32 * width * block + 2 * (n % 16)
            lane = b"".join(body[at + 32 * k : at + 32 * k + 2] for k in range(width))
            number = int.from_bytes(lane, "little") >> (n // 16 * width) & (2**width - 1)
        else:
            number = rest >> ((i - end) * width) & (2**width - 1)
        assert number - s == level
