"""The report of a run: one HTML file that needs nothing else, made from the run's folder alone.

The same files give the same bytes; no date is added. `content` reads the folder, `captions` and `provenance` parts
of it, and `page` puts all of it through the template ``report.html.j2``.
"""

from relufit.report.content import Run, read
from relufit.report.page import render

__all__ = ["Run", "read", "render"]
