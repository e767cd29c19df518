# What all rules share: the checked configuration, the settings it asks for, and the files of a run.
import hashlib
import json
import os
import shlex
import sys
from math import ceil
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from relufit.experiments.configuration import check
from relufit.pipeline.config import read
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

if STANDALONE:

    report: "../report/workflow.rst"


try:
    if STANDALONE:
        # Snakemake has merged the files, and says nothing of keys that stand twice in one.
        for path in workflow.configfiles:
            read_mapping(path)
    else:
        # A workflow that uses this one says what is different; captions read all of it.
        given, config = config, read([DEFAULTS])
        update_config(config, given)
    CONFIG = check(config)
    RUN = f"{os.path.expanduser(CONFIG['results'])}/{CONFIG['run']}"
    # Snakemake puts the prefix of a module before inputs, outputs and logs, and before nothing else.
    PLACE = str(workflow.modifier.path_modifier.replace_prefix(RUN))
    check_writable(PLACE)
    FILES = RunFiles(CONFIG)
except RelufitError as error:
    raise WorkflowError(str(error)) from None

SEED = CONFIG["seed"]
# Data sets in a bucket each leave a file here that says where they are.
REMOTE = CONFIG.get("data")
DATA = inside(REMOTE, CONFIG["run"]) if REMOTE else f"{PLACE}/data"
DATASET = f"{RUN}/data/{{dataset}}.{'s3' if REMOTE else 'zarr'}"
# The merged and checked configuration as every command reads it. It is no input of any rule: a rule has what it
# depends on among its parameters, and the rest may change without making its output out of date.
CONFIG_FILE = f"{PLACE}/config.yaml"
CONFIGURED = []
CONFIG_PARAMETER = CONFIG_FILE
if not STANDALONE:
    # It is written when a run begins, of which nobody tells a module. Here commands read a file that is named after
    # its content, and the one in the folder of the run is the output of a rule, for those that follow from all of it.
    _content = yaml.safe_dump(CONFIG, sort_keys=False)
    _digest = hashlib.sha256(_content.encode()).hexdigest()
    CONFIG_FILE = f".snakemake/relufit/{_digest}.yaml"
    CONFIGURED = f"{RUN}/config.yaml"
    if not os.path.exists(CONFIG_FILE):
        write_text(CONFIG_FILE, _content)

    def CONFIG_PARAMETER(wildcards, output):
        """Return the configuration: what takes outputs is not compared with the parameters of the last run."""
        return CONFIG_FILE


# The code that an output depends on is one parameter of its rule, a digest (`relufit.sources`): as inputs the source
# files would trigger the same reruns, and fill the terminal with their names.


if STANDALONE:
    # What this machine cannot do for this run, what follows, and what helps: a sentence each, told before and after it.
    TERMINAL.describe(RUN, refusals(CONFIG))

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
PAGES = [f"{RUN}/{page}" for page in FILES.pages()]


def in_run(paths):
    """Return where files of the run are."""
    return [f"{RUN}/{path}" for path in paths]


def machine_for(experiment, group):
    """Return what this machine lacks for a group: when it can do what it refused before, the group runs again."""
    path = f"{PLACE}/traces/{experiment}/{group}.parquet"
    return capability(GROUPS[experiment, group], SEED, path)


def threads_of(experiment):
    """Return how many processors a job has: all of them where a clock is read, or for the data that this is done on."""
    return workflow.cores if CATALOGUE[experiment].TIMED else 1


def first_of_all(experiment):
    """Return the priority of a job that needs all processors, above that of the jobs that could fill them, else 0.

    All are free at the beginning alone: later a job begins as soon as another has ended, and such a job would come last.
    """
    return 1 + (workflow.cores or 1) if CATALOGUE[experiment].TIMED else 0


def longest_first(wildcards):
    """Return the priority of trials, from 0 to 1 with others: a long job that began last would run alone at the end."""
    seconds = expected_seconds(GROUPS[wildcards.experiment, wildcards.group])
    return first_of_all(wildcards.experiment) + seconds / (1 + seconds)


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
_bin = os.path.dirname(sys.executable)
_command = shlex.join(["snakemake", *sys.argv[1:]])
_conda = any(
    method.name == "CONDA" for method in workflow.deployment_settings.deployment_method
)
if STANDALONE and not _conda:
    _path = f"{shlex.quote(_bin)}:$PATH"
    shell.prefix(
        f"export PATH={_path} RELUFIT_COMMAND={shlex.quote(_command)}; ".replace(
            "{", "{{"
        ).replace("}", "}}")
    )
else:
    # The commands of rules of others, and those of environments that conda makes, come before these.
    os.environ.setdefault("RELUFIT_COMMAND", _command)
    # For envs/environment.post-deploy.sh, of which Snakemake runs a copy.
    os.environ.update(RELUFIT_CHECKOUT=os.path.dirname(beside("../../pyproject.toml")))
    _path = os.environ.get("PATH", os.defpath)
    if _bin not in _path.split(":"):
        os.environ.update(PATH=f"{_path}:{_bin}")


wildcard_constraints:
    group="[^/]+?",
    experiment="|".join(CATALOGUE),
    dataset="[^/]+",
