# Verdicts: experiment by experiment, then claim by claim.


for _name in CONFIG["experiments"]:

    # The verdicts and tables of one experiment.
    rule:
        name:
            f"claims_{_name}"
        input:
            code=sources("claims"),
            config=ancient(rules.config.output),
            results=traces(_name, ".parquet"),
            timings=traces(_name, ".timing.parquet"),
        output:
            f"{RUN}/claims/{_name}.json",
            [f"{RUN}/tables/{_name}.{table}.csv" for table in CATALOGUE[_name].TABLES],
        log:
            f"{RUN}/logs/claims/{_name}.log",
        params:
            experiment=_name,
            section=json.dumps([SEED, CONFIG[_name], CONFIG["cluster"]]),
            traces=f"{RUN}/traces/{_name}",
            tables=f"{RUN}/tables",
        conda:
            "../../envs/environment.yaml"
        shell:
            "relufit claims {params.experiment} --config {input.config:q} --traces {params.traces:q} "
            "--tables {params.tables:q} --output {output[0]:q} > {log:q} 2>&1"


rule verdicts:
    # The claims of the paper, judged by all experiments.
    input:
        code=sources("claims"),
        config=ancient(rules.config.output),
        judgements=expand(f"{RUN}/claims/{{experiment}}.json", experiment=CONFIG["experiments"]),
    output:
        json=f"{RUN}/claims.json",
        markdown=report(
            f"{RUN}/claims.md", caption="../report/claims.rst", category="Verdicts", labels={"file": "claims.md"}
        ),
    log:
        f"{RUN}/logs/verdicts.log",
    params:
        experiments=CONFIG["experiments"],
    conda:
        "../../envs/environment.yaml"
    shell:
        "relufit verdicts {input.judgements:q} --config {input.config:q} --output {output.json:q} > {log:q} 2>&1"
