# Verdicts: experiment by experiment, then claim by claim.


for _name in CONFIG["experiments"]:

    # The verdicts and tables of one experiment.
    rule:
        name:
            f"judge_{_name}"
        input:
            results=in_run(FILES.traces(_name)),
            timings=in_run(FILES.timings(_name)),
        output:
            judgement=f"{RUN}/{FILES.judgement(_name)}",
            tables=in_run(FILES.tables(_name)),
        log:
            f"{RUN}/logs/judge/{_name}.log",
        # Verdicts are written as soon as there is what they need, before anything is trained that is still to come.
        priority: 1
        conda:
            "../../envs/environment.yaml"
        params:
            code=code_digest("judge", f"experiments.{_name}"),
            experiment=_name,
            config=CONFIG_PARAMETER,
            section=json.dumps([SEED, CONFIG[_name], CONFIG["cluster"]]),
            traces=lambda wildcards, input: os.path.dirname(input.results[0]),
            tables=lambda wildcards, output: os.path.dirname(output.tables[0]),
        shell:
            "relufit judge {params.experiment} --config {params.config:q} --traces {params.traces:q} "
            "--tables {params.tables:q} --output {output.judgement:q} > {log:q} 2>&1"


rule claims:
    # The claims of the paper, judged by all experiments.
    input:
        judgements=in_run(FILES.judgement(name) for name in CONFIG["experiments"]),
    output:
        json=f"{RUN}/claims.json",
        markdown=report(
            f"{RUN}/claims.md",
            caption="../report/claims.rst",
            category="Verdicts",
            labels={"file": "claims.md"},
        ),
    log:
        f"{RUN}/logs/claims.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=code_digest("claims"),
        config=CONFIG_PARAMETER,
        run=[CONFIG["run"], SEED, CONFIG["experiments"]],
    shell:
        "relufit claims {input.judgements:q} --config {params.config:q} --output {output.json:q} > {log:q} 2>&1"
