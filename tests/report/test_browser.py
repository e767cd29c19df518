"""The report in a browser that has no network: every figure is drawn, nothing overflows, nothing is refused."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from small_run import FIGURES_HERE, FILL, make_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium, chromium-browser or google-chrome")
DESKTOP, PHONE = 1280, 390
#: Put at the top of a copy of the report: it tells the page around it what the browser made of the report.
PROBE = """<script>
const faults = [];
addEventListener("error", e => faults.push(e.message || `not loaded: ${e.target.localName}`), true);
addEventListener("securitypolicyviolation", e => faults.push(`${e.violatedDirective}: ${e.blockedURI}`));
console.error = (...what) => faults.push(what.join(" "));
addEventListener("load", () => parent.postMessage({
  faults,
  drawn: [...document.images].filter(image => image.complete && image.naturalWidth > 0).length,
  images: document.images.length,
  fetched: performance.getEntriesByType("resource").map(its => its.name).filter(name => !name.startsWith("data:")),
  width: document.documentElement.clientWidth,
  needed: document.documentElement.scrollWidth,
  hidden: [...document.querySelectorAll("h1, h2, h3, h4")].filter(its => !its.offsetHeight).length,
  marks: [...document.querySelectorAll(".mark")].filter(its => !its.getBoundingClientRect().width).length,
}, "*"));
</script>"""
AROUND = """<!DOCTYPE html><title>around</title><style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<pre id="told"></pre><script>
addEventListener("message", e => document.getElementById("told").textContent = JSON.stringify(e.data));
</script><iframe src="{page}" width="{width}" height="{height}"></iframe>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    text = make_run(folder / "run").render()
    (folder / "report.html").write_text(text)
    probed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    (folder / "probed.html").write_text(probed.replace("<head>", f"<head>{PROBE}"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Open a page without a network and without a sandbox, which root does not get."""
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]

    def open_page(path: Path, *arguments: str) -> str:
        command = [str(BROWSER), *options, *quiet, *offline, "--virtual-time-budget=10000", *arguments, path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return open_page


def _framed(report: Path, page: str, width: int, height: int) -> Path:
    """Return a page that shows another at a width that windows cannot have."""
    path = report.with_name(f"{page.partition('.')[0]}-{width}.html")
    path.write_text(AROUND.format(page=page, width=width, height=height))
    return path


def _told(browse: Callable[..., str], page: Path) -> dict[str, Any]:
    match = re.search(r'<pre id="told">(.*?)</pre>', browse(page, "--dump-dom", f"--window-size={DESKTOP},900"), re.S)
    assert match
    return json.loads(html.unescape(match[1]))


@pytest.mark.parametrize("width", [DESKTOP, 760, PHONE])
def test_every_figure_is_drawn_nothing_is_refused_and_nothing_overflows(
    report: Path, browse: Callable[..., str], width: int
) -> None:
    findings = _told(browse, _framed(report, "probed.html", width, 900))
    assert findings["faults"] == []
    assert findings["fetched"] == []
    assert findings["images"] == findings["drawn"] == len(FIGURES_HERE)
    assert findings["width"] == width
    assert findings["needed"] <= width
    assert findings["hidden"] == findings["marks"] == 0


def test_a_page_that_is_at_fault_does_not_pass(report: Path, browse: Callable[..., str]) -> None:
    # The probe itself has to be able to find what it looks for.
    text = report.with_name("probed.html").read_text()
    bad = '<img src="https://example.org/x.png" alt=""><img src="data:image/svg+xml;base64,AAAA" alt="">'
    worse = f'{bad}<div style="width: 3000px">wide</div><script>unknown.name</script></body>'
    report.with_name("faulty.html").write_text(text.replace("</body>", worse))
    findings = _told(browse, _framed(report, "faulty.html", PHONE, 900))
    assert findings["images"] - findings["drawn"] == 2
    assert findings["needed"] > PHONE
    faults = " ".join(findings["faults"])
    assert "img-src" in faults
    assert "not loaded: img" in faults
    assert "unknown is not defined" in faults


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_drawn_with_its_figures(
    report: Path, browse: Callable[..., str], tmp_path: Path, width: int, dark: bool
) -> None:
    # Scrolled to its first figure.
    target, picture = f"#figure-{FIGURES_HERE[0]}", tmp_path / "picture.png"
    page = _framed(report, f"report.html{target}", width, 900)
    window = [f"--window-size={DESKTOP},900", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    browse(page, f"--screenshot={picture}", *window)
    drawn = np.round(imread(picture)[:, :width, :3] * 255).astype(int)
    assert drawn.shape == (900, width, 3)
    ground = drawn[450, 3]
    assert (ground.mean() < 64) == dark
    inked = np.abs(drawn - ground).max(axis=2) > 48
    assert 0.05 < inked.mean() < 0.8
    # A figure is filled with a colour of its own; it is 691 by 288 pixels, or what is seen of that.
    filled = (np.abs(drawn - FILL).max(axis=2) <= 2).sum()
    assert filled > 0.9 * min(691, width - 40) * 280
