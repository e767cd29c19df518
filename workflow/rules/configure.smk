# The configuration as a file, where this is a module: a run that stands alone writes it when it begins.
if not STANDALONE:

    # The merged and checked configuration.
    rule configuration:
        output:
            f"{RUN}/config.yaml",
        log:
            f"{RUN}/logs/configuration.log",
        conda:
            "../../envs/environment.yaml"
        params:
            content=json.dumps(CONFIG),
        shell:
            "relufit config --json {params.content:q} --output {output:q} > {log:q} 2>&1"
