# Planted data on disk, and the trials of every setting.


rule dataset:
    # One planted data set, one shard a rank.
    output:
        DATASET if REMOTE else directory(DATASET),
    log:
        f"{RUN}/logs/dataset/{{dataset}}.log",
    priority: lambda wildcards: first_of_all(DATASETS[wildcards.dataset][0].experiment)
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: threads_of(DATASETS[wildcards.dataset][0].experiment)
    params:
        code=code_digest("dataset"),
        model=lambda wildcards: dataset_options(*DATASETS[wildcards.dataset]),
        shards=lambda wildcards: DATASETS[wildcards.dataset][0].spec["workers"],
        place=lambda wildcards: f"{DATA}/{wildcards.dataset}.zarr",
        options=lambda wildcards, output: (
            f"--marker {shlex.quote(output[0])}" if REMOTE else "--reuse"
        ),
    shell:
        "relufit dataset {params.place:q} {params.model} --shards {params.shards} {params.options} > {log:q} 2>&1"


rule train:
    # All trials of a group of settings; one that a clock is read in has the machine to itself.
    input:
        data=lambda wildcards: [
            DATASET.format(dataset=name)
            for setting in GROUPS[wildcards.experiment, wildcards.group]
            for name in setting.datasets
        ],
    output:
        results=f"{RUN}/traces/{{experiment}}/{{group}}.parquet",
        timings=f"{RUN}/traces/{{experiment}}/{{group}}.timing.parquet",
    log:
        f"{RUN}/logs/train/{{experiment}}/{{group}}.log",
    priority: longest_first
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: threads_of(wildcards.experiment)
    resources:
        effort=lambda wildcards: ceil(
            expected_seconds(GROUPS[wildcards.experiment, wildcards.group])
        ),
    params:
        code=lambda wildcards: code_of(GROUPS[wildcards.experiment, wildcards.group]),
        settings=lambda wildcards: as_json(
            GROUPS[wildcards.experiment, wildcards.group], SEED
        ),
        machine=lambda wildcards: machine_for(wildcards.experiment, wildcards.group),
        config=CONFIG_PARAMETER,
        traces=subpath(output.results, parent=True),
        data=DATA,
    shell:
        "relufit trials {wildcards.experiment} {wildcards.group:q} --config {params.config:q} "
        "--data {params.data:q} --reuse --output {params.traces:q} > {log:q} 2>&1"
