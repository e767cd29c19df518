# What all rules share: the checked configuration, the settings it asks for, and the files of a run.
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from relufit.config import check
from relufit.errors import RelufitError
from relufit.experiments import CATALOGUE
from relufit.experiments.trials import model_of
from relufit.figures import FIGURES
from relufit.reuse import sources


report: "../report/workflow.rst"


try:
    CONFIG = check(config)
    SETTINGS = {
        (setting.experiment, setting.name): setting
        for name in CONFIG["experiments"]
        for setting in CATALOGUE[name].settings(CONFIG)
    }
except RelufitError as error:
    raise WorkflowError(str(error)) from None

SEED = CONFIG["seed"]
RUN = f"{CONFIG['results']}/{CONFIG['run']}"
DATASETS = {
    name: (setting, trial)
    for setting in SETTINGS.values()
    for trial, name in enumerate(setting.datasets)
}
DRAWN = [
    name
    for name, figure in FIGURES.items()
    if figure.experiment in CONFIG["experiments"]
]


def traces(experiment, ending):
    """Return the traces or the timings of all settings of an experiment."""
    return [
        f"{RUN}/traces/{name}/{setting}{ending}"
        for name, setting in SETTINGS
        if name == experiment
    ]


# The commands of the environment that Snakemake runs in, activated or not; and, for the manifest, the command that
# it was called with, which as a parameter would make a run out of date whenever it changes.
shell.prefix(
    f"PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "
    f"export RELUFIT_COMMAND={shlex.quote(shlex.join(['snakemake', *sys.argv[1:]]))}; "
)


wildcard_constraints:
    setting="[^/]+?",
    experiment="|".join(CATALOGUE),
    dataset="[^/]+",


localrules:
    all,
