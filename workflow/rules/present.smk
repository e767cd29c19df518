# Figures, report, manifest.


for _name in DRAWN:

    # One figure, for print and for screens.
    rule:
        name:
            f"figure_{_name}"
        input:
            code=sources("figures"),
            tables=[f"{RUN}/tables/{table}.csv" for table in FIGURES[_name].tables],
        output:
            svg=report(
                f"{RUN}/figures/{_name}.svg",
                caption=f"../report/{_name}.rst",
                category=CATALOGUE[FIGURES[_name].experiment].TITLE,
                labels={"figure": FIGURES[_name].title},
            ),
            png=f"{RUN}/figures/{_name}.png",
        log:
            f"{RUN}/logs/figure/{_name}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            figure=_name,
            tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
            figures=lambda wildcards, output: os.path.dirname(output.svg),
        shell:
            "relufit figure {params.figure} --tables {params.tables:q} --output {params.figures:q} > {log:q} 2>&1"


rule presented:
    # Everything that the report shows.
    input:
        f"{RUN}/claims.md",
        expand(f"{RUN}/figures/{{figure}}.svg", figure=DRAWN),


rule report:
    # One HTML file that works offline.
    input:
        rules.presented.input,
        captions=sorted(
            str(path)
            for path in Path(workflow.basedir, "workflow", "report").glob("*.rst")
        ),
    output:
        f"{RUN}/report.html",
    log:
        f"{RUN}/logs/report.log",
    conda:
        "../../envs/environment.yaml"
    params:
        config=CONFIG_FILE,
        content=json.dumps(CONFIG),
    shell:
        "relufit report {params.config:q} --output {output:q} > {log:q} 2>&1"


rule manifest:
    # The digests of all results that are the same on every run, and what made them.
    input:
        rules.presented.input,
        code=sources("manifest"),
        claims=f"{RUN}/claims.json",
        traces=[
            path for name in CONFIG["experiments"] for path in traces(name, ".parquet")
        ],
    output:
        f"{RUN}/manifest.json",
    log:
        f"{RUN}/logs/manifest.log",
    conda:
        "../../envs/environment.yaml"
    params:
        run=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "relufit manifest {params.run:q} --output {output:q} > {log:q} 2>&1"
