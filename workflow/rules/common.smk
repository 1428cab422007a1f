"""What the rules share: the checked configuration, names, and input functions."""

import re
import sys
from functools import cache
from pathlib import Path

HOME = Path(workflow.basedir)
# No installation is needed.
sys.path.insert(0, str(HOME / "workflow/lib"))

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.methods import (
    has_run_gradients,
    node_methods,
    steps_of,
    takes_steps,
)
from circuit_transfer.study.checks import check_config, studied_models, studied_targets
from circuit_transfer.transfer.controls import trained_controls
from circuit_transfer.importers import data_files, import_task
from circuit_transfer.transfer.maps import (
    CARRIED,
    SIMILARITY_MAPS,
    STITCHED,
    fitted_maps,
)
from circuit_transfer.models.loading import LOAD_OPTIONS
from circuit_transfer.study.resources import requested, requested_by_training
from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    family_of,
    family_sets,
    study_families,
    training_sets,
    training_tasks,
)
from circuit_transfer.study.validation import check_repeated_keys, validate_config
from running.planning import plan_by_content  # beside the library
from running.sources import code_digest, files_digest, put_first
from snakemake.exceptions import WorkflowError


def in_order(value):
    """Sort the keys of all mappings: their order in the configuration means nothing."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(each) for each in value] if isinstance(value, list) else value


put_first()
plan_by_content(workflow)
try:
    for file in workflow.configfiles:
        check_repeated_keys(file)
    validate_config(config, HOME / "workflow/schemas/config.schema.yaml")
    check_config(config, ".", HOME)
except (ValueError, OSError) as error:
    # The message alone, without the code that it came through.
    raise WorkflowError(str(error)) from None
ordered = in_order(config)
config.clear()
config.update(ordered)

STUDY = config["study"]
TASKS, METHODS, SEEDS = STUDY["tasks"], STUDY["methods"], STUDY["seeds"]
TRANSFERS = [(pair["source"], pair["target"]) for pair in STUDY["transfers"]]
MODELS = studied_models(STUDY, config["models"])
TARGETS = studied_targets(STUDY, config["models"])
FAMILIES = study_families(TASKS, STUDY["families"])
TRAINING_SETS = training_sets(TASKS, FAMILIES)
MAP, COMPARED = config["alignment"]["map"], config["alignment"]["compare"]
CONTROLS = config["alignment"]["controls"]
CIRCUITS = config["evaluation"]["circuits"]
ABLATION = config["evaluation"]["ablations"][0]  # the one that tables show
# Priority of the jobs that find what is wrong with a model or a task: before those of
# other models and tasks, which take long.
FIRST = 1
# Paths are recorded with results, so that a result is known in a copy of the repository
# elsewhere: relative ones, where the repository is the working directory.
DATA = Path("data") if HOME.samefile(".") else HOME / "data"
WORDS, FACTS = DATA / "words.yaml", DATA / "facts.csv"


def any_of(names):
    return "|".join(map(re.escape, names))


wildcard_constraints:
    model=any_of(config["models"]),
    source=any_of(config["models"]),
    target=any_of(config["models"]),
    task=any_of(config["tasks"]),
    method=any_of(node_methods()),
    training_set=any_of(training_sets(config["tasks"], STUDY["families"])),
    circuit=any_of(CIRCUITS),
    setting=any_of(config["sensitivity"]),
    seed=r"\d+",


def record_code():
    """Let every job record a hash of its script and of what that imports."""
    for each in workflow.rules:
        if each.script and "code" not in each.params.keys():
            each.set_params(code=code_of(each.script))


def code_of(script, unused=lambda w: ()):
    """Make the params function for the code of a job.

    `unused` names library modules that a job imports and does not need.
    """
    path = HOME / "workflow/scripts" / Path(script).name
    return lambda w: code_digest(path, unused(w))


def at_hand(path):
    """Find a file or folder of the configuration.

    A relative path starts in the working directory, or else beside the Snakefile,
    where the shipped models are.
    """
    shipped = HOME / path
    return str(shipped if shipped.exists() and not Path(path).exists() else path)


def pairs_path(w):
    """Find the file or folder that a task's pairs are read from, if it is on disk."""
    entry = config["tasks"][w.task]
    path = entry.get("file") or entry.get("path")
    return at_hand(path) if path else None


def pair_files(w):
    """List the files that a task's pairs are read from."""
    path = pairs_path(w)
    return data_files(config["tasks"][w.task], path) if path else []


def content_of(files):
    """Make the params function for what is in the files that an input function lists.

    Their age alone would not tell: a file that is put back may be older than a result.
    """
    return lambda w: files_digest(map(Path, files(w)))


def where_drawn(path):
    """Make an input function that asks for a file only where pairs are generated."""
    return lambda w: path if "generator" in config["tasks"][w.task] else []


def prompt_sources(w):
    """List the files that a task's pairs are made from."""
    drawn = "generator" in config["tasks"][w.task]
    return [WORDS, FACTS] if drawn else pair_files(w)


def unused_readers(w):
    """Name the library's modules that a task's pairs do not come from."""
    entry = config["tasks"][w.task]
    if "generator" in entry:
        return ("importers", "models.hub")
    return ("generators",) if "hub" in entry else ("generators", "models.hub")


def checkpoint(model):
    """Find the checkpoint folder of a model; that of a hub model is in its record."""
    entry = config["models"][model]
    if "train" in entry:
        return f"results/models/{model}/checkpoint"
    return at_hand(entry["path"]) if "path" in entry else None


CHECKPOINT_FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def checkpoint_files(model):
    """List the files of a checkpoint that the results depend on."""
    if is_remote(model):
        return [download_record(model)]
    folder = Path(checkpoint(model))
    if "train" in config["models"][model]:
        return [str(folder / name) for name in CHECKPOINT_FILES]
    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json", "token*.*"]
    return sorted(str(file) for pattern in patterns for file in folder.glob(pattern))


def is_remote(model):
    """Tell whether a model is on the hub."""
    return "hub" in config["models"][model]


def download_record(model):
    """Name the record of a hub model's download: its commit, and where it lies."""
    return f"results/models/{model}/download.json"


def model_record(w):
    """Name the record of a model's download or training, if it has one."""
    if is_remote(w.model):
        return download_record(w.model)
    record = Path(checkpoint(w.model)) / "training.json"
    trained_here = "train" in config["models"][w.model]
    return str(record) if trained_here or record.is_file() else []


def load_options(model):
    """Pick from a model's entry how every stage loads it."""
    entry = config["models"][model]
    return {option: entry[option] for option in LOAD_OPTIONS if option in entry}


def check_hub(jobs):
    """Stop a run where something that it is to download cannot be had from the hub."""

    def of(rule, entries):
        names = [
            name for job in jobs if job.rule.name == rule for name in job.wildcards
        ]
        return {name: entries[name] for name in names if "hub" in entries[name]}

    models = of("download_model", config["models"])
    tasks = of("write_prompts", config["tasks"])
    if models or tasks:
        # Imported here: not every run of Snakemake should pay for the hub's client.
        from circuit_transfer.models.hub import check_entries

        try:
            check_entries(models, tasks)
        except ValueError as error:
            raise WorkflowError(str(error)) from None


def check_prompts(jobs):
    """Stop a run where the file of a task cannot be used, before any job starts.

    It is read once more for that, 200,000 rows in 5 seconds: a broken last row would
    else show when jobs of other tasks have long begun.
    """
    problems = []
    for job in jobs:
        if job.rule.name != "write_prompts" or not pairs_path(job.wildcards):
            continue
        entry = config["tasks"][job.wildcards.task]
        try:
            import_task(entry, pairs_path(job.wildcards))
        except (ValueError, OSError) as error:
            key = "file" if "file" in entry else "path"
            problems.append(f"tasks.{job.wildcards.task}.{key}: {error}")
    if problems:
        raise WorkflowError("\n".join(problems))


def weights(role):
    """Make the input function for the checkpoint of the model in a wildcard."""
    return lambda w: checkpoint_files(w[role])


def integration_steps(w):
    """Return how many steps a method integrates over: one where it does not."""
    return steps_of(w.method, config["attribution"]["ig_steps"])


def attribution_settings(w):
    """Pick how nodes are scored."""
    return {**config["attribution"], "ig_steps": integration_steps(w)}


def pairs_settings(stage):
    """Pick how many pairs a stage reads, and how many it takes at once.

    Snakemake records the values of params without their names: numbers that could be
    taken for each other need names inside of one param.
    """
    return {key: config[stage][key] for key in ["examples", "batch_size"]}


def model_resources(stage, *models):
    """Make the resources of a rule that runs models, see `resources.requested`.

    `models` are the inputs that describe them, the target last.
    """

    def asked(resource):
        def of_job(w, input, attempt):
            # A description that is not there yet raises FileNotFoundError, and
            # Snakemake asks again when the job is about to start.
            files = [
                (input[name], Path(input[name]).stat().st_mtime_ns) for name in models
            ]
            return _requested(stage, tuple(files), attempt)[resource]

        return of_job

    names = ("gpu", "nodes", "mem_mb", "runtime")
    return {resource: asked(resource) for resource in names}


@cache
def _requested(stage, files, attempt):
    # By the time of a file it is noticed that it was written again.
    descriptions = [read_json(path) for path, _ in files]
    return requested(stage, descriptions, config, attempt)


def training_resources():
    """Make the resources of training a model, see `resources.requested_by_training`."""

    def asked(resource):
        def of_job(w, attempt):
            train = config["models"][w.model]["train"]
            return requested_by_training(train, attempt)[resource]

        return of_job

    return {resource: asked(resource) for resource in ("mem_mb", "runtime")}


def fit_settings():
    """Pick what `objectives.FitSettings` needs from the configuration."""
    prior = config["alignment"]["prior"]
    keys = ["epochs", "intervention", "learning_rate", "objective", "sparsity"]
    by_area = config["alignment"]["objective"] == "area"
    return {
        **{key: config["alignment"][key] for key in keys},
        "initial_scale": config["alignment"]["initial_scale"],
        "proportions": config["evaluation"]["proportions"] if by_area else [],
        "prior_penalty": prior["penalty"],
        "prior_scale": prior["scale"],
    }


def maps_of(w):
    """List the maps that are fitted on a training set, the main one first."""
    return fitted_maps(w.training_set, MAP, COMPARED)


def where_nodes_are_compared(paths):
    """Make an input function that asks for files only where a map compares nodes."""

    def wanted(w):
        if set(SIMILARITY_MAPS).isdisjoint(maps_of(w)):
            return []
        return paths(w)

    return wanted


def training_inputs(pattern):
    """Make the input function for one file per task of a training set."""
    return lambda w: expand(
        pattern,
        task=training_tasks(w.training_set, TASKS, FAMILIES),
        allow_missing=True,
    )


def of_every_task(pattern, w):
    """List one file for every task of the study, whatever task the wildcards name."""
    return [path for task in TASKS for path in expand(pattern, **{**w, "task": task})]


def evaluated_alignments(w):
    """List the fits whose circuits are measured on a task."""
    return expand(
        "results/alignments/{source}/{target}/{method}/{training_set}/seed-{seed}.safetensors",
        training_set=evaluated_training_sets(w.task, TASKS, FAMILIES),
        seed=SEEDS,
        source=w.source,
        target=w.target,
        method=w.method,
    )


def first_seed_alignments(w):
    """List the fits of one seed that the node maps show."""
    alone_or_without = [each for each in TRAINING_SETS if each != "all"]
    return expand(
        "results/alignments/{source}/{target}/{method}/{training_set}/seed-{seed}.safetensors",
        training_set=alone_or_without,
        seed=SEEDS[0],
        source=w.source,
        target=w.target,
        method=w.method,
    )


def free_masks(w):
    """List the free masks of a task, if the study has that control."""
    pattern = "results/masks/{target}/{task}/seed-{seed}.safetensors"
    seeds = SEEDS if "free-mask" in CONTROLS else []
    return expand(pattern, target=w.target, task=w.task, seed=seeds)


def tasks_of_other_families(w):
    """List the tasks of the study that are of another family than a task."""
    family = family_of(w.task, FAMILIES)
    return [task for task in TASKS if family_of(task, FAMILIES) != family]


def stitched_alignment(w):
    """Name a task's stitched alignment, if the study compares it."""
    if STITCHED not in COMPARED:
        return []
    return f"results/stitched/{w.source}/{w.target}/{w.task}.safetensors"


def carried_gradients(w):
    """Name a task's carried gradients, if the study compares them and there are any."""
    if CARRIED not in COMPARED or not has_run_gradients(w.method):
        return []
    return f"results/carried/{w.source}/{w.target}/{w.task}/{w.method}.safetensors"


def per_pair(pattern, **more):
    """List the files of a pattern for every transfer of the study."""
    return [
        path
        for source, target in TRANSFERS
        for path in expand(pattern, source=source, target=target, **more)
    ]


def table_files(name, caption, category, **labels):
    """Name a table's files; the report shows the page among them."""
    return [
        f"results/tables/{name}.csv",
        f"results/tables/{name}.tex",
        in_report(f"results/tables/{name}.html", caption, category, labels),
    ]


def figure_files(name, caption, category, **labels):
    """Name a figure's files; the report shows the PNG."""
    return [
        f"results/figures/{name}.pdf",
        in_report(f"results/figures/{name}.png", caption, category, labels),
    ]


def in_report(path, caption, category, labels):
    """Mark a file for the report, labelled by what it shows and of which models."""
    caption_path = HOME / "workflow/report" / f"{caption}.rst"
    shows = {"shows": caption.replace("-", " "), **labels}
    return report(path, caption=str(caption_path), category=category, labels=shows)


def study_results():
    """List everything the study ends in: tables and figures."""
    names = [
        "tables/models.csv",
        "tables/rejects.csv",
        "tables/statistics-columns.csv",
        "tables/costs.csv",
        *(["tables/imported.csv"] if CIRCUITS else []),
        *expand("figures/task-correlation/{model}.png", model=MODELS),
    ]
    if TRANSFERS:
        pair, method = "{source}/{target}", "{source}/{target}/{method}"
        names += [
            *expand("tables/scaling/{task}.csv", task=TASKS),
            *per_pair(f"tables/leaderboard/{pair}.csv"),
            *per_pair(f"tables/controls/{pair}.csv"),
            *per_pair(f"tables/maps/{pair}.csv"),
            *per_pair(f"tables/tests/{pair}.csv"),
            *per_pair(f"figures/maps/{pair}.png"),
            *per_pair(f"figures/completeness/{pair}.png"),
            *per_pair(f"tables/correlations/{pair}.csv"),
            *per_pair(f"figures/correlations/{pair}.png"),
            *per_pair(f"figures/break-even/{pair}.png"),
            *per_pair(f"figures/stability/{method}.png", method=METHODS),
            "figures/curves-by-pair.png",
            "figures/recovery.png",
            *per_pair(f"figures/transfer-matrix/{pair}.png"),
            *per_pair(f"figures/controls/{pair}.png"),
            *per_pair(f"figures/curves-by-task/{method}.png", method=METHODS),
            *per_pair(f"figures/node-map/{method}.png", method=METHODS),
            *per_pair(f"figures/alignment-matrix/{method}.png", method=METHODS),
            *per_pair(f"figures/losses/{method}.png", method=METHODS),
        ]
    else:
        pattern = "figures/gold-curves-by-task/{target}/{method}.png"
        names += expand(pattern, target=TARGETS, method=METHODS)
    return [f"results/{name}" for name in names] + SENSITIVITY_RESULTS
