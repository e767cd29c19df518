# The workflow: data -> training -> verdicts -> figures -> manifest -> report, for one configuration.
# `snakemake --cores all` runs all of it and writes results/{run}/.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"


rule all:
    input:
        f"{RUN}/manifest.json",
        f"{RUN}/report.html",
        f"{RUN}/claims.json",


include: "workflow/rules/train.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/present.smk"
