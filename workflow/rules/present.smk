# Figures, report, manifest, crate.


for _name in dict.fromkeys(FIGURES[figure].experiment for figure in DRAWN):

    # The figures of one experiment, for print and for screens.
    rule:
        name:
            f"figures_{_name}"
        input:
            tables=[f"{RUN}/tables/{table}.csv" for table in tables_of(_name)],
        output:
            svg=[
                report(
                    f"{RUN}/figures/{figure}.svg",
                    caption=f"../report/{figure}.rst",
                    category=CATALOGUE[_name].TITLE,
                    labels={"figure": FIGURES[figure].title},
                )
                for figure in figures_of(_name)
            ],
            png=[f"{RUN}/figures/{figure}.png" for figure in figures_of(_name)],
        log:
            f"{RUN}/logs/figures/{_name}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            code=code_digest("figures", *map(module_of, figures_of(_name))),
            figures=figures_of(_name),
            tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
            figures_folder=lambda wildcards, output: os.path.dirname(output.svg[0]),
        shell:
            "relufit figure {params.figures:q} --tables {params.tables:q} --output {params.figures_folder:q} "
            "> {log:q} 2>&1"


rule presented:
    # Everything that `snakemake presented --report` shows.
    input:
        f"{RUN}/claims.md",
        expand(f"{RUN}/figures/{{figure}}.svg", figure=DRAWN),


rule report:
    # One HTML file that works offline.
    input:
        claims=f"{RUN}/claims.json",
        manifest=f"{RUN}/manifest.json",
        timings=[
            path
            for name in CONFIG["experiments"]
            for path in in_run(FILES.timings(name))
        ],
        tables=[
            path
            for name in CONFIG["experiments"]
            for path in in_run(FILES.tables(name))
        ],
        figures=expand(f"{RUN}/figures/{{figure}}.svg", figure=DRAWN),
        captions=[beside(f"../report/{figure}.rst") for figure in DRAWN],
        seed_study=beside("../report/seed_study.csv"),
        config=CONFIGURED,
    output:
        f"{RUN}/report.html",
    log:
        f"{RUN}/logs/report.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=code_digest("report"),
        run=lambda wildcards, input: os.path.dirname(input.claims),
        captions=lambda wildcards, input: os.path.dirname(input.captions[0]),
        content=json.dumps(CONFIG),
    shell:
        "relufit report {params.run:q} --captions {params.captions:q} --seed-study {input.seed_study:q} "
        "--output {output:q} > {log:q} 2>&1"


rule page:
    # Where compression pays, in Markdown.
    input:
        tables=expand(
            f"{RUN}/tables/link_speed.timing-{{table}}.csv", table=["map", "gains"]
        ),
        config=CONFIGURED,
    output:
        f"{RUN}/does-compression-pay.md",
    log:
        f"{RUN}/logs/page.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=code_digest("report", "report.compression_page"),
        run=lambda wildcards, output: os.path.dirname(output[0]),
        content=json.dumps(CONFIG),
    shell:
        "relufit page {params.run:q} --output {output:q} > {log:q} 2>&1"


rule manifest:
    # The digests of all results that are the same on every run, and what made them.
    input:
        results=[
            path for path in in_run(FILES.results()) if path != f"{RUN}/config.yaml"
        ],
        config=CONFIGURED,
    output:
        f"{RUN}/manifest.json",
    log:
        f"{RUN}/logs/manifest.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=code_digest("manifest"),
        run=lambda wildcards, output: os.path.dirname(output[0]),
        content=json.dumps(CONFIG),
    shell:
        "relufit manifest {params.run:q} --output {output:q} > {log:q} 2>&1"


rule crate:
    # The run as an RO-Crate: its files, and what made them.
    input:
        claims=[f"{RUN}/claims.json", f"{RUN}/claims.md"],
        manifest=f"{RUN}/manifest.json",
        report=f"{RUN}/report.html",
        pages=PAGES,
        config=CONFIGURED,
    output:
        f"{RUN}/ro-crate-metadata.json",
    log:
        f"{RUN}/logs/crate.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=code_digest("crate"),
        run=lambda wildcards, input: os.path.dirname(input.manifest),
    shell:
        "relufit crate {params.run:q} --output {output:q} > {log:q} 2>&1"
