"""The documentation site: it builds without a warning, its links lead somewhere, and it is whole and self-contained."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import relufit
from relufit.claims.abstract import CLAIMS

bs4, *_ = (
    pytest.importorskip(package, reason=f"needs {package}, of the extra docs")
    for package in ("bs4", "sphinx", "myst_parser", "furo")
)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).with_suffix("") for path in [*DOCS.glob("*.md"), *DOCS.glob("api/*.rst")])
#: The modules of the API pages.
PUBLIC = [path.stem for path in sorted(DOCS.glob("api/*.rst")) if path.stem != "index"]


def _build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", target.with_suffix(".doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, source, target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    done = _build(DOCS, folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, bs4.BeautifulSoup]:
    """Each page of the site by its path there."""
    files = sorted(site.rglob("*.html"))
    return {path.relative_to(site): bs4.BeautifulSoup(path.read_text(), "html.parser") for path in files}


def _broken(site: Path, pages: dict[Path, bs4.BeautifulSoup]) -> list[str]:
    """Return the links and the sources of images, styles and scripts that lead nowhere in the site."""
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.find_all(["a", "link", "script", "img"]):
            link = urlsplit(tag.get("href") or tag.get("src") or "")
            if link.scheme or link.netloc:
                continue
            target = (site / path.parent / unquote(link.path)).resolve() if link.path else (site / path).resolve()
            if target.suffix == ".html" and target.is_relative_to(site) and target.exists():
                known = not link.fragment or unquote(link.fragment) in anchors[target.relative_to(site)]
            else:
                known = target.is_relative_to(site) and target.is_file()
            # The theme's link to the top of a page, which a browser knows without an anchor.
            if not known and tag.get("href") != "#":
                broken.append(f"{path}: {link.geturl()}")
    return broken


def _fetched(site: Path, pages: dict[Path, bs4.BeautifulSoup]) -> list[str]:
    """Return what a browser would fetch from other hosts to show the site."""
    sources = [
        (path, str(tag.get("src") or tag.get("href") or tag.get("data") or ""))
        for path, page in pages.items()
        for tag in page.find_all(["link", "script", "img", "iframe", "object", "embed", "video", "audio", "source"])
    ]
    inner = [(path, str(tag.string or "")) for path, page in pages.items() for tag in page.find_all("style")]
    styles = [(path.relative_to(site), path.read_text()) for path in site.rglob("*.css")]
    sources += [
        (path, target)
        for path, text in inner + styles
        for target in re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""", text)
    ]
    return [f"{path}: {source}" for path, source in sources if re.match(r"(https?:)?//", source)]


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, bs4.BeautifulSoup]) -> None:
    assert sum(len(page.find_all("a")) for page in pages.values()) > 1000
    assert _broken(site, pages) == []


def test_nothing_is_fetched_from_other_hosts(site: Path, pages: dict[Path, bs4.BeautifulSoup]) -> None:
    assert _fetched(site, pages) == []


def test_a_link_that_leads_nowhere_and_a_font_of_another_host_are_found(tmp_path: Path) -> None:
    text = """
    <link rel="stylesheet" href="style.css"><script src="//cdn.example/a.js"></script>
    <style>@import "https://fonts.example/all.css";</style>
    <a href="#here" id="here">1</a><a href="#there">2</a><a href="none.html">3</a><a href="https://example.org">4</a>
    <img src="none.png">
    """
    (tmp_path / "page.html").write_text(text)
    (tmp_path / "style.css").write_text("@font-face { src: url('http://fonts.example/a.woff2') } a { b: url(c.svg) }")
    page = {Path("page.html"): bs4.BeautifulSoup(text, "html.parser")}
    assert _broken(tmp_path, page) == ["page.html: #there", "page.html: none.html", "page.html: none.png"]
    hosts = ["page.html: //cdn.example/a.js", "page.html: https://fonts.example/all.css"]
    assert _fetched(tmp_path, page) == [*hosts, "style.css: http://fonts.example/a.woff2"]


def test_broken_links_names_that_there_are_not_and_pages_without_a_place_fail_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    shutil.copytree(DOCS / "_static", docs / "_static")
    (docs / "index.md").write_text(
        "# Home\n\n[a](none.md) [b](#none) \n\n```{eval-rst}\n.. autofunction:: relufit.none\n```\n"
    )
    (docs / "alone.md").write_text("# Alone\n")
    done = _build(docs, tmp_path / "html")
    assert done.returncode != 0
    warnings = (
        "'myst' cross-reference target not found: 'none.md'",
        "'myst' cross-reference target not found: 'none'",
        "alone.md: WARNING: document isn't included in any toctree",
        "failed to import 'none' from module 'relufit'",
    )
    assert [warning for warning in warnings if warning not in done.stderr] == []


def test_every_page_is_in_the_navigation(pages: dict[Path, bs4.BeautifulSoup]) -> None:
    assert {path.with_suffix("") for path in pages} == {*PAGES, Path("search"), Path("genindex"), Path("py-modindex")}
    home = pages[Path("index.html")]
    listed = [Path(tag["href"]).with_suffix("") for tag in home.select(".sidebar-tree a") if tag["href"] != "#"]
    assert sorted(listed) == [page for page in PAGES if page != Path("index")]


def _public(module: ModuleType) -> set[str]:
    own = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__}
    return set(getattr(module, "__all__", None) or {name for name in own if not name.startswith("_")} - {"shown"})


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(pages: dict[Path, bs4.BeautifulSoup], name: str) -> None:
    page = pages[Path("api") / f"{name}.html"]
    names = _public(importlib.import_module(f"relufit.{name}"))
    assert names
    for public in names:
        entry = page.find(id=f"relufit.{name}.{public}")
        assert entry is not None, public
        assert entry.find_next_sibling("dd").get_text(strip=True), public


def test_every_public_module_has_a_page_and_its_names_are_in_a_table() -> None:
    modules = {name for name in relufit.__all__ if isinstance(getattr(relufit, name), ModuleType)}
    assert modules <= set(PUBLIC)
    tables = re.findall(r"^   (\w+)$", (DOCS / "api/theory.rst").read_text(), re.M)
    callables = {name for name in relufit.theory.__all__ if callable(getattr(relufit.theory, name))}
    assert sorted(tables) == sorted(callables)


def test_every_figure_is_in_the_gallery_with_a_caption(site: Path, pages: dict[Path, bs4.BeautifulSoup]) -> None:
    figures = {Path(tag["src"]).name: tag for tag in pages[Path("gallery.html")].select("article img")}
    assert set(figures) == {path.name for path in (DOCS / "images").iterdir()}
    for name, tag in figures.items():
        assert (site / "_images" / name).read_bytes() == (DOCS / "images" / name).read_bytes()
        assert tag["alt"]
        caption = tag.find_parent("p").find_next_sibling("p")
        assert caption.em is not None
        assert len(caption.get_text()) > 60, name


def test_each_claim_is_mapped_to_the_command_that_decides_it(pages: dict[Path, bs4.BeautifulSoup]) -> None:
    home = pages[Path("index.html")]
    assert "reproduction.html" in {tag.get("href") for tag in home.select("article a")}
    text = pages[Path("reproduction.html")].article
    for claim in CLAIMS:
        sentence = next(tag for tag in text.find_all("p") if claim.words in " ".join(tag.get_text().split()))
        assert sentence.find_next("pre").get_text().startswith("snakemake --cores all --config run=")


def test_text_from_elsewhere_and_titles_take_the_place_of_files(pages: dict[Path, bs4.BeautifulSoup]) -> None:
    assert "merged over it" in pages[Path("configuration.html")].article.get_text()
    links = {tag["href"]: tag.get_text() for tag in pages[Path("workflow.html")].select("article a.reference")}
    assert links["configuration.html"] == "Configuration"
    for page in pages.values():
        assert not [tag for tag in page.select("article a") if tag.get_text().endswith(".md")]


def test_signatures_name_types_as_the_sources_do(pages: dict[Path, bs4.BeautifulSoup]) -> None:
    signature = pages[Path("api/theory.html")].find(id="relufit.theory.instance_spectrum").get_text()
    assert "w_star: ArrayLike" in signature
    assert "tuple[Array, Array, Array]" in signature
    for page in pages.values():
        assert not [tag for tag in page.select("dt.sig") if re.search("ForwardRef|_NestedSequence", tag.get_text())]


def test_formulas_of_docstrings_stand_as_they_are(pages: dict[Path, bs4.BeautifulSoup]) -> None:
    entry = pages[Path("api/theory.html")].find(id="relufit.theory.contraction").find_next_sibling("dd")
    assert "E||h+||^2 / ||h||^2 = 1 - step + step^2 A_q," in entry.pre.get_text()
    assert not pages[Path("api/theory.html")].select("article blockquote")
