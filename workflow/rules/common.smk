# What all rules share: the checked configuration, the settings it asks for, and the files of a run.
import json
import os
import shlex
import sys
from math import ceil
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from relufit.config import check
from relufit.errors import RelufitError
from relufit.experiments import CATALOGUE
from relufit.experiments.base import as_json
from relufit.experiments.effort import expected_seconds
from relufit.experiments.procedures import model_of
from relufit.figures import FIGURES
from relufit.files import check_writable, write_text
from relufit.remaining import Job, watch
from relufit.reuse import sources
from relufit.stores import inside


report: "../report/workflow.rst"


try:
    CONFIG = check(config)
    check_writable(f"{CONFIG['results']}/{CONFIG['run']}")
    SETTINGS = [
        setting
        for name in CONFIG["experiments"]
        for setting in CATALOGUE[name].settings(CONFIG)
    ]
except RelufitError as error:
    raise WorkflowError(str(error)) from None

SEED = CONFIG["seed"]
RUN = f"{CONFIG['results']}/{CONFIG['run']}"
# Data sets in a bucket each leave a file here that says where they are.
REMOTE = CONFIG.get("data")
DATA = inside(REMOTE, CONFIG["run"]) if REMOTE else f"{RUN}/data"
DATASET = f"{RUN}/data/{{dataset}}.{'s3' if REMOTE else 'zarr'}"
# The merged and checked configuration as every command reads it. It is no input of any rule: a rule has what it
# depends on among its parameters, and the rest may change without making its output out of date.
CONFIG_FILE = f"{RUN}/config.yaml"


onstart:
    write_text(CONFIG_FILE, yaml.safe_dump(CONFIG, sort_keys=False))
    # Long jobs first say what they cost; the others take about as long as Python takes to start.
    watch(
        Job(
            Path(job.output[-1]),
            Path(job.log[0]) if job.log else None,
            job.resources.get("effort", 2),
        )
        for job in workflow.dag.needrun_jobs()
        if job.output
    )


# The settings of a group share a job and the files of its traces.
GROUPS = {}
for _setting in SETTINGS:
    GROUPS.setdefault((_setting.experiment, _setting.group), []).append(_setting)
DATASETS = {
    name: (setting, trial)
    for setting in SETTINGS
    for trial, name in enumerate(setting.datasets)
}
# A figure is drawn if all experiments run whose tables it needs.
DRAWN = [
    name
    for name, figure in FIGURES.items()
    if {table.split(".")[0] for table in figure.tables} <= set(CONFIG["experiments"])
]


def traces(experiment, ending):
    """Return the traces or the timings of all settings of an experiment."""
    return [
        f"{RUN}/traces/{name}/{group}{ending}"
        for name, group in GROUPS
        if name == experiment
    ]


def dataset_options(setting, trial):
    """Return the options of `relufit dataset` for the data of one trial."""
    model = model_of(setting, SEED, trial)
    return (
        f"--rows {model.n} --dimension {model.d} --seed {model.seed} "
        f"--inputs {model.inputs} --noise-std {model.noise_std}"
    )


def figures_of(experiment):
    """Return the names of the figures that belong to an experiment."""
    return [name for name in DRAWN if FIGURES[name].experiment == experiment]


def tables_of(experiment):
    """Return the names of the tables that the figures of an experiment are drawn from."""
    names = [table for name in figures_of(experiment) for table in FIGURES[name].tables]
    return list(dict.fromkeys(names))


def judgement(experiment):
    """Return where the verdicts of an experiment go; the name tells whether a clock was read for them."""
    return f"{RUN}/claims/{experiment}{'.timing' if CATALOGUE[experiment].TIMED else ''}.json"


# The commands of the environment that Snakemake runs in, activated or not; and, for the manifest, the command that
# it was called with, which as a parameter would make a run out of date whenever it changes.
_path = f"{shlex.quote(os.path.dirname(sys.executable))}:$PATH"
_command = shlex.quote(shlex.join(["snakemake", *sys.argv[1:]]))
shell.prefix(
    f"export PATH={_path} RELUFIT_COMMAND={_command}; ".replace("{", "{{").replace(
        "}", "}}"
    )
)


wildcard_constraints:
    group="[^/]+?",
    experiment="|".join(CATALOGUE),
    dataset="[^/]+",


localrules:
    all,
