"""Whether the source matters: controls, maps and tests, in tables and figures."""


rule summarise_controls:
    input:
        statistics=path("statistics"),
    output:
        table("controls"),
    log:
        job("summarise_controls").log,
    benchmark:
        job("summarise_controls").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("tasks", "ablation"),
        maps=study.maps_by_method(),
        controls=study.controls_by_method,
    message:
        "Controls of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_controls.py"


rule plot_controls:
    input:
        statistics=path("statistics"),
    output:
        figure("controls"),
    log:
        job("plot_controls").log,
    benchmark:
        job("plot_controls").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("ablation"),
        maps=study.maps_by_method(),
        controls=study.controls_by_method,
    message:
        "Drawing the controls of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_controls.py"


rule summarise_maps:
    input:
        statistics=path("statistics"),
    output:
        table("maps"),
    log:
        job("summarise_maps").log,
    benchmark:
        job("summarise_maps").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("ablation"),
        maps=lambda w: study.maps_by_method(w.source, w.target),
        controls=study.controls_by_method,
    message:
        "Maps of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_maps.py"


rule plot_maps:
    input:
        statistics=path("statistics"),
    output:
        figure("maps"),
    log:
        job("plot_maps").log,
    benchmark:
        job("plot_maps").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("ablation"),
        maps=lambda w: study.maps_by_method(w.source, w.target),
    message:
        "Drawing the maps of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/plot_maps.py"


rule summarise_tests:
    input:
        statistics=path("statistics"),
    output:
        table("tests"),
    log:
        job("summarise_tests").log,
    benchmark:
        job("summarise_tests").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("ablation"),
        maps=lambda w: study.maps_by_method(w.source, w.target),
    message:
        "Tests of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_tests.py"


rule summarise_levels:
    input:
        statistics=path("statistics"),
    output:
        table("levels"),
    log:
        job("summarise_levels").log,
    benchmark:
        job("summarise_levels").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        **study.selected("ablation"),
        maps=lambda w: study.maps_by_method(w.source, w.target),
    message:
        "Nodes and edges of {wildcards.source} to {wildcards.target}"
    script:
        "../scripts/summarise_levels.py"
