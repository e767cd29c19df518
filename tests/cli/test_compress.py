"""``relufit compress``: what it prints is what the compressor and its payloads say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from relufit import streams
from relufit.cli import main
from relufit.cli.payloads import parts
from relufit.compression import COMPRESSORS, make_compressor
from relufit.compression.coding import CODINGS

QSGD = ["--compressor", "qsgd", "--levels", "7"]
PARAMETERS = {"qsgd": ["--levels", "7"], "scaled_qsgd": ["--levels", "7"]}


def _told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vector.npy"
    np.save(path, np.random.default_rng(1).standard_normal(2000))
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_vector_of_a_file_is_encoded_and_everything_about_it_is_told(
    dtype: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = np.random.default_rng(1).standard_normal(2000).astype(dtype)
    np.save(tmp_path / "v.npy", vector)
    output = tmp_path / "new" / "payload.bin"
    arguments = [*QSGD, "--coding", "rans", "--bucket-size", "300", "--key", "5", "-o", str(output)]
    assert main(["compress", str(tmp_path / "v.npy"), *arguments]) == 0
    report = _told(capsys)
    compressor = make_compressor("qsgd", levels=7, coding="rans", bucket_size=300)
    payload = compressor.encode(vector, streams.key(5))
    assert output.read_bytes() == payload
    assert report["compressor"] == "qsgd levels=7 coding=rans bucket_size=300 norm=l2"
    assert report["coordinates"] == "2000"
    assert report["payload"] == f"{len(payload)} bytes"
    assert report["header, norms"] == "60 bytes"
    assert report["body"] == f"{len(payload) - 60} bytes in the coding rans"
    assert report["bits a coordinate"] == f"{len(payload) / 250:.4f}"
    assert float(report["ratio to float32"]) == pytest.approx(8000 / len(payload), abs=0.01)
    levels = compressor.decode(payload[:4] + np.full(7, 7.0).tobytes() + payload[60:], 2000)
    entropy = stats.entropy(np.unique(levels, return_counts=True)[1], base=2)
    assert report["entropy of levels"] == f"{entropy:.4f} bits a coordinate"
    assert report["body above entropy"] == f"{100 * ((len(payload) - 60) / 250 / entropy - 1):.2f} %"
    assert float(report["bits expected"]) == pytest.approx(len(payload) / 250, rel=0.05)
    assert float(report["omega, predicted"]) == pytest.approx(compressor.variance(2000), rel=1e-5)
    assert float(report["omega, at most"]) == pytest.approx(compressor.variance_bound(2000), rel=1e-5)
    mean, spread, trials = re.findall(r"\d[\d.e-]*", report["omega, measured"])
    errors = [
        compressor.decode(compressor.encode(vector, streams.key(5, iteration=i)), 2000) - vector for i in range(20)
    ]
    omegas = [float(error @ error) / float(vector.astype(float) @ vector) for error in errors]
    assert float(mean) == pytest.approx(np.mean(omegas), rel=1e-4)
    assert float(spread) == pytest.approx(stats.sem(omegas), rel=0.05)
    assert trials == "20"
    assert re.match(r"\d+\.\d million coordinates a second on this machine \(.+\), median of 20", report["encode"])
    assert re.match(r"\d+\.\d million", report["decode"])


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("bucket", [None, 7, 500])
@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e300])
def test_the_entropy_is_that_of_the_levels_in_buckets_of_any_norm(norm: str, bucket: int | None, scale: float) -> None:
    vector = np.random.default_rng(2).standard_normal(500) * scale
    vector[7:21] = 0
    compressor = make_compressor("qsgd", levels=3, bucket_size=bucket, norm=norm)
    payload = compressor.encode(vector, 4)
    made = parts(compressor, payload, 500)
    assert made is not None
    levels = CODINGS["packed"].decode(payload[made.start :], 500, 3)
    counts = np.unique(levels, return_counts=True)[1]
    assert made.entropy == pytest.approx(stats.entropy(counts, base=2))
    assert made.coding == "packed"


def test_the_entropy_of_natural_compression_is_that_of_its_levels() -> None:
    vector = np.random.default_rng(2).standard_normal(500)
    vector[:40] = 0
    compressor = make_compressor("natural", coding="packed")
    payload = compressor.encode(vector, 4)
    made = parts(compressor, payload, 500)
    assert made is not None
    levels = CODINGS["packed"].decode(payload[6:], 500, int.from_bytes(payload[2:4], "little"))
    assert made.entropy == pytest.approx(stats.entropy(np.unique(levels, return_counts=True)[1], base=2))
    assert (made.start, made.coding, made.size) == (6, "packed", 500)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("vector", [np.zeros(50), np.ones(1), np.linspace(-1, 1, 50, dtype=np.float32)])
def test_every_compressor_can_be_looked_at_and_its_payload_decoded(
    name: str, vector: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, payload, back = tmp_path / "v.npy", tmp_path / "p.bin", tmp_path / "back"
    np.save(given, vector)
    chosen = ["--compressor", name, *PARAMETERS.get(name, [])]
    assert main(["compress", str(given), *chosen, "--trials", "2", "--output", str(payload)]) == 0
    report = _told(capsys)
    assert report["payload"] == f"{payload.stat().st_size} bytes"
    assert ("omega, measured" in report) and (report["omega, measured"] == "-") == (not vector.any())
    size = str(vector.size)
    assert main(["compress", "--decode", str(payload), "--size", size, *chosen, "--output", str(back)]) == 0
    parameters = {"levels": 7} if "qsgd" in name else {}
    expected = make_compressor(name, **parameters).decode(payload.read_bytes(), vector.size)
    decoded = np.load(back)
    assert decoded.dtype == np.float64
    assert decoded.tolist() == expected.tolist()
    assert f"{size} coordinates from" in capsys.readouterr().out


def test_the_gaussian_vector_is_a_function_of_its_seed_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--gaussian", "2000", "--seed", seed, "--compressor", "fp64", "-o", str(tmp_path / name)]
        assert main(["compress", *arguments]) == 0
    text = capsys.readouterr().out
    assert "omega, at most     0, nothing is drawn" in text
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    drawn = np.frombuffer((tmp_path / "a").read_bytes()[4:])
    assert drawn.size == 2000
    assert stats.kstest(drawn, "norm").pvalue > 1e-6


@pytest.mark.parametrize("name", ["qsgd", "ternary", "natural"])
def test_codings_are_compared(name: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--compressor", name, *PARAMETERS.get(name, [])]
    assert main(["compress", str(file), *chosen, "--trials", "2", "--compare"]) == 0
    about, table, legend = capsys.readouterr().out.split("\n\n")
    rows = {line.split("  ")[0]: line.split() for line in table.splitlines()[1:]}
    *plain, automatic = rows
    assert plain == list(CODINGS)
    shortest = re.fullmatch(r"auto \((\w+)\)", automatic)
    assert shortest
    assert rows[automatic][2] == rows[shortest[1]][1]
    parameters = {"levels": 7} if "qsgd" in name else {}
    for coding in plain:
        compressor = make_compressor(name, coding=coding, **parameters)
        assert int(rows[coding][1]) == len(compressor.encode(np.load(file), streams.key(0)))
    assert "entropy of levels" in about
    assert "million coordinates a second" in legend


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{file}", "--compressor", "zip"], "unknown compressor 'zip'"),
        (["{file}", "--compressor", "qsgd"], "qsgd needs 'levels'"),
        (["{file}", *QSGD, "--coding", "morse"], "coding: unknown coding 'morse'"),
        (["{file}", *QSGD, "--norm", "l1"], "norm: unknown norm 'l1'"),
        (["{file}", *QSGD, "--bucket-size", "0"], "bucket_size"),
        (["{file}", "--compressor", "fp16", "--levels", "4"], "fp16 has no parameter 'levels'"),
        (["{file}", "--compressor", "fp16", "--compare"], "fp16 has no parameter 'coding'"),
        (["{file}", *QSGD, "--trials", "0"], "--trials: 0 trials"),
        (["{file}", *QSGD, "--size", "5"], "--size: a vector has its own size"),
        (["{file}", *QSGD, "--compare", "--coding", "rans"], "--coding: --compare goes through all"),
        (["{file}", *QSGD, "--compare", "-o", "{tmp}/p"], "--output: --compare goes through all"),
        (["{file}", *QSGD, "-o", "{file}/p"], "vector.npy: is a file, not a folder"),
        (["{file}", *QSGD, "--key", str(2**64)], "seed: 18446744073709551616 is no 64-bit integer"),
        (["--gaussian", "0", *QSGD], "--gaussian: 0 coordinates"),
        (["--gaussian", str(2**32), *QSGD], "--gaussian: 4294967296 coordinates"),
        (["{tmp}/none.npy", *QSGD], "none.npy: No such file or directory; check the path"),
        (["--decode", "{file}", *QSGD], "--decode: needs --size and --output"),
        (["--decode", "{file}", "--size", "0", "-o", "{tmp}/v", *QSGD], "--size: 0 coordinates"),
        (["--decode", "{file}", "--size", "2", "-o", "{tmp}/v", "--compare", *QSGD], "--compare: there is nothing"),
        (["--decode", "{tmp}/none", "--size", "2", "-o", "{tmp}/v", *QSGD], "none: No such file"),
        (["--decode", "{file}", "--size", "2", "-o", "{tmp}/v", *QSGD], "vector.npy: a payload of kind 147"),
    ],
)
def test_a_mistake_gets_one_message_with_its_place_and_leaves_nothing(
    arguments: list[str], says: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    assert main(["compress", *(part.format(file=file, tmp=tmp_path) for part in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("relufit: error: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.zeros((3, 4)), "shape (3, 4), which is no vector"),
        (np.zeros(()), "shape (), which is no vector"),
        (np.zeros(0), "shape (0,), which is no vector"),
        (np.arange(5), "holds <i8, which is neither float32 nor float64"),
        (np.zeros(5, ">f8"), "holds >f8, which is neither float32 nor float64"),
        (np.array(["a", None], object), "is no .npy file of numbers"),
        (b"", "is no .npy file of numbers"),
        (b"no array", "is no .npy file of numbers"),
        (b"\x93NUMPY\x01\x00\x04\x00{'a'", "is no .npy file of numbers"),
    ],
)
def test_a_file_that_holds_no_vector_is_named_with_a_remedy(
    content: np.ndarray | bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    assert main(["compress", str(path), *QSGD]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"relufit: error: {path}: ")
    assert says in message
    assert "numpy.save(" in message


def test_a_truncated_file_and_an_archive_are_named_as_well(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    assert main(["compress", str(file), *QSGD]) == 2
    assert f"{file}: is no .npy file of numbers" in capsys.readouterr().err
    with file.open("wb") as archive:
        np.savez(archive, np.ones(3))
    assert main(["compress", str(file), *QSGD]) == 2
    assert f"{file}: is no .npy file of numbers" in capsys.readouterr().err


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_cannot_be_sent_is_named(value: float, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(file, np.array([1.0, value]))
    assert main(["compress", str(file), *QSGD]) == 2
    assert f"{file}: NaN or infinity in the vector" in capsys.readouterr().err


def test_one_of_a_file_a_gaussian_vector_and_a_payload_must_be_given(file: Path) -> None:
    for source in ([], [str(file), "--gaussian", "5"], ["--gaussian", "5", "--decode", str(file)]):
        with pytest.raises(SystemExit) as ended:
            main(["compress", *source, *QSGD])
        assert ended.value.code == 2
