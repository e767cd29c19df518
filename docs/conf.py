"""How Sphinx makes the documentation site of the Markdown pages here and of the docstrings: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from pygments.lexers.python import PythonLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import relufit

DOCS = Path(__file__).resolve().parent
#: Pages that have their text elsewhere.
ELSEWHERE = {"configuration": "config/README.md", "results": "results/README.md", "changes": "CHANGELOG.md"}
#: Names of code blocks that are no language: what commands print, and the bytes of an example.
OUTPUTS = ("verdicts", "sgd", "qsgd", "levels", "compare", "packed", "elias", "rans")

project = "relufit"
author = "The relufit developers"
version = release = relufit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
# `names` in docstrings are links where they are documented.
default_role = "py:obj"
# Headings have the anchors that code hosts give them.
myst_heading_anchors = 4

add_module_names = False
# Signatures name these types as the sources do.
autodoc_type_aliases = {name: name for name in ("Array", "ArrayLike", "Length", "Pieces")}
autosummary_generate = False
napoleon_google_docstring = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "relufit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False


def _on_the_site(folder: Path, link: re.Match[str]) -> str:
    """Return a link of a file in `folder` as the site has it: to a page of the site, or no link.

    Where the text of a link is the name of a file, the site has the title of the page or of the section.
    """
    label, target, anchor = link.groups()
    path = (folder / target).resolve()
    pages = [f"{page}.md" for page, file in ELSEWHERE.items() if path == DOCS.parent / file]
    pages += [str(path.relative_to(DOCS))] if path.is_relative_to(DOCS) else []
    if not pages:
        return label
    return f"[{'' if label.endswith('.md') else label}]({pages[0]}{anchor or ''})"


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Take the text of a page from where it is, and lead its links to other pages."""
    file = DOCS.parent / ELSEWHERE[page] if page in ELSEWHERE else DOCS / f"{page}.md"
    if not file.exists():
        return
    if page in ELSEWHERE:
        source[0] = file.read_text(encoding="utf-8")
        app.env.note_dependency(file)
    relative = r"\[([^\]\n]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)"
    source[0] = re.sub(relative, lambda link: _on_the_site(file.parent, link), source[0])


def show_formulas(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Make indented formulas of docstrings literal: stars and bars in them are markup in reStructuredText."""
    shown: list[str] = []
    in_sections, before = False, ""  # the last line that is not empty
    for line in lines:
        in_sections = in_sections or re.fullmatch("-{3,}", line) is not None
        first = line.startswith("    ") and shown and not shown[-1] and not before.startswith(" ")
        if first and not in_sections and not before.endswith("::"):
            shown += ["::", ""]  # in a line of its own, it is not shown
        # Summaries in tables end where three dots are taken for the end of a sentence.
        shown.append(line.replace(" ... ", " … "))
        before = line or before
    lines[:] = shown


def name_types(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave of the types of `autodoc_type_aliases` their names where they are part of other types."""
    named = (text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned))
    return next(named), next(named)


def setup(app: Sphinx) -> None:
    """Register what is above, and the languages of code blocks that Pygments does not know."""
    app.connect("source-read", read_page)
    # Before napoleon, which rewrites the sections.
    app.connect("autodoc-process-docstring", show_formulas, priority=400)
    app.connect("autodoc-process-signature", name_types)
    app.add_lexer("snakemake", PythonLexer)
    for name in OUTPUTS:
        app.add_lexer(name, TextLexer)
