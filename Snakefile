# Circuits of a small language model, carried over to a larger one. See README.md.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/gguf.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/attribution.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/stitching.smk"
include: "workflow/rules/faithfulness.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/circuits.smk"
include: "workflow/rules/exchange.smk"
include: "workflow/rules/similarity.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/convergence.smk"
include: "workflow/rules/costs.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/startup.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/benchmark.smk"


# Beside the library, which common.smk has put on the path.
from running.runs import hold_folder, start_run
from running.warm import warm_up

hold_folder(workflow)
record_code(workflow, SCRIPTS)


onstart:
    start_run(workflow)
    jobs = list(workflow.dag.needrun_jobs())
    check_hub(jobs, config)
    check_gguf_files(jobs, origins)
    check_prompts(jobs, config, origins)
    warm_up(workflow)


rule all:
    default_target: True
    input:
        study.results(),
