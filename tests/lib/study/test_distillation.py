"""What a study distils: its settings, its checks, and what it costs."""

from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import torch
import yaml

from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.circuits.passes import measured
from circuit_transfer.distillation.head_effects import head_effects
from circuit_transfer.distillation.marked_groups import group_counts, patch_marked
from circuit_transfer.distillation.matchings import ASSIGNMENTS, CHOICES, MATCHINGS
from circuit_transfer.distillation.settings import (
    CHOICES as TRAINING_CHOICES,
)
from circuit_transfer.distillation.settings import (
    PRESETS,
    DistillationSettings,
)
from circuit_transfer.distillation.training import Lesson, distil
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.frame import MARKS
from circuit_transfer.study.checks import check_config
from circuit_transfer.study.costs import estimate, nodes_of
from circuit_transfer.study.distillation import (
    all_matchings,
    distilled_tasks,
    distilling_settings,
    matching_settings,
    measuring_settings,
    training_settings,
)
from circuit_transfer.study.distillation_files import (
    matching_alignment,
    profiled_scores,
    ranking_scores,
    student_scores,
)
from circuit_transfer.study.paths import path
from circuit_transfer.study.study import Study
from circuit_transfer.study.validation import validate_config
from circuit_transfer.study.workload import study_work
from circuit_transfer.tables.costs import COST_SCHEMA, with_flops

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
STUDENT, TEACHER = "llama-small", "llama-medium"
W = SimpleNamespace(teacher=TEACHER, student=STUDENT, model=STUDENT, task="ioi")


def distilled(changes=None, *, study=None, models=None, tasks=None, **section):
    """Return the default study with a distillation, and changes of other sections."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["study"] |= study or {}
    config["models"] |= models or {}
    config["tasks"] |= tasks or {}
    for name, values in (changes or {}).items():
        config[name] |= values
    both = {"teacher": TEACHER, "student": STUDENT}
    config["distillation"] = both | section
    validate_config(config, SCHEMA)
    return config


def checked(*changes, **settings):
    config = distilled(*changes, **settings)
    check_config(config, ROOT)
    return config


def test_the_schema_has_the_settings_of_the_library():
    keys = yaml.safe_load(SCHEMA.read_text())["properties"]["distillation"][
        "properties"
    ]
    trained = {each.name for each in fields(DistillationSettings)}
    own = {"teacher", "student", "tasks", "heads", "matching", "compared"}
    own |= {"objectives", "seeds", "preset", "accuracy"}
    assert set(keys) == own | trained and not own & trained
    for name, known in TRAINING_CHOICES.items():
        assert keys[name]["enum"] == [*known, None]
    assert keys["preset"]["enum"] == [*PRESETS]
    matching = keys["matching"]["properties"]
    assert matching["assignment"]["enum"] == [*ASSIGNMENTS]
    for name in ("baseline", "scale"):
        assert matching[name]["enum"] == [*CHOICES[name]]


@pytest.mark.parametrize("preset", PRESETS)
def test_null_takes_the_value_of_the_preset(preset):
    assert training_settings(checked(preset=preset)) == DistillationSettings(
        **PRESETS[preset]
    )
    given = checked(preset=preset, steps=7, learning_rate=None)
    assert training_settings(given).steps == 7


def test_by_default_all_is_trained_and_compared():
    config = checked()
    assert distilled_tasks(config) == config["study"]["tasks"]
    assert config["distillation"]["objectives"] == [*VARIANTS]
    assert all_matchings(config) == [each for each in MATCHINGS if each != "dfa"]
    # That of the training once, and first.
    config = checked(matching={"method": "depth"}, compared=["cka", "depth"])
    assert all_matchings(config) == ["depth", "cka"]


def test_without_a_teacher_nothing_is_distilled():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    validate_config(config, SCHEMA)
    check_config(config, ROOT)
    study = Study(config)
    assert study.every(path("distilled-measures")) == []
    assert not [each for each in study.costly_jobs() if "distil" in each.name]


def test_a_variant_depends_on_its_own_settings_alone():
    plain = checked()
    changes = {"cka_weight": 0.7, "estimator": "biased", "temperature": 9.0}
    changes |= {"freeze_kv": True, "queue": 199, "steps": 9}
    of = {
        "steps": set(VARIANTS),
        "temperature": {"logits"},
        "freeze_kv": set(VARIANTS) - {"fine-tune", "logits"},
        **dict.fromkeys(
            ("cka_weight", "estimator", "queue"),
            {each for each in VARIANTS if "cka" in each} | {"random-heads"},
        ),
    }
    for key, value in changes.items():
        changed = checked(**{key: value})
        depend = {
            name
            for name in VARIANTS
            if distilling_settings(changed, name) != distilling_settings(plain, name)
        }
        assert depend == of[key], key


def test_a_matching_depends_on_its_own_settings_alone():
    plain = checked()
    for values, of in (
        ({"matching": {"baseline": "own"}}, {"impact"}),
        ({"matching": {"scale": "max"}}, {"impact"}),
        ({"positions": "all"}, {"cka"}),
        ({"heads": {"examples": 7}}, {"cka"}),
        ({"matching": {"assignment": "many-to-one"}}, set(all_matchings(plain))),
    ):
        changed = checked(**values)
        depend = {
            name
            for name in all_matchings(plain)
            if matching_settings(changed, name) != matching_settings(plain, name)
        }
        assert depend == of, values


def test_scores_are_those_that_heads_are_ranked_and_students_compared_by():
    assert ranking_scores(Study(checked()), W) == []
    edges = {"edge_methods": ["eap", "edge-pruning"], "seeds": [5, 6]}
    for by, expected in (
        ("nap", path("scores", model=STUDENT, task="ioi", method="nap")),
        ("eap", path("edge-scores", model=STUDENT, task="ioi", edge_method="eap")),
        (
            "edge-pruning",
            "results/edge-masks/llama-small/ioi/edge-pruning/seed-5.safetensors",
        ),
    ):
        study = Study(checked(study=edges, heads={"by": by}))
        assert ranking_scores(study, W) == expected
    study = Study(checked(study=edges))
    assert student_scores(study, W, "nodes") == [
        path("scores", model=model, task="ioi", method="nap")
        for model in (STUDENT, TEACHER)
    ]
    assert len(student_scores(study, W, "edges")) == 2
    # Edges of shared keys and values are not those of heads.
    shared = Study(checked({"attribution": {"kv": "kv-head"}}, study=edges))
    assert student_scores(shared, W, "edges") == []
    assert measuring_settings(shared.config)["edge_scoring"] == {}


def test_a_matching_reads_scores_of_all_tasks_or_an_alignment():
    study = Study(checked(tasks=None, compared=["profile", "dfa"]))
    profile, dfa = (
        SimpleNamespace(**vars(W), matching=name) for name in ("profile", "dfa")
    )
    assert len(profiled_scores(study, profile, STUDENT)) == 6
    assert profiled_scores(study, dfa, STUDENT) == []
    assert matching_alignment(study, profile) == []
    found = matching_alignment(study, dfa)
    assert found.startswith(
        "results/alignments/llama-small/llama-medium/nap/all/seed-0"
    )


OTHER = {"other": {"path": "data/models/qwen-small"}}
ALONE = {"transfers": [], "models": [STUDENT, TEACHER, "other"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "llama-smal"}, "teacher: no model of the study .* 'llama-small'?"),
        ({"student": None}, "student: missing; expected a model of the study"),
        ({"student": TEACHER}, "'llama-medium' is both teacher and student"),
        ({"teacher": "other", "models": OTHER}, "teacher: no model of the study"),
        ({"teacher": None}, "student: 'llama-small', but distillation.teacher is not"),
        ({"tasks_": ["iio"]}, "tasks: no task of the study is called 'iio'; did you"),
        (
            {"teacher": "other", "models": OTHER, "study": ALONE, "compared": ["cka"]},
            "'logits' compares the distributions .* vocabularies differ .347 and 238",
        ),
        (
            {
                "models": {
                    STUDENT: {"path": "data/models/llama-small", "dtype": "float16"}
                }
            },
            "models.llama-small.dtype: float16, .*; expected float32",
        ),
        ({"heads": {"by": "eap"}}, "heads.by: 'eap' is not a method of the study"),
        ({"heads": {"by": "paths"}}, "heads.by: 'paths' is for tasks .* 'ioi' is not"),
        ({"heads": {"count": 1.5}}, "heads.count: llama-small: 1.5 critical heads"),
        ({"heads": {"count": 17}}, "heads.count: llama-small: 17 .* 1 to 16"),
        (
            {"teacher": STUDENT, "student": TEACHER},
            "heads.count: 0.15 are 7 heads of the student and 2 of the teacher",
        ),
        (
            {
                "study": {"transfers": [], "models": [STUDENT, TEACHER]},
                "compared": ["dfa"],
            },
            "compared: 'dfa' needs an alignment, but study.transfers has none",
        ),
        (
            {
                "study": {"transfers": [], "methods": [], "edge_methods": ["eap"]},
                "matching": {"method": "profile"},
            },
            "matching.method: 'profile' compares scores of nodes, but study.methods",
        ),
        (
            {"temperature": 2.0, "objectives": ["ce-heads"]},
            "temperature: 2.0, but no variant .* compares logits",
        ),
        (
            {"queue": 300, "objectives": ["ce-heads", "logits"]},
            "queue: 300, but no variant .* compares heads by CKA",
        ),
        (
            {"freeze_kv": True, "objectives": ["fine-tune"]},
            "freeze_kv: True, but no variant .* trains chosen heads alone",
        ),
        (
            {"matching": {"method": "cka", "scale": "max"}, "compared": ["depth"]},
            "matching.scale: 'max' is about effects of heads, but no matching is by",
        ),
        (
            {
                "heads": {"by": "nap", "metric": "logit-diff"},
                "matching": {"method": "cka"},
                "compared": [],
            },
            "heads.metric: 'logit-diff' is about effects of heads",
        ),
        ({"steps": 5, "queue": 50}, "distillation.queue is 50: expected at least 128"),
    ],
)
def test_what_cannot_be_distilled_is_refused(changes, message):
    if "tasks_" in changes:
        config = distilled()
        config["distillation"]["tasks"] = changes["tasks_"]
    else:
        config = distilled(**changes)
    with pytest.raises(ValueError, match=message):
        check_config(config, ROOT)


FEW = {"train": 200, "test": 200, "generator": "ioi"}


@pytest.mark.parametrize(
    ("entry", "changes", "section", "message"),
    [
        ({"test": 3}, {}, {}, "tasks.few.test: 3 held-out pairs, .* at least 4, or"),
        (
            {},
            {"evaluation": {"examples": 2}},
            {},
            "evaluation.examples: 2 held-out pairs, too few for the CKA of matched",
        ),
        (
            {},
            {},
            {"heads": {"examples": 3}},
            "heads.examples: 3 training pairs, too few for the matching by cka",
        ),
        (
            {"train": 3},
            {},
            {"objectives": ["ce-heads"]},
            "tasks.few.train: 3 training pairs, too few for the matching by cka",
        ),
        (
            {"train": 127},
            {},
            {},
            "tasks.few.train: 127 training pairs, too few for debiased CKA; expected "
            "at least 128, or distillation.estimator: biased, or "
            "distillation.positions: all",
        ),
        (
            {},
            {},
            {"queue": 201},
            "tasks.few.train: 200 training pairs, too few for distillation.queue; "
            "expected at least 201, or distillation.queue: 200, or",
        ),
        (
            {"train": 20},
            {},
            {"queue": 21, "estimator": "biased"},
            "20 training pairs, .* at least 21, or distillation.queue: 20, or",
        ),
    ],
)
def test_too_few_pairs_are_refused(entry, changes, section, message):
    few = {"few": FEW | entry}
    given = {"tasks": few, "study": {"tasks": ["ioi", "few"]}}
    config = distilled(changes, **given, **section)
    config["distillation"]["tasks"] = ["few"]
    with pytest.raises(ValueError, match=message):
        check_config(config, ROOT)
    # At all positions there are more samples than pairs.
    config["distillation"]["positions"] = "all"
    check_config(config, ROOT)


def test_as_many_pairs_as_needed_are_taken():
    for entry, changes, section in (
        ({"test": 4}, {"evaluation": {"examples": 4}}, {"heads": {"examples": 4}}),
        ({"train": 128}, {}, {}),
        # No variant needs a queue, no matching CKA.
        ({"train": 2}, {}, {"objectives": ["ce-heads", "logits"], "compared": []}),
        ({"train": 4}, {}, {"preset": "paper"}),
        ({"train": 128}, {}, {"queue": 128}),
    ):
        few = {"few": FEW | entry}
        config = distilled(
            changes, tasks=few, study={"tasks": ["ioi", "few"]}, **section
        )
        config["distillation"]["tasks"] = ["few"]
        check_config(config, ROOT)


def written_pairs(path, *, train, test):
    rows = [
        f"w{number} a,w{number} b,c,d,{split}"
        for split, count in (("train", train), ("test", test))
        for number in range(1000 * (split == "test"), 1000 * (split == "test") + count)
    ]
    path.write_text("\n".join(["clean,corrupted,answer,wrong_answer,split", *rows]))


def test_pairs_of_a_file_are_counted_where_it_is_read_whole(tmp_path):
    file = tmp_path / "few.csv"
    own = {"tasks": {"few": {"file": str(file)}}, "study": {"tasks": ["few"]}}
    written_pairs(file, train=128, test=3)
    with pytest.raises(ValueError, match=r"few.file: .*few.csv: 3 held-out pairs"):
        checked(**own)
    written_pairs(file, train=127, test=4)
    with pytest.raises(ValueError, match=r"few.file: .*few.csv: 127 training pairs"):
        checked(**own)
    written_pairs(file, train=128, test=4)
    checked(**own)
    # Of a long file, the test pairs may come later than what is read.
    written_pairs(file, train=998, test=3)
    checked(**own)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"objectives": ["ce-head"]},
            "objectives.0: 'ce-head' .* did you mean 'ce-heads'",
        ),
        (
            {"compared": ["cca"]},
            "compared.0: 'cca' is not one of .* did you mean 'cka'",
        ),
        ({"matching": {"method": "impct"}}, "matching.method: .* 'impact'"),
        ({"heads": {"by": "efect"}}, "heads.by: .* did you mean 'effect'"),
        ({"estimator": "bised"}, "estimator: 'bised' is not one of"),
        ({"lambda": 1}, "unknown key 'lambda'"),
    ],
)
def test_unknown_names_come_with_the_nearest(keys, message):
    with pytest.raises(ValueError, match=f"distillation.*{message}"):
        distilled(**keys)


def test_settings_that_one_variant_has_are_taken():
    checked(temperature=3.0, objectives=["ce-heads", "logits"])
    checked(teacher=STUDENT, student=TEACHER, matching={"assignment": "many-to-one"})
    checked(teacher=STUDENT, student=TEACHER, heads={"count": 3})
    marked = {"boxes": {"generator": "entity-tracking"}}
    config = distilled(
        heads={"by": "paths"}, tasks=marked, study={"tasks": ["boxes", "ioi"]}
    )
    config["distillation"]["tasks"] = ["boxes"]
    check_config(config, ROOT)


def test_models_with_the_same_tokens_in_another_order_differ(tmp_path):
    """As many tokens say nothing about which they are."""
    source = ROOT / "data/models/llama-small"
    for file in source.iterdir():
        if file.suffix in (".json", ".safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = read_json(tmp_path / "tokenizer.json")
    vocabulary = tokenizer["model"]["vocab"]
    names = [*vocabulary]
    vocabulary[names[-1]], vocabulary[names[-2]] = (
        vocabulary[names[-2]],
        vocabulary[names[-1]],
    )
    write_json(tokenizer, tmp_path / "tokenizer.json")
    models = {"other": {"path": str(tmp_path)}}
    config = distilled(teacher="other", models=models, study=ALONE, compared=["cka"])
    with pytest.raises(ValueError, match="vocabularies differ"):
        check_config(config, ROOT)
    config["distillation"]["objectives"] = ["fine-tune", "matched-cka"]
    check_config(config, ROOT)


def test_groups_share_a_number_of_heads():
    assert group_counts(40) == [20, 5, 10, 5]
    assert group_counts(8) == [4, 1, 2, 1]
    assert group_counts(1) == [1, 1, 1, 1]


@pytest.fixture
def shapes(tiny_model):
    sizes = {STUDENT: 2, TEACHER: 3}
    models = {name: tiny_model("llama", layers=n) for name, n in sizes.items()}
    return models, {name: model_shape(each.config) for name, each in models.items()}


def works_of(config, shapes, stage, **found):
    """Return the jobs of a stage on the student, the model that is trained."""
    return [
        work
        for work in study_work(config, nodes_of(config, shapes))
        if work.stage == stage and work.model == STUDENT
    ]


def test_passes_that_find_critical_heads_are_those_estimated(shapes, tiny_pairs):
    models, sizes = shapes
    config = checked(heads={"examples": 6})
    work, *_ = works_of(config, sizes, "find_critical_heads")
    model = models[STUDENT].requires_grad_(False)
    pairs = tiny_pairs(12).filter(tiny_pairs(12)["clean_ids"].list.len() == 5)[:6]
    with measured("heads", STUDENT, model) as cost:
        head_effects(model, pair_batches(pairs, 6))
    assert 0.5 * 6 * work.forwards < cost["forwards"] <= 6 * work.forwards


def test_passes_of_path_patching_are_no_more_than_estimated(shapes, tiny_pairs):
    models, sizes = shapes
    config = distilled(heads={"by": "paths", "examples": 6, "count": 8})
    work, *_ = works_of(config, sizes, "find_critical_heads")
    model = models[STUDENT].requires_grad_(False)
    pairs = tiny_pairs(12).filter(tiny_pairs(12)["clean_ids"].list.len() == 5)[:6]
    # What the model says is right.
    says = model(torch.tensor(pairs["clean_ids"].to_list())).logits[:, -1].argmax(-1)
    marks = [{"name": name, "positions": [2]} for name in ("query", "box")]
    pairs = pairs.with_columns(
        pl.Series(MARKS, [marks] * 6),
        answer_ids=pl.Series(
            [[each] for each in says.tolist()], dtype=pl.List(pl.Int32)
        ),
    )
    with measured("heads", STUDENT, model) as cost:
        head_effects(model, pair_batches(pairs, 6))
        found = patch_marked(model, pairs, 6, 8)
    # Heads that are not below those that read them are not patched.
    assert 0.4 * 6 * work.forwards < cost["forwards"] <= 6 * work.forwards
    # As many pairs at once as fit give the same heads.
    fitting = patch_marked(model, pairs, "auto", 8)
    assert fitting["head"].to_list() == found["head"].to_list()


@pytest.mark.parametrize("variant", VARIANTS)
def test_passes_and_flops_of_a_training_are_those_estimated(
    shapes, tiny_pairs, variant
):
    models, sizes = shapes
    few = {"few": {"generator": "ioi", "train": 40, "test": 40}}
    study = {"tasks": ["few"], "siblings": [], "families": {}, "transfers": []}
    settings = {"steps": 10, "batch_size": 4, "probe_every": 4}
    config = distilled(
        {"evaluation": {"examples": 40}},
        study=study | {"models": [STUDENT, TEACHER]},
        tasks=few,
        objectives=[variant],
        seeds=[0],
        **settings,
    )
    pairs = tiny_pairs(100).filter(pl.col("clean_ids").list.len() == 5)[:40]
    batches = [(each, each) for each in pair_batches(pairs, 4)]
    for model in models.values():
        model.requires_grad_(False)
    student, teacher = models[STUDENT], models[TEACHER]
    lesson = Lesson(
        student,
        teacher,
        batches,
        batches,
        [("a0.h0", "a0.h1"), ("a1.h2", "a2.h2")],
        training_settings(config),
    )
    with (
        measured("own", STUDENT, student) as own,
        measured("theirs", TEACHER, teacher) as theirs,
    ):
        distil(lesson, variant=variant, seed=0)
    nodes = nodes_of(config, sizes)
    works = [w for w in study_work(config, nodes) if w.stage == "distil_student"]
    for work, found in zip(works, (own, theirs), strict=True):
        counted = found["forwards"], found["forward_backwards"]
        assert counted == (40 * work.forwards, 40 * work.forward_backwards)
    rows = pl.DataFrame([own, theirs], COST_SCHEMA)
    flops = with_flops(rows, sizes)["flop"].sum()
    stages = estimate(config, sizes, {"few": 5}).filter(stage="distil_student")
    estimated = 1e15 * stages["petaflop"].sum()
    if VARIANTS[variant].trains == "everything":
        assert flops == pytest.approx(estimated, rel=1e-6)
    else:
        # Layers without a trained head, keys and values that are frozen.
        assert 0.8 * estimated < flops <= estimated


def test_the_pairs_of_a_file_are_no_more_than_a_training_takes(shapes, tmp_path):
    _, sizes = shapes
    file = tmp_path / "few.csv"
    written_pairs(file, train=128, test=4)
    study = {"tasks": ["few"], "siblings": [], "families": {}, "transfers": []}
    config = checked(
        study=study | {"models": [STUDENT, TEACHER]},
        tasks={"few": {"file": str(file)}},
        seeds=[0],
        objectives=["ce-heads"],
    )
    (work,) = works_of(config, sizes, "distil_student")
    pairs = sum(work.pairs.values())
    # 200 steps of 32 pairs.
    assert work.forward_backwards * pairs == 200 * 32


def test_training_everything_takes_more_than_training_heads(shapes):
    _, sizes = shapes
    tokens = dict.fromkeys(distilled()["tasks"], 20)

    def costs(*objectives, **own):
        config = checked(objectives=[*objectives], seeds=[0], **own)
        frame = estimate(config, sizes, tokens)
        return frame.filter(stage="distil_student", model=STUDENT).to_dicts()[0]

    heads, every = costs("ce-heads"), costs("fine-tune")
    assert every["petaflop"] > heads["petaflop"]
    assert every["peak_memory_gb"] > heads["peak_memory_gb"]
    twice = costs("ce-heads", steps=400)
    assert twice["forward_backwards"] == 2 * heads["forward_backwards"]
    # A student is written for every task.
    parameters = sizes[STUDENT].parameters
    assert heads["disk_gb"] == pytest.approx(6 * 4 * parameters / 1e9)


def test_a_training_has_a_job_for_every_seed_and_a_measure_for_all(shapes):
    _, sizes = shapes
    config = checked(seeds=[0, 1, 2], objectives=["ce-heads", "logits"])
    study = Study(config)
    planned = {}
    for each in study.costly_jobs():
        rule = each.name.partition("/")[0]
        planned[rule] = planned.get(rule, 0) + 1
    counted = {}
    for work in study_work(deepcopy(config), nodes_of(config, sizes)):
        counted[work.stage] = counted.get(work.stage, 0) + (not work.beside)
    assert counted == planned
    assert planned["distil_student"] == 6 * 2 * 3
    assert planned["evaluate_student"] == 6 * 2
    assert planned["find_critical_heads"] == 6 * 2
    assert planned["match_heads"] == 6 * 5
