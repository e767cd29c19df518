# The configuration, planted data on disk, and the trials of every setting.


rule config:
    # The merged and checked configuration, as every later command reads it.
    output:
        f"{RUN}/config.yaml",
    log:
        f"{RUN}/logs/config.log",
    conda:
        "../../envs/environment.yaml"
    params:
        config=json.dumps(CONFIG),
    shell:
        "relufit config --json {params.config:q} --output {output:q} > {log:q} 2>&1"


rule dataset:
    # One planted data set, one shard a rank.
    input:
        code=sources("dataset"),
    output:
        directory(f"{RUN}/data/{{dataset}}.zarr"),
    log:
        f"{RUN}/logs/dataset/{{dataset}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        model=lambda wildcards: model_of(
            DATASETS[wildcards.dataset][0], SEED, DATASETS[wildcards.dataset][1]
        ),
        shards=lambda wildcards: DATASETS[wildcards.dataset][0].spec["workers"],
    shell:
        "relufit dataset {output:q} --rows {params.model.n} --dimension {params.model.d} "
        "--seed {params.model.seed} --inputs {params.model.inputs} --noise-std {params.model.noise_std} "
        "--shards {params.shards} --reuse > {log:q} 2>&1"


rule train:
    # All trials of one setting; one that a clock is read in has the machine to itself.
    input:
        code=sources("trials"),
        config=ancient(rules.config.output),
        data=lambda wildcards: [
            f"{RUN}/data/{name}.zarr"
            for name in SETTINGS[wildcards.experiment, wildcards.setting].datasets
        ],
    output:
        results=f"{RUN}/traces/{{experiment}}/{{setting}}.parquet",
        timings=f"{RUN}/traces/{{experiment}}/{{setting}}.timing.parquet",
    log:
        f"{RUN}/logs/train/{{experiment}}/{{setting}}.log",
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: workflow.cores if CATALOGUE[wildcards.experiment].TIMED else 1
    params:
        setting=lambda wildcards: SETTINGS[
            wildcards.experiment, wildcards.setting
        ].as_json(SEED),
        data=lambda wildcards, input: os.path.join(
            os.path.dirname(input.config[0]), "data"
        ),
    shell:
        "relufit trials {wildcards.experiment} {wildcards.setting:q} --config {input.config:q} "
        "--data {params.data:q} --reuse --output {output.results:q} > {log:q} 2>&1"
