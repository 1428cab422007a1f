"""Training a student: its loss, its curves, its end, and what it restores."""

import copy

import pytest
import torch
from students import CIRCUIT, MATCHED, emptied, lesson, planted, settings, taught

from circuit_transfer.distillation.measures import (
    Probe,
    answer_measures,
    circuit_measures,
)
from circuit_transfer.distillation.training import Lesson, Training, distil
from circuit_transfer.distillation.updates import head_masks
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.nodes import node_names


@pytest.fixture(scope="module")
def models(tiny_model):
    """A student, and a teacher of another family."""
    return tiny_model("llama"), tiny_model("gpt2", layers=3)


def same_weights(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(
        a.detach().numpy().tobytes() == b.detach().numpy().tobytes() for a, b in pairs
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_its_terms_and_curves(models, tiny_pairs, variant):
    teacher = copy.deepcopy(models[1])
    _, found = taught(*models, tiny_pairs(40), variant, cka_weight=0.7, temperature=3)
    assert same_weights(models[1], teacher)
    terms = VARIANTS[variant].terms
    assert found.steps["step"].to_list() == [1, 2, 3]
    assert found.probes["step"].to_list() == [0, 2, 3]
    assert found.probes.null_count().sum_horizontal().item() == 0
    for row in found.steps.iter_rows(named=True):
        parts = {
            "task": row["task_loss"],
            "cka": row["cka"] and 0.7 * len(MATCHED) * (1 - row["cka"]),
            "logits": row["logit_loss"],
        }
        assert row["loss"] == pytest.approx(sum(parts[term] for term in terms))
        assert (row["cka"] is None) == ("cka" not in terms)
        assert (row["logit_loss"] is None) == ("logits" not in terms)


def test_a_seed_decides_everything(models, tiny_pairs):
    pairs = tiny_pairs(40)
    one, again, other = (
        taught(*models, pairs, "random-cka", seed=seed)[0] for seed in (1, 1, 2)
    )
    assert same_weights(one, again) and not same_weights(one, other)


@pytest.mark.parametrize("variant", ["shuffled-cka", "logits"])
@pytest.mark.parametrize("after", [2, 5, 6])
def test_an_interrupted_training_resumes_to_the_same_bytes(
    models, tiny_pairs, variant, after, tmp_path
):
    class Killed(Exception):
        pass

    class Killing(Resume):
        saved = 0

        def save(self, *, now=False):
            super().save(now=True)
            self.saved += 1
            if self.saved == after:
                raise Killed

    # Three batches of each length, so that five steps are in the first epoch.
    pairs, how = tiny_pairs(40), {"steps": 8, "weight_decay": 0.1, "probe_every": 3}
    with pytest.raises(Killed):
        taught(*models, pairs, variant, resume=Killing(tmp_path / "state"), **how)
    left = Resume(tmp_path / "state", seconds=0)
    student, found = taught(*models, pairs, variant, resume=left, **how)
    whole, expected = taught(*models, pairs, variant, **how)
    assert same_weights(student, whole)
    assert found.steps.equals(expected.steps)
    assert found.probes.equals(expected.probes)
    assert found.record == expected.record


@pytest.mark.parametrize(
    ("variant", "term", "estimator", "tolerance"),
    [
        ("matched-cka", "cka", "debiased", 1e-4),
        ("matched-cka", "cka", "biased", 1e-4),
        # Logits are in float32.
        ("matched-cka", "task", "biased", 1e-3),
        ("logits", "logits", "biased", 1e-3),
    ],
)
def test_gradients_are_those_of_finite_differences(
    tiny_model, tiny_pairs, variant, term, estimator, tolerance
):
    student = tiny_model("llama", dtype=torch.float64)
    teacher = tiny_model("gpt2", dtype=torch.float64)
    own = {"estimator": estimator, "positions": "all", "cka_weight": 3.0}
    training = Training(lesson(student, teacher, tiny_pairs(24), **own), variant, 0)
    queue, batches = training.targets and training.targets.queue, training.lesson
    queued = {}
    if queue is not None:
        training.targets.fill(student, [batch for batch, _ in batches.batches])
        queued = queue.tensors()

    def loss():
        if queue is not None:
            queue.restore(queued, torch.device("cpu"))
        return training.losses(0)[0][term]

    weights = [
        student.get_parameter(f"model.layers.0.self_attn.{name}_proj.weight")
        for name in "qkvo"
    ]
    gradients = torch.autograd.grad(loss(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = gradient / gradient.norm()
        values = []
        for step in (1e-3, -1e-3):
            kept = weight.detach().clone()
            with torch.no_grad():
                weight += step * direction
                values.append(loss().item())
                weight.copy_(kept)
        slope = (values[0] - values[1]) / 2e-3
        assert slope == pytest.approx(gradient.norm().item(), rel=tolerance)


def test_a_step_runs_the_student_as_plain_transformers(models, tiny_pairs):
    student, teacher = models
    batches = lesson(student, teacher, tiny_pairs(4)).batches
    for batch, _ in batches:
        logits = student(batch.clean).logits[:, -1]
        right = -logits.log_softmax(-1).gather(1, batch.answers)
        _, found = taught(student, teacher, tiny_pairs(4), steps=2, learning_rate=1e-30)
        assert any(
            row == pytest.approx(right.mean().item(), rel=1e-5)
            for row in found.steps["task_loss"]
        )


def test_shuffled_examples_leave_no_similarity(tiny_model, tiny_pairs):
    model, pairs = tiny_model("llama"), tiny_pairs(600)
    how = {"matched": [(head, head) for head in ("a0.h1", "a1.h2")], "queue": 512}
    how |= {"learning_rate": 1e-30, "batch_size": 32}
    _, whole = taught(model, model, pairs, "matched-cka", **how)
    _, shuffled = taught(model, model, pairs, "shuffled-cka", **how)
    assert whole.steps["cka"].min() == pytest.approx(1, abs=1e-4)
    assert shuffled.steps["cka"].abs().max() < 0.03
    assert shuffled.steps["features"].min() >= 512
    # Measured between the models as they are, whatever is compared in training.
    assert shuffled.probes["cka"].min() == pytest.approx(1, abs=1e-4)


def test_cka_alone_says_nothing_about_what_the_last_heads_write(models, tiny_pairs):
    student, _ = taught(
        *models,
        tiny_pairs(40),
        "cka-only",
        matched=[("a1.h2", "a2.h0")],
        weight_decay=0.5,
        learning_rate=0.01,
    )
    changed = {
        name.split(".")[-2]
        for (name, new), old in zip(
            student.named_parameters(), models[0].parameters(), strict=True
        )
        if not torch.equal(new, old)
    }
    assert changed == {"q_proj", "k_proj", "v_proj"}


def test_a_loss_that_is_not_a_number_names_the_settings(models, tiny_pairs):
    with pytest.raises(ValueError, match=r"step \d of 3 .*learning_rate \(1e\+30\)"):
        taught(*models, tiny_pairs(16), learning_rate=1e30)


def test_logits_of_other_vocabularies_are_refused(models, tiny_model, tiny_pairs):
    other = tiny_model("gpt2")
    other.resize_token_embeddings(60)
    with pytest.raises(ValueError, match="50 tokens and the teacher 60"):
        taught(models[0], other, tiny_pairs(8), "logits", matched=MATCHED)


def test_no_pairs_are_refused(models):
    with pytest.raises(ValueError, match="no pairs to train on"):
        Lesson(*models, [], [], MATCHED, settings())


@pytest.fixture(scope="module")
def case():
    """A teacher with a planted circuit, and batches."""
    teacher, batches = planted(1152)
    return teacher, batches[:16], batches[16:]


def restored(case, student, variant, **own):
    """Train a student; return how that went, and its measures."""
    teacher, train, test = case
    both = [[(each, each) for each in part] for part in (train, test)]
    how = {"steps": 150, "learning_rate": 0.003, "probe_every": 50, "queue": 256}
    pairs = [(head, head) for head in CIRCUIT]
    given = Lesson(student, teacher, *both, pairs, settings(**(how | own)))
    found = distil(given, variant=variant, seed=0)
    return found, circuit_measures(student, test, CIRCUIT, node_names(2, 2))


@pytest.mark.parametrize("variant", ["ce-heads", "matched-cka"])
def test_distillation_restores_a_planted_circuit_and_nothing_else(case, variant):
    teacher, _, test = case
    student = emptied(teacher, CIRCUIT[1:])
    assert answer_measures(student, test)["accuracy"] < 0.2
    _, measures = restored(case, student, variant, cka_weight=0.3)
    assert measures == {"accuracy": 1, "circuit_accuracy": 1, "faithfulness": 1}
    masks = head_masks(student, CIRCUIT)
    for name, weight in student.named_parameters():
        kept = ~masks.get(name, torch.zeros_like(weight, dtype=torch.bool))
        lost = head_masks(student, CIRCUIT[1:]).get(name)
        assert torch.equal(weight[kept], teacher.get_parameter(name)[kept]), name
        assert lost is None or not torch.equal(
            weight[lost], teacher.get_parameter(name)[lost]
        )


def test_cka_leads_to_the_mechanism_where_the_answers_allow_a_shortcut(case):
    teacher = case[0]
    accuracies = {}
    # Without both of its heads, answers alone teach at which positions they are.
    for variant in ("ce-heads", "matched-cka", "shuffled-cka"):
        student = emptied(teacher, CIRCUIT)
        how = {"cka_weight": 3.0, "steps": 200}
        found, measures = restored(case, student, variant, **how)
        accuracies[variant] = measures["accuracy"]
        assert (found.probes["cka"][-1] > 0.7) == (variant == "matched-cka")
    assert accuracies.pop("matched-cka") > 0.99
    assert max(accuracies.values()) < 0.9


def test_the_teachers_distribution_restores_all_that_it_answers(case):
    teacher, _, test = case
    student = copy.deepcopy(teacher)
    name = "model.layers.1.self_attn.o_proj.weight"
    student.get_parameter(name).data[head_masks(student, CIRCUIT[1:])[name]] = 0.0
    assert answer_measures(student, test)["accuracy"] < 0.2
    found, measures = restored(case, student, "logits")
    assert measures["accuracy"] == 1
    assert found.steps["logit_loss"][-1] < 0.01 * found.steps["logit_loss"][0]


def test_cka_alone_restores_what_heads_compute_but_not_what_they_write(case):
    teacher, _, test = case
    student = emptied(teacher, CIRCUIT)
    how = {"cka_weight": 1.0, "learning_rate": 0.03, "steps": 80}
    found, measures = restored(case, student, "cka-only", **how)
    assert found.probes["cka"][-1] > found.probes["cka"][0] + 0.3
    assert measures["accuracy"] < 0.2
    pairs = [(head, head) for head in CIRCUIT]
    probe = Probe(teacher, [(each, each) for each in test], pairs, "answer")
    assert probe(student)["cka"] == pytest.approx(found.probes["cka"][-1])
    assert probe(teacher)["cka"] == pytest.approx(1)


def test_a_circuit_of_other_heads_does_not_answer(case):
    teacher, _, test = case
    assert answer_measures(teacher, test)["accuracy"] == 1
    found = circuit_measures(teacher, test, ["a0.h1", "a1.h1"], node_names(2, 2))
    assert found["accuracy"] == 1 and found["circuit_accuracy"] < 0.2
    assert found["faithfulness"] == found["circuit_accuracy"]
