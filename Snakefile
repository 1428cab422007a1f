# Circuits of a small language model, carried over to a larger one. See README.md.
import os

from snakemake.utils import min_version

min_version("9.0")

# Without it, the files given by --configfile must be a whole configuration.
if os.path.exists("config.yaml"):

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/gguf.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/planted.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/attribution.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/stitching.smk"
include: "workflow/rules/faithfulness.smk"
include: "workflow/rules/edges.smk"
include: "workflow/rules/learned.smk"
include: "workflow/rules/edge_alignment.smk"
include: "workflow/rules/methods.smk"
include: "workflow/rules/method_tables.smk"
include: "workflow/rules/head_tables.smk"
include: "workflow/rules/drawings.smk"
include: "workflow/rules/edge_drawings.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/source_use.smk"
include: "workflow/rules/circuits.smk"
include: "workflow/rules/nodes.smk"
include: "workflow/rules/exchange.smk"
include: "workflow/rules/similarity.smk"
include: "workflow/rules/edge_tables.smk"
include: "workflow/rules/matching.smk"
include: "workflow/rules/distillation.smk"
include: "workflow/rules/distillation_tables.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/convergence.smk"
include: "workflow/rules/costs.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/startup.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/benchmark.smk"


# Beside the library, which common.smk has put on the path.
from running.endings import end_run, end_without_jobs
from running.runs import hold_folder, start_run
from running.warm import warm_up

hold_folder(workflow)
record_code(workflow.rules)
end_without_jobs(workflow)


onstart:
    start_run(workflow, placed("results"))
    jobs = jobs_of_study(workflow.dag.needrun_jobs(), config)
    check_hub(jobs, config)
    check_gguf_files(jobs, origins)
    check_prompts(jobs, config, origins)
    warm_up(workflow)


onsuccess:
    end_run(workflow)


rule all:
    input:
        results(study),
