"""The page that answers the questions of the study."""


rule write_summary:
    input:
        **summarised_edges(study),
        statistics=path("statistics"),
        cpr=path("cpr"),
        models=table_pattern("models"),
        rejects=table_pattern("rejects-summary"),
        costs=table_pattern("costs"),
        break_even=path("break-even"),
        top_nodes=[
            file
            for file in study.every(table_pattern("top-nodes"), model=study.targets)
            if study.methods
        ],
        edges=paths("edge-statistics") if study.edge_methods else [],
        methods=[
            file
            for file in study.every(path("method-statistics"))
            if study.learned_methods
        ],
        students=distillation_results.summarised_students(study),
        source_use=paths("source-use") if study.tests_families else [],
        figures=summarised_figures(study),
    output:
        summary=path("summary"),
    log:
        job("write_summary").log,
    benchmark:
        job("write_summary").benchmark
    group:
        "summaries"
    conda:
        "../../envs/figures.yaml"
    params:
        names=study.selected(
            "tasks", "methods", "edge_methods", "targets", "pairs", "maps", "seeds"
        )
        | (study.selected("learned_methods", "sizes") if study.learned_methods else {})
        | ({"omitted": study.omitted_maps} if study.omitted_maps else {})
        | study.edge_transfer_names()
        | distillation_results.student_names(study),
        ablation=study.selected("ablation")["ablation"],
        sections=SUMMARISED,
        index={
            category: [*map(placed, files)]
            for category, files in results_by_category(study).items()
        },
    message:
        "Writing the summary of the study"
    script:
        "../scripts/write_summary.py"
