# The rules are written with relufit: where the Python that runs Snakemake has none, one line says what to do.
import os
import sys

from snakemake.exceptions import WorkflowError

RULES = workflow.current_basedir


def beside(name):
    """Return the path of a file relative to these rules; Snakemake keeps a copy of one that is not on this machine."""
    file = RULES.join(name)
    return (
        os.path.normpath(str(file))
        if file.is_local
        else workflow.sourcecache.get_path(file)
    )


try:
    import relufit
except ModuleNotFoundError:
    raise WorkflowError(
        f"relufit is not installed in the Python that runs Snakemake; run `{sys.executable} -m pip install "
        f"'{os.path.dirname(beside('../../pyproject.toml'))}[workflow]'`"
    ) from None
