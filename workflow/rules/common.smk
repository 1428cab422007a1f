"""What the rules share: the checked study, and what only Snakemake can do with it."""

import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Not `workflow.basedir`: another workflow may import this one.
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
if not HOME.is_dir():
    raise WorkflowError(
        f"{HOME} is not a folder; expected the path of the Snakefile in a clone of the "
        "repository, whose library and data the workflow reads"
    )
# No installation is needed.
sys.path.insert(0, str(HOME / "workflow/lib"))

# Before all other imports, during which an interrupt must not end in a traceback.
from running.interrupts import end_on_interrupt

end_on_interrupt()

from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.study import (
    distillation,
    distillation_files,
    distillation_results,
)
from circuit_transfer.study.convergence import comparison_settings
from circuit_transfer.study.drawings import drawn_scores, summarised_edges
from circuit_transfer.study.edge_transfers import edge_fit_settings
from circuit_transfer.study.learning import pruning_settings
from circuit_transfer.study.map_checks import recorded_ancestors
from circuit_transfer.study.origins import CHECKPOINT_FILES, Origins
from circuit_transfer.study.paths import BENCHMARKS, LOGS, filled, job, path, paths
from circuit_transfer.study.planted import (
    planted_masks,
    planted_models,
    planted_node_scores,
    planted_scores,
    planted_tasks,
)
from circuit_transfer.study.results import (
    results,
    results_by_category,
    results_of,
    summarised_figures,
)
from circuit_transfer.study.settings import (
    ablated_settings,
    attribution_settings,
    edge_attribution_settings,
    evaluation_settings,
    fit_settings,
    heads_settings,
    integration_steps,
    pairs_settings,
    prior_settings,
    split_entry,
    varied_settings,
    verifying_settings,
)
from circuit_transfer.study.shown import (
    FIGURES,
    SUMMARISED,
    TABLE_SUFFIXES,
    TABLES,
    figure_pattern,
    labels,
    table_pattern,
)
from circuit_transfer.study.study import Study
from running.checks import (
    check_gguf_files,
    check_hub,
    check_prompts,
    jobs_of_study,
)  # next to the library
from running.configurations import check_and_sort, log_where_read
from running.groups import plan_by_group
from running.overlays import apply_overlays
from running.planning import log_while_planning, plan_by_content
from running.requests import (
    conversion_resources,
    model_resources,
    training_resources,
)
from running.sources import code_digest, files_digest, put_first, record_code

put_first()
plan_by_content(workflow)
plan_by_group()
log_while_planning()
apply_overlays(workflow)
check_and_sort(config, workflow, HOME)

SCRIPTS = HOME / "workflow/scripts"
# Of this reading: another workflow may import this one several times.
PATHS = workflow.modifier.path_modifier
# Priority of the jobs that find what is wrong with a model or a task: before those of
# other models and tasks, which take long.
FIRST = 1

# Inputs that no rule makes have no prefix.
study = Study(config, recorded_ancestors(config, [Path("."), HOME]))
origins = Origins(config, HOME, given=local, made=PATHS.replace_prefix)
log_where_read(workflow, HOME, origins.found_at_home(study))
model_resources = partial(model_resources, config)
training_resources = partial(training_resources, origins)
conversion_resources = partial(conversion_resources, origins)


wildcard_constraints:
    **study.wildcard_constraints(),


def placed(path):
    """Return where a path of `study.paths` is: below the prefix of a module, if any."""
    return PATHS.replace_prefix(path)


def table(name, **values):
    """Name a table's files; the report shows the page among them."""
    page = table_pattern(name, "html")
    files = [table_pattern(name, suffix) for suffix in ("csv", "tex")]
    files = [filled(file, values) for file in files]
    return [*files, in_report(filled(page, values), name, TABLES[name], values)]


def figure(name):
    """Name a figure's files; the report shows the image, PNG or SVG."""
    image = figure_pattern(name)
    return [figure_pattern(name, "pdf"), in_report(image, name, FIGURES[name], {})]


def in_report(file, name, shown, values):
    """Mark a file for the report, labelled by what it shows and of which models."""
    caption = shown.caption or name
    return report(
        file,
        caption=str(HOME / "workflow/report" / f"{caption}.rst"),
        category=shown.category,
        labels=labels(shown, caption) | values,
    )
