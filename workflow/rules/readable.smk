# What cannot be read in config.yaml is told with its place and a remedy, before Snakemake reads the file itself.
from snakemake.exceptions import WorkflowError

from relufit.errors import RelufitError
from relufit.pipeline.config_values import read_mapping

DEFAULTS = beside("../../config.yaml")
try:
    read_mapping(DEFAULTS)
except RelufitError as error:
    raise WorkflowError(str(error)) from None
