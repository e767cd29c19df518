# Planted data on disk, and the trials of every setting.


rule dataset:
    # One planted data set, one shard a rank.
    input:
        code=sources("dataset"),
    output:
        directory(f"{RUN}/data/{{dataset}}.zarr"),
    log:
        f"{RUN}/logs/dataset/{{dataset}}.log",
    params:
        model=lambda wildcards: model_of(DATASETS[wildcards.dataset][0], SEED, DATASETS[wildcards.dataset][1]),
        shards=lambda wildcards: DATASETS[wildcards.dataset][0].spec["workers"],
        results=CONFIG["results"],
    conda:
        "../../envs/environment.yaml"
    shell:
        "relufit dataset {output:q} --rows {params.model.n} --dimension {params.model.d} "
        "--seed {params.model.seed} --inputs {params.model.inputs} --noise-std {params.model.noise_std} "
        "--shards {params.shards} --reuse {params.results:q} > {log:q} 2>&1"


rule train:
    # All trials of one setting; one that a clock is read in has the machine to itself.
    input:
        code=sources("trials"),
        config=ancient(rules.config.output),
        data=lambda wildcards: [
            f"{RUN}/data/{name}.zarr" for name in SETTINGS[wildcards.experiment, wildcards.setting].datasets
        ],
    output:
        results=f"{RUN}/traces/{{experiment}}/{{setting}}.parquet",
        timings=f"{RUN}/traces/{{experiment}}/{{setting}}.timing.parquet",
    log:
        f"{RUN}/logs/train/{{experiment}}/{{setting}}.log",
    params:
        setting=lambda wildcards: SETTINGS[wildcards.experiment, wildcards.setting].as_json(SEED),
        data=f"{RUN}/data",
        results=CONFIG["results"],
    threads: lambda wildcards: workflow.cores if CATALOGUE[wildcards.experiment].TIMED else 1
    conda:
        "../../envs/environment.yaml"
    shell:
        "relufit trials {wildcards.experiment} {wildcards.setting:q} --config {input.config:q} "
        "--data {params.data:q} --reuse {params.results:q} --output {output.results:q} > {log:q} 2>&1"
