# What all rules share: the checked configuration, the settings it asks for, and the files of a run.
import json
import os
import shlex
import sys
from math import ceil
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from relufit.experiments.configuration import check
from relufit.pipeline.config_values import read_mapping
from relufit.doctor import capability, refusals
from relufit.errors import RelufitError
from relufit.experiments import CATALOGUE
from relufit.experiments.framework.base import as_json
from relufit.experiments.framework.cost_estimate import expected_seconds
from relufit.experiments.framework.procedures import model_of
from relufit.experiments.framework.run_files import RunFiles
from relufit.experiments.framework.trials import code_of
from relufit.figures import FIGURES, module_of
from relufit.files.atomic import write_text
from relufit.files.outputs import check_writable
from relufit.planted.stores import inside
from relufit.sources import code_digest
from relufit.terminal import Job


report: "../report/workflow.rst"


try:
    # Snakemake has merged the files, and says nothing of keys that stand twice in one.
    for path in workflow.configfiles:
        read_mapping(path)
    CONFIG = check(config)
    RUN = f"{os.path.expanduser(CONFIG['results'])}/{CONFIG['run']}"
    check_writable(RUN)
    FILES = RunFiles(CONFIG)
except RelufitError as error:
    raise WorkflowError(str(error)) from None

SEED = CONFIG["seed"]
# Data sets in a bucket each leave a file here that says where they are.
REMOTE = CONFIG.get("data")
DATA = inside(REMOTE, CONFIG["run"]) if REMOTE else f"{RUN}/data"
DATASET = f"{RUN}/data/{{dataset}}.{'s3' if REMOTE else 'zarr'}"
# The merged and checked configuration as every command reads it. It is no input of any rule: a rule has what it
# depends on among its parameters, and the rest may change without making its output out of date.
CONFIG_FILE = f"{RUN}/config.yaml"
# The code that an output depends on is one parameter of its rule, a digest (`relufit.sources`): as inputs the source
# files would trigger the same reruns, and fill the terminal with their names.


# What this machine cannot do for this run, what follows, and what helps: a sentence each, told before and after it.
NOTES = refusals(CONFIG)
TERMINAL.describe(RUN, NOTES)


onstart:
    write_text(CONFIG_FILE, yaml.safe_dump(CONFIG, sort_keys=False))
    # Long jobs first say what they cost; the others take about as long as Python takes to start.
    TERMINAL.begin(
        Job(
            Path(job.output[-1]),
            Path(job.log[0]) if job.log else None,
            job.resources.get("effort", 2),
        )
        for job in workflow.dag.needrun_jobs()
        if job.output
    )


onsuccess:
    TERMINAL.end()


# The settings of a group share a job and the files of its traces.
GROUPS, DATASETS, DRAWN = FILES.groups, FILES.datasets, FILES.figures
# What is written beside the report, if the run has what it takes.
PAGES = (
    [f"{RUN}/does-compression-pay.md"] if "link_speed" in CONFIG["experiments"] else []
)


def in_run(paths):
    """Return where files of the run are."""
    return [f"{RUN}/{path}" for path in paths]


def machine_for(experiment, group):
    """Return what this machine lacks for a group: when it can do what it refused before, the group runs again."""
    path = f"{RUN}/traces/{experiment}/{group}.parquet"
    return capability(GROUPS[experiment, group], SEED, path)


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
