"""Models in GGUF files: dequantised once, into checkpoints."""


rule convert_gguf:
    input:
        file=lambda w: origins.gguf_file(w.model),
    output:
        checkpoint=paths("checkpoint", file=CHECKPOINT_FILES),
        record=path("checkpoint", file="conversion.json"),
    log:
        job("convert_gguf").log,
    benchmark:
        job("convert_gguf").benchmark
    wildcard_constraints:
        model=origins.made_by("gguf"),
    priority: FIRST
    conda:
        "../../envs/torch.yaml"
    resources:
        **conversion_resources(),
    message:
        "Dequantising {wildcards.model}"
    script:
        "../scripts/convert_gguf.py"
