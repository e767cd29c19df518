"""Captions of figures: reStructuredText with Jinja's variables, as Snakemake's own report has them, to HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from docutils.core import publish_parts
from docutils.utils import SystemMessage

from relufit.errors import DataError

#: Warnings of docutils end the rendering, and a caption reaches no other file and adds no HTML of its own.
_SETTINGS: dict[str, Any] = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "halt_level": 2,
    "math_output": "MathML",
    "raw_enabled": False,
    "report_level": 2,
    "smart_quotes": False,
    "warning_stream": False,
}
_REMEDY = "mend the caption: reStructuredText, in which {{ snakemake.config[...] }} is a value of the configuration"


def render(path: Path, config: Mapping[str, Any], prefix: str) -> str:
    """Return the HTML of a caption.

    Parameters
    ----------
    path : Path
        The caption's file, such as workflow/report/qsgd_convergence.rst.
    config : mapping
        What ``snakemake.config`` stands for in it.
    prefix : str
        What the ids of its elements begin with.

    Raises
    ------
    DataError
        If there is no such file, or it is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
        filled = environment.from_string(text).render(snakemake=SimpleNamespace(config=config))
        parts = publish_parts(filled, writer="html5", settings_overrides={**_SETTINGS, "id_prefix": prefix})
    except FileNotFoundError as error:
        raise DataError(
            "there is no caption", where=str(path), remedy="write it, or give the folder that has it by --captions"
        ) from error
    except (jinja2.TemplateError, SystemMessage, UnicodeDecodeError) as error:
        raise DataError(f"no valid caption ({error})".replace("\n", " "), where=str(path), remedy=_REMEDY) from error
    return str(parts["body"]).strip()
