"""What a person sees while the workflow runs: a line a job, the time left, failures, and the verdicts at the end."""

from __future__ import annotations

from relufit.terminal.attach import attach, name_user
from relufit.terminal.eta import Job

__all__ = ["Job", "attach", "name_user"]
