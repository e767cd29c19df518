"""Tests of compressors."""

from __future__ import annotations

#: A package of its own, with a test of its own, which `test_entry_points` installs and runs.
collect_ignore = ["example_package"]
