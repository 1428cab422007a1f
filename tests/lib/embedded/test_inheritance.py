"""Models that are made from other ones: how they begin, fade and resume."""

import pytest
import torch
from torch.nn import functional

from circuit_transfer.embedded.curriculum import Curriculum
from circuit_transfer.embedded.fading import _Gate, fade_out
from circuit_transfer.embedded.importance import BATCHES, TEXTS, importance
from circuit_transfer.embedded.inheritance import Relative, begin
from circuit_transfer.embedded.model import TrainingSettings, build_model
from circuit_transfer.embedded.objective import Teacher, training_loss
from circuit_transfer.embedded.training import train
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.description import describe_configuration
from circuit_transfer.models.kept import Kept
from circuit_transfer.models.loading import load_model

SHAPE = {
    "architecture": "llama",
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "d_model": 16,
    "d_mlp": 16,
}
ENTRY = {
    "learning_rate": 3e-3,
    "batch_size": 8,
    "warmup_steps": 2,
    "decay_steps": 4,
    "max_steps": 10,
    "probe_every": 4,
    "required_accuracy": 0.0,
    "generators": ["ioi", "arithmetic-addition"],
}
IDS = torch.arange(4, 44).reshape(2, 20)
KEEP = {"layers": 1, "heads": 2, "d_model": 12, "d_mlp": 8}


@pytest.fixture(scope="module")
def words():
    torch.set_num_threads(1)
    return read_words("data/words.yaml", "data/facts.csv")


@pytest.fixture(scope="module")
def parent(words, tmp_path_factory):
    """A model with random weights, large enough that all of its parts matter."""
    settings = TrainingSettings(**SHAPE, **ENTRY)
    tokenizer = build_tokenizer(
        words, architecture="llama", generators=settings.generators
    )
    model = build_model(settings, tokenizer)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("parent")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Relative("parent", folder)


def entry(init=None, **more):
    return {**ENTRY, **({"init": init} if init else {}), **more}


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize(
    "init", [{"from": "parent"}, {"prune": "parent"}, {"prune": "parent", "keep": {}}]
)
def test_what_is_kept_whole_begins_as_the_parent(words, parent, init):
    beginning = begin(entry(init), words, parent, None)
    whole = load_model(parent.folder, device="cpu")
    assert torch.equal(logits(beginning.start.model), logits(whole))
    assert {key: vars(beginning.settings)[key] for key in SHAPE} == SHAPE
    nodes = beginning.lineage["nodes"]
    assert len(nodes) == 10 and all(own == of for own, of in nodes.items())
    relation = "finetuned" if "from" in init else "pruned"
    assert beginning.lineage["relation"] == relation
    assert all(each.requires_grad for each in beginning.start.model.parameters())


# The second layer's second group of heads, half of its neurons, most dimensions.
KEPT = Kept(
    layers=(1,),
    heads=((2, 3),),
    kv_heads=((1,),),
    neurons=(tuple(range(0, 16, 2)),),
    dimensions=tuple(range(12)),
)


def test_the_fade_ends_at_the_pruned_model_and_what_goes_does_not_learn(words, parent):
    beginning = begin(entry({"from": "parent"}), words, parent, None)
    model = beginning.start.model
    before = {name: each.clone() for name, each in model.state_dict().items()}
    generators = ENTRY["generators"]
    curriculum = Curriculum(words, beginning.start.tokenizer, generators, 0)
    faded = fade_out(model, lambda: KEPT, beginning.settings, curriculum, steps=6)
    torch.testing.assert_close(logits(faded.model), logits(model), rtol=1e-4, atol=1e-4)
    assert faded.record["steps"] == 6
    assert [each["step"] for each in faded.record["history"]] == [4, 6]
    after = dict(model.named_parameters())
    queries = "model.layers.{}.self_attn.q_proj.weight"
    frozen = {queries.format(0): slice(None), queries.format(1): slice(8)}
    for name, rows in frozen.items():
        assert torch.equal(after[name][rows], before[name][rows])
        # Nor does it count when gradients are clipped.
        assert after[name].grad[rows].abs().max() == 0
    own, old = after[queries.format(1)], before[queries.format(1)]
    assert (own[8:, :12] != old[8:, :12]).all()
    assert torch.equal(own[8:, 12:], old[8:, 12:])
    assert after["model.layers.0.mlp.down_proj.weight"].abs().max() == 0


def test_a_pruned_model_has_the_sizes_that_are_asked_for(words, parent):
    init = {"prune": "parent", "keep": KEEP, "fade_steps": 1}
    beginning = begin(entry(init), words, parent, None)
    described = describe_configuration(beginning.start.model.config)
    assert {key: described[key] for key in KEEP} == KEEP
    assert {key: vars(beginning.settings)[key] for key in KEEP} == KEEP
    assert described["nodes"] == [*beginning.lineage["nodes"]]


def test_what_goes_writes_with_its_share_and_is_frozen(parent):
    model = load_model(parent.folder, device="cpu").requires_grad_(True)
    attention = model.model.layers[1].self_attn
    before = {name: each.clone() for name, each in model.state_dict().items()}
    kept = Kept(
        layers=(1,),
        heads=((2, 3),),
        kv_heads=((1,),),
        neurons=(tuple(range(16)),),
        dimensions=tuple(range(16)),
    )
    gate = _Gate(model, kept)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    gate.set_(0.25)
    start = "model.layers.1.self_attn"
    output, queries = before[f"{start}.o_proj.weight"], before[f"{start}.q_proj.weight"]
    assert torch.equal(attention.o_proj.weight[:, :8], 0.25 * output[:, :8])
    assert torch.equal(attention.o_proj.weight[:, 8:], 1 + output[:, 8:])
    assert torch.equal(attention.q_proj.weight[:8], queries[:8])
    assert torch.equal(attention.q_proj.weight[8:], 1 + queries[8:])
    gone = model.model.layers[0].mlp
    written = before["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(gone.down_proj.weight, 0.25 * written)
    model(IDS, labels=IDS).loss.backward()
    gate.freeze()
    assert gone.down_proj.weight.grad.abs().max() == 0
    assert attention.o_proj.weight.grad[:, :8].abs().max() == 0
    assert attention.o_proj.weight.grad[:, 8:].abs().min() > 0


class Killed(Resume):
    """Saves every time, and is killed after some of them."""

    def __init__(self, folder, saves):
        super().__init__(folder, seconds=0)
        self.saves = saves

    def save(self, *, now=False):
        super().save(now=True)
        self.saves -= 1
        if not self.saves:
            raise KeyboardInterrupt


@pytest.mark.parametrize("saves", [1, 2, 3, 4])
def test_a_killed_pruning_ends_with_the_same_weights(words, parent, tmp_path, saves):
    """Killed in the fade, after it, and in the training that follows."""
    init = {"prune": "parent", "keep": {"heads": 2, "d_mlp": 8}, "fade_steps": 6}
    own = entry(init, distil={"temperature": 2.0})

    def made(resume=NO_RESUME):
        beginning = begin(own, words, parent, parent, resume)
        model, _, record = train(beginning.settings, words, resume, beginning.start)
        return weights(model), record, beginning.lineage

    expected, record, lineage = made()
    with pytest.raises(KeyboardInterrupt):
        made(Killed(tmp_path, saves))
    found, resumed, of_resumed = made(Resume(tmp_path, seconds=0))
    assert torch.equal(found, expected)
    assert resumed["history"] == record["history"] and of_resumed == lineage
    assert resumed["steps"] == record["steps"] == 6 + record["history"][-1]["step"]


def test_the_divergence_from_the_teacher_is_added_to_both_means(words, parent):
    model = load_model(parent.folder, device="cpu")
    beginning = begin(entry({"from": "parent"}), words, parent, None)
    generators = ENTRY["generators"]
    batch = Curriculum(words, beginning.start.tokenizer, generators, 0).batch(0, 2, 12)
    student = build_model(TrainingSettings(**SHAPE, **ENTRY), beginning.start.tokenizer)
    plain = training_loss(student, batch)
    found = training_loss(student, batch, Teacher(model, temperature=2.0, weight=0.5))
    sums, counts = [0.0, 0.0], [0, 0]
    for row in range(len(batch)):
        length = int(batch.mask[row].sum())
        ids = batch.ids[row : row + 1, :length]
        mine, theirs = student(ids).logits[0] / 2, model(ids).logits[0] / 2
        p = functional.softmax(theirs, -1)
        terms = (p * (p.log() - functional.softmax(mine, -1).log())).sum(-1)[:-1]
        answer = int(batch.answers[row]) - 1
        for number, part in enumerate((terms, terms[answer:])):
            sums[number] += part.sum()
            counts[number] += len(part)
    expected = sum(total / n for total, n in zip(sums, counts, strict=True))
    torch.testing.assert_close(found - plain, 0.5 * 4 * expected, rtol=1e-4, atol=1e-4)
    same = training_loss(model, batch, Teacher(model, weight=3.0))
    torch.testing.assert_close(same, training_loss(model, batch))


def test_neurons_and_dimensions_are_scored_by_the_gradient_of_a_gate(words, parent):
    beginning = begin(entry({"from": "parent"}), words, parent, None)
    model, tokenizer = beginning.start.model, beginning.start.tokenizer
    settings = beginning.settings
    found = importance(model, tokenizer, words, settings, {"d_mlp": 8})
    neurons, stream = torch.ones(2, 16), torch.ones(16)
    gates = [neurons.requires_grad_(), stream.requires_grad_()]
    for number, layer in enumerate(model.model.layers):
        gate = neurons[number]
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, args, gate=gate: (args[0] * gate,)
        )
        for module in (layer.mlp.down_proj, layer.self_attn.o_proj):
            module.register_forward_hook(lambda _, args, out: out * stream)
    model.model.embed_tokens.register_forward_hook(lambda _, args, out: out * stream)
    curriculum = Curriculum(words, tokenizer, settings.generators, settings.seed)
    expected = [0, 0]
    for number in range(BATCHES):
        loss = training_loss(model, curriculum.batch(number, 2, TEXTS))
        slopes = torch.autograd.grad(loss, gates, retain_graph=True)
        expected = [a + b.abs() for a, b in zip(expected, slopes, strict=True)]
    measured = torch.tensor(found.neurons), torch.tensor(found.dimensions)
    for own, slope in zip(measured, expected, strict=True):
        torch.testing.assert_close(own, slope, rtol=1e-3, atol=1e-4)
    assert {*found.nodes} == {0.0}  # of which nothing is asked


def test_heads_without_an_effect_are_not_kept(words, parent, tmp_path):
    model = load_model(parent.folder, device="cpu")
    for layer, start in ((0, 8), (1, 0)):
        model.model.layers[layer].self_attn.o_proj.weight[:, start : start + 8] = 0
    beginning = begin(entry({"from": "parent"}), words, parent, None)
    model.save_pretrained(tmp_path)
    beginning.start.tokenizer.save_pretrained(tmp_path)
    init = {"prune": "silent", "keep": {"heads": 2}, "fade_steps": 1}
    pruned = begin(entry(init), words, Relative("silent", tmp_path), None)
    assert pruned.lineage["nodes"] == {
        **{"a0.h0": "a0.h0", "a0.h1": "a0.h1", "m0": "m0"},
        **{"a1.h0": "a1.h2", "a1.h1": "a1.h3", "m1": "m1"},
    }


def test_words_that_the_parent_lacks_are_named(words, parent):
    own = entry({"from": "parent"}, generators=["ioi", "mcqa"])
    message = (
        r"generators: 'mcqa' has \d+ words that the tokenizer of 'parent' lacks: '"
    )
    with pytest.raises(ValueError, match=message):
        begin(own, words, parent, None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"architecture": "qwen2"}, r"\d+ tokens are in one alone"),
        ({"generators": ["ioi"]}, r"\d+ tokens are in one alone"),
    ],
)
def test_a_teacher_with_another_tokenizer_is_refused(words, parent, change, problem):
    own = {**SHAPE, **entry(distil={"teacher": "parent"}), **change}
    message = f"distil: the tokenizer of the teacher 'parent' .*: {problem}"
    with pytest.raises(ValueError, match=message):
        begin(own, words, None, parent)


def test_a_new_student_of_a_teacher_has_no_parent(words, parent):
    own = {**SHAPE, **entry(distil={"teacher": "parent", "weight": 2.0})}
    beginning = begin(own, words, None, parent)
    assert beginning.start.model is None
    assert beginning.start.teacher.weight == 2.0
    assert beginning.lineage == {
        "relation": "distilled",
        "parent": None,
        "teacher": "parent",
        "nodes": {},
        "parent_lineage": None,
    }


def test_sizes_that_are_not_those_of_the_parent_are_refused(words, parent):
    with pytest.raises(ValueError, match="heads: 8, but by `init` it is 4, from 'pa"):
        begin(entry({"from": "parent"}, heads=8), words, parent, None)
    own = entry({"prune": "parent", "keep": {"heads": 3}})
    with pytest.raises(ValueError, match="heads: 3, of 2 groups of 2 .* one of 2, 4"):
        begin(own, words, parent, None)
