# The workflow: data -> training -> verdicts -> figures -> manifest -> report, for one configuration.
# `snakemake --cores all` runs all of it and writes results/{run}/.
from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/terminal.smk"
include: "workflow/rules/readable.smk"


# Beside this file, whatever the working folder is: results and Snakemake's own files go to that one.
configfile: workflow.source_path("config.yaml")


include: "workflow/rules/common.smk"


rule all:
    input:
        f"{RUN}/manifest.json",
        f"{RUN}/report.html",
        PAGES,
        f"{RUN}/claims.json",


include: "workflow/rules/train.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/present.smk"
