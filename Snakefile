# `snakemake --cores all` runs the workflow of workflow/Snakefile and writes results/{run}/.
# An include would leave the default target, the rule `all`, to this file.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
