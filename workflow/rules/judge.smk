# Verdicts: experiment by experiment, then claim by claim.


for _name in CONFIG["experiments"]:

    # The verdicts and tables of one experiment.
    rule:
        name:
            f"claims_{_name}"
        input:
            code=sources("claims"),
            results=traces(_name, ".parquet"),
            timings=traces(_name, ".timing.parquet"),
        output:
            judgement=judgement(_name),
            tables=[
                f"{RUN}/tables/{_name}.{table}.csv"
                for table in CATALOGUE[_name].TABLES
            ],
        log:
            f"{RUN}/logs/claims/{_name}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            experiment=_name,
            config=CONFIG_FILE,
            section=json.dumps([SEED, CONFIG[_name], CONFIG["cluster"]]),
            traces=lambda wildcards, input: os.path.dirname(input.results[0]),
            tables=lambda wildcards, output: os.path.dirname(output.tables[0]),
        shell:
            "relufit claims {params.experiment} --config {params.config:q} --traces {params.traces:q} "
            "--tables {params.tables:q} --output {output.judgement:q} > {log:q} 2>&1"


rule verdicts:
    # The claims of the paper, judged by all experiments.
    input:
        code=sources("claims"),
        judgements=[judgement(name) for name in CONFIG["experiments"]],
    output:
        json=f"{RUN}/claims.json",
        markdown=report(
            f"{RUN}/claims.md",
            caption="../report/claims.rst",
            category="Verdicts",
            labels={"file": "claims.md"},
        ),
    log:
        f"{RUN}/logs/verdicts.log",
    conda:
        "../../envs/environment.yaml"
    params:
        config=CONFIG_FILE,
        run=[CONFIG["run"], SEED, CONFIG["experiments"]],
    shell:
        "relufit verdicts {input.judgements:q} --config {params.config:q} --output {output.json:q} > {log:q} 2>&1"
