"""The report of a run: everything is on the page, as text, in order, with nothing to fetch."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from html_page import Page
from small_run import FIGURES_HERE, HOSTILE, MACHINE, ROOT, SVG, RunOnDisk, make_run, timing

from relufit import report
from relufit.cli import main
from relufit.errors import ConfigError, DataError, RelufitError
from relufit.experiments import configuration as config
from relufit.figures import FIGURES
from relufit.report import captions
from relufit.report.page import duration, size

STYLE = (Path(report.__file__).parent / "style.css").read_text()


@pytest.fixture
def run(tmp_path: Path) -> RunOnDisk:
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> RunOnDisk:
    return make_run(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def page(shared: RunOnDisk) -> Page:
    return Page(shared.render())


def _words(text: str) -> str:
    return " ".join(text.split())


def test_every_statement_is_on_the_page_with_its_condition_and_its_verdict(shared: RunOnDisk, page: Page) -> None:
    rows = [_words(text) for _, text in page.found("tr")]
    claims = shared.claims()
    assert len(claims["claims"]) >= 5
    for statement in (*claims["claims"], *claims["findings"]):
        (row,) = [row for row in rows if row.startswith(_words(statement["words"]))]
        assert row[len(_words(statement["words"])) :].strip().startswith(statement["verdict"])
        assert _words(statement["condition"]) in row
        assert statement["note"] in row
        assert all(f"{title_of(claims, name)}: {verdict}" in row for name, verdict in statement["experiments"].items())
    for claim in claims["claims"]:
        assert _words(claim["words"]) in [_words(text) for _, text in page.found("h3")]


def title_of(claims: dict, name: str) -> str:
    return _words(claims["experiments"][name]["title"])


def test_every_statistic_is_on_the_page_with_its_verdict(shared: RunOnDisk, page: Page) -> None:
    rows = {_words(text) for _, text in page.found("tr")}
    for judged in shared.claims()["experiments"].values():
        for one in [one for verdicts in judged["verdicts"].values() for one in verdicts]:
            value = "—" if one["value"] is None else f"{one['value']:.4g}"
            bounds = {(0.25, 2.0): "0.25 to 2", (0.25, None): "at least 0.25", (None, None): "—"}
            within = bounds[one["least"], one["most"]]
            interval = f"{one['low']:.4g} to {one['high']:.4g} (90 %)"
            cells = (one["statistic"], one["setting"], value, interval, within, one["trials"], one["verdict"])
            assert any(_words(" ".join(map(str, cells))).replace(" ", "") == row.replace(" ", "") for row in rows), (
                cells
            )


def test_every_verdict_has_a_word_and_a_shape_that_goes_with_it(shared: RunOnDisk, page: Page) -> None:
    claims = shared.claims()
    kinds = Counter(
        one["verdict"]
        for e in claims["experiments"].values()
        for verdicts in e["verdicts"].values()
        for one in verdicts
    )
    kinds.update(judged["verdict"] for judged in claims["experiments"].values())
    kinds.update(
        2 * [claim["verdict"] for claim in claims["claims"]] + [finding["verdict"] for finding in claims["findings"]]
    )
    badges = [
        (a["class"].split()[1], _words(text)) for a, text in page.found("span") if "verdict" in a.get("class", "")
    ]
    assert Counter(kind for kind, _ in badges) == kinds
    assert all(kind == word for kind, word in badges)
    shapes = {attributes["id"] for attributes, _ in page.found("symbol")}
    assert shapes == {f"mark-{kind}" for kind in ("confirmed", "refuted", "inconclusive", "described")}
    assert {attributes["href"][1:] for attributes, _ in page.found("use")} == shapes


def test_text_that_means_something_to_html_is_shown_as_it_is(page: Page) -> None:
    assert not page.found("script")
    assert len(page.found("img")) == len(FIGURES_HERE)
    assert _words(page.text).count(_words(HOSTILE)) > 100
    assert "snakemake --cores 'all' <x>" in page.text


def test_what_an_experiment_is_about_is_on_the_page(shared: RunOnDisk, page: Page) -> None:
    text = _words(page.text)
    for judged in shared.claims()["experiments"].values():
        for key in ("title", "question", "prediction", "setting", "budget"):
            assert _words(judged[key]) in text
        for one in [one for verdicts in judged["verdicts"].values() for one in verdicts]:
            assert _words(one["note"]) in text
            assert one["evidence"] in text
    assert "Seed12345" in text.replace(" ", "")
    assert {"Trials7", "Trials3"} <= set(re.findall(r"Trials\d", text.replace(" ", "")))


def test_ids_are_unique_and_every_link_leads_to_one(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    links = [value for value in page.values("href") if value.startswith("#")]
    assert len(links) > 50
    assert {link[1:] for link in links} <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)


def test_nothing_is_fetched_and_no_program_is_in_the_page(page: Page) -> None:
    assert all(value.startswith(("#", "data:text/csv;")) for value in page.values("href", "xlink:href", "action"))
    assert all(value.startswith("data:image/svg+xml;") for value in page.values("src", "srcset", "poster", "data"))
    assert not page.found("script", "link", "iframe", "object", "embed", "base", "form")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", STYLE)
    (policy,) = [a["content"] for a, _ in page.found("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_headings_tables_and_images_can_be_heard(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert {a.get("scope") for a, _ in page.found("th")} == {"col", "row"}
    assert all(len(a["alt"]) > 30 for a, _ in page.found("img"))
    assert all(text.strip() for _, text in page.found("a", "summary", "th", "figcaption"))
    assert page.elements[0] == ("html", {"lang": "en-GB"})
    first = next(attributes for attributes, _ in page.found("a"))
    assert first["href"] == "#main"


def test_captions_are_rendered_with_values_of_the_configuration(page: Page) -> None:
    shown = [_words(text) for _, text in page.found("figcaption")]
    for name in FIGURES_HERE:
        (caption,) = [text for text in shown if f"Caption of {name}, seed 20190119, a < b." in text]
        assert f"figures/{name}.svg" in caption
        assert ("a clock was read" in caption) == name.endswith(".timing")
    assert {_words(text) for _, text in page.found("em")} >= set(FIGURES_HERE)
    assert page.found("math")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_the_project_has_a_caption_that_can_be_rendered(name: str) -> None:
    text = captions.render(ROOT / "workflow" / "report" / f"{name}.rst", config.load([ROOT / "config.yaml"]), "x-")
    assert len(Page(f"<body>{text}</body>").text) > 100


def test_images_are_the_figures_and_downloads_are_the_tables(shared: RunOnDisk, page: Page) -> None:
    images = [base64.b64decode(a["src"].partition("base64,")[2], validate=True) for a, _ in page.found("img")]
    assert sorted(images) == sorted(SVG.replace("NAME", name).encode() for name in FIGURES_HERE)
    assert {(a["width"], a["height"]) for a, _ in page.found("img")} == {("691", "288")}
    downloads = {a["download"]: a["href"] for a, _ in page.found("a") if "download" in a}
    tables = list((shared.folder / "tables").iterdir())
    assert downloads.keys() == {path.name for path in tables}
    for path in tables:
        assert base64.b64decode(downloads[path.name].partition("base64,")[2], validate=True) == path.read_bytes()


def test_a_long_table_is_folded_unless_something_in_it_is_not_confirmed(page: Page) -> None:
    folded = {
        _words(text): "open" in a
        for (a, _), (_, text) in zip(page.found("details"), page.found("summary"), strict=True)
    }
    assert folded["20 statistics: 20 confirmed"] is False
    assert folded["20 statistics: 19 confirmed, 1 inconclusive"] is True
    assert not [summary for summary in folded if summary.startswith("2 statistics")]


def test_the_same_files_give_the_same_bytes_wherever_they_are(run: RunOnDisk, shared: RunOnDisk) -> None:
    assert run.render() == shared.render()


def test_a_figure_that_needs_an_experiment_of_another_run_is_not_missed(
    run: RunOnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FIGURES[FIGURES_HERE[0]]
    both = type(spec)(spec.title, spec.experiment, (*spec.tables, "elsewhere.table"))
    monkeypatch.setitem(FIGURES, "of_both", both)
    assert "of_both" not in run.render()


@pytest.mark.parametrize(
    ("lost", "kind", "remedy"),
    [
        ("claims.json", DataError, "relufit claims"),
        ("config.yaml", ConfigError, "give a YAML file"),
        ("manifest.json", DataError, "relufit manifest"),
        ("figures/qsgd_convergence.svg", DataError, "relufit figure qsgd_convergence"),
        ("../../captions/qsgd_convergence.rst", DataError, "--captions"),
        ("traces/time_to_accuracy/a.timing.parquet", DataError, "relufit trials"),
    ],
)
def test_a_missing_file_is_named_with_its_remedy(
    run: RunOnDisk, lost: str, kind: type[RelufitError], remedy: str
) -> None:
    (run.folder / lost).unlink()
    with pytest.raises(kind) as caught:
        run.render()
    assert Path(lost).name in caught.value.where
    assert remedy in caught.value.remedy


def _without_key(text: str) -> str:
    content = json.loads(text)
    del content["experiments"]["qsgd_convergence"]["budget"]
    return json.dumps(content)


def _unknown_experiment(text: str) -> str:
    content = json.loads(text)
    content["claims"][0]["experiments"]["moon"] = "confirmed"
    return json.dumps(content)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("claims.json", lambda text: text[:-9], "no verdicts of ours"),
        ("claims.json", lambda _: "[1]", "missing"),
        ("claims.json", _without_key, "budget missing"),
        ("claims.json", _unknown_experiment, "moon missing"),
        ("manifest.json", lambda _: "{}", "no manifest of ours"),
        ("figures/qsgd_convergence.svg", lambda _: "<svg>", "viewBox"),
    ],
)
def test_a_damaged_file_is_one_message(run: RunOnDisk, name: str, damage: Callable[[str], str], says: str) -> None:
    path = run.folder / name
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=says) as caught:
        run.render()
    assert caught.value.where == str(path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "caption",
    [
        '{{ snakemake.config["moon"] }}',
        "{% if %}",
        "*never closed",
        ".. include:: /etc/hostname",
        ".. raw:: html\n\n   <b>bold</b>",
        ".. unknown:: directive",
    ],
)
def test_a_caption_that_is_not_valid_is_named(run: RunOnDisk, caption: str) -> None:
    path = run.captions / f"{FIGURES_HERE[0]}.rst"
    path.write_text(caption)
    with pytest.raises(DataError, match="no valid caption") as caught:
        run.render()
    assert caught.value.where == str(path)


def test_seconds_are_summed_and_those_of_jobs_side_by_side_count_once(run: RunOnDisk) -> None:
    spans = [(0, 10), (2, 3), (5, 20), (30, 35), (35, 40), (100, 101)]
    folder = run.folder / "traces" / "qsgd_convergence"
    run.timings["qsgd_convergence"] = [
        timing(folder / f"{i}.timing.parquet", began=float(a), seconds=float(b - a), peak_bytes=1000 + i)
        for i, (a, b) in enumerate(spans)
    ]
    costs = report.read(run.folder, run.captions, run.timings).provenance.costs
    cost = costs["qsgd_convergence"]
    assert cost.jobs == len(spans)
    assert cost.seconds == sum(b - a for a, b in spans)
    # Second by second, as an oracle of its own.
    assert cost.busy == sum(any(a <= second < b for a, b in spans) for second in range(200))
    assert cost.peak_bytes == 1000 + len(spans) - 1
    assert costs[""].jobs == len(spans) + 1
    assert costs[""].seconds == cost.seconds + 61.25


def test_what_no_job_has_recorded_is_called_so(run: RunOnDisk) -> None:
    folder = run.folder / "traces" / "qsgd_convergence"
    run.timings["qsgd_convergence"].append(timing(folder / "old.timing.parquet"))
    rows = [_words(text) for _, text in Page(run.render()).found("tr")]
    assert "qsgd_convergence 2 not recorded not recorded not recorded".replace(" ", "") in [
        r.replace(" ", "") for r in rows
    ]
    assert "time_to_accuracy11 min 01 s1 min 01 s123 MB".replace(" ", "") in [row.replace(" ", "") for row in rows]


def test_the_version_is_shown_where_there_is_no_commit(run: RunOnDisk) -> None:
    path = run.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": None}))
    assert "relufitversion 9.8.7" in _words(Page(run.render()).text)


def test_the_provenance_says_what_made_the_run(page: Page) -> None:
    text = _words(page.text)
    assert "abc1234-dirty" in text
    assert f"{MACHINE['system']}, {MACHINE['processor']}, 3 cores" in text
    assert "numba 0.1.2" in text
    assert "SHA-256 of 2 results" in text
    ((_, configured),) = page.found("pre")
    assert yaml.safe_load(configured) == config.load([ROOT / "config.yaml"])


def test_the_page_says_where_nothing_has_run_only_while_that_is_so(run: RunOnDisk) -> None:
    assert "Nothing here has run on Amazon EC2. What is emulated" in _words(Page(run.render()).text)
    path = run.folder / "traces" / "time_to_accuracy" / "far.timing.parquet"
    run.timings["time_to_accuracy"].append(timing(path, cluster={"kind": "ec2", "processes": 4}))
    text = _words(Page(run.render()).text)
    assert "Nothing here has run on Amazon EC2. What is emulated" not in text
    assert "ec2, processes: 4" in text


def test_the_command_line_tells_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    assert main(["report", str(tmp_path), "--output", str(target)]) == 2
    assert f"{tmp_path}/config.yaml: cannot be read" in capsys.readouterr().err
    assert not target.exists()


def test_the_report_loads_neither_dask_nor_the_training(run_python: Callable[..., str]) -> None:
    modules = run_python("import sys, relufit.report; print(*sys.modules)").split()
    assert "relufit.report.page" in modules
    assert not {"dask", "distributed", "relufit.training", "relufit.experiments"} & set(modules)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.5, "1 min 02 s"), (7261, "2 h 01 min")]
)
def test_durations_are_in_the_units_that_a_person_reads(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (45_678, "46 kB"), (2_000_000_000, "2.0 GB")]
)
def test_sizes_are_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", range(3), ids=["light", "dark", "print"])
def test_text_stands_out_from_its_ground(theme: int) -> None:
    themes = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+);", themes[theme]))
    assert len(themes) == 3
    assert len(colours) == 10
    for ground in ("paper", "panel"):
        for ink in ("ink", "faint", "link", "confirmed", "refuted", "inconclusive"):
            pair = sorted((_luminance(colours[ground]), _luminance(colours[ink])))
            # Level AA of the Web Content Accessibility Guidelines 2.2, for text of any size.
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ground, ink)
