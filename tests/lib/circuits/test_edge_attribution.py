"""Scores of edges against the slow implementation with a stream for every reader."""

import pytest
import torch
from reference_edges import (
    ablated_outputs,
    conductances,
    edge_scores,
    run_edges,
    site_scores,
)
from reference_rules import following
from trained_model import ioi_case

from circuit_transfer.circuits import edge_products
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_steps import GRIDS
from circuit_transfer.interventions import counting
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches

METHODS = (
    *("eap", "eap-ig-inputs", "eap-ig-activations"),
    *("eap-conductance", "eap-gim"),
)
CASES = [*((family, {}) for family in sorted(ARCHITECTURES))]
CASES.append(("gpt_neox", {"use_parallel_residual": False}))


def assert_scores(actual, expected, share=1e-5):
    """Compare scores with a tolerance relative to the largest of them."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=0, atol=share * scale
    )


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_eap_is_the_gradient_of_a_mask(tiny_model, tiny_pairs, family, settings, kv):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), tiny_pairs(4)
    expected = torch.stack(
        [edge_scores(model, pair, kv) for pair in pair_batches(pairs, 1)]
    )
    settings = {"method": "eap", "by_example": True}
    found = attribute_edges(model, pair_batches(pairs, 2), graph, **settings)
    assert found.scores.dtype == found.by_example.dtype == torch.float32
    assert_scores(found.scores, expected.mean(0))
    writers, readers = map(torch.from_numpy, graph.ends)
    assert_scores(found.by_example, expected[:, writers, readers])


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_gim_is_the_gradient_of_a_mask_by_its_rules(
    tiny_model, tiny_pairs, family, settings, kv
):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), tiny_pairs(4)
    with following("gim"):
        expected = [edge_scores(model, pair, kv) for pair in pair_batches(pairs, 1)]
    batches = pair_batches(pairs, 2)
    found = attribute_edges(model, batches, graph, method="eap-gim")
    assert_scores(found.scores, torch.stack(expected).mean(0))
    plain = attribute_edges(model, batches, graph, method="eap")
    assert_scores(found.effect, plain.effect)


ORACLES = {
    "eap-ig-inputs": edge_scores,
    "eap-ig-activations": site_scores,
    "eap-conductance": conductances,
}


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(
    ("method", "grid"),
    [
        ("eap-ig-inputs", "right"),
        ("eap-ig-inputs", "left"),
        ("eap-ig-activations", "mid"),
        ("eap-conductance", "mid"),
    ],
)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_integrated_scores_equal_the_slow_implementation(
    tiny_model, tiny_pairs, family, settings, method, kv, grid
):
    assert_equals_the_oracle(tiny_model, tiny_pairs, family, settings, method, kv, grid)


# Of those families that differ in how runs are made: a norm over the heads or none.
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_grid_says_where_in_a_step_the_gradient_is_taken(
    tiny_model, tiny_pairs, family, method, grid
):
    assert_equals_the_oracle(
        tiny_model, tiny_pairs, family, {}, method, "kv-head", grid
    )


def assert_equals_the_oracle(
    tiny_model, tiny_pairs, family, settings, method, kv, grid
):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), tiny_pairs(2)
    offset = {"right": 1, "left": 0, "mid": 0.5}[grid]
    places = [(step + offset) / 3 for step in range(3)]
    oracle = ORACLES[method]
    expected = [oracle(model, pair, kv, places) for pair in pair_batches(pairs, 1)]
    settings = {"method": method, "ig_steps": 3, "grid": grid}
    found = attribute_edges(model, pair_batches(pairs, 2), graph, **settings)
    assert_scores(found.scores, torch.stack(expected).mean(0))


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize(("family", "settings"), CASES)
def test_other_ablations_ablate_the_input_too(
    tiny_model, tiny_pairs, family, settings, kv, ablation
):
    model = tiny_model(family, **settings).requires_grad_(False)
    graph, pairs = config_graph(model.config, kv), pair_batches(tiny_pairs(4), 1)
    outputs = [ablated_outputs(model, pair.clean) for pair in pairs]
    found = attribute_edges(
        model, pair_batches(tiny_pairs(4), 2), graph, method="eap", ablation=ablation
    )
    scores, effects = [], []
    for pair, own in zip(pairs, outputs, strict=True):
        ablated = {}
        for name, value in own.items():
            rows = torch.cat([each[name][0] for each in outputs])
            mean = rows.mean(0) if ablation == "mean" else torch.zeros(())
            ablated[name] = mean.expand_as(value)
        scores.append(edge_scores(model, pair, kv, ablated=ablated))
        ends = []
        for mask in (torch.ones, torch.zeros):
            mask = mask(graph.legal.shape, dtype=torch.float64)
            logits, _ = run_edges(model, pair.clean, ablated, mask, kv)
            ends.append(pair.logit_diff(logits))
        effects.append(ends[0] - ends[1])
    assert_scores(found.scores, torch.stack(scores).mean(0))
    assert_scores(found.effect, torch.cat(effects))


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_edges_of_a_node_add_up_to_its_own_score(tiny_model, tiny_pairs, family, kv):
    model = tiny_model(family).requires_grad_(False)
    graph, batches = config_graph(model.config, kv), pair_batches(tiny_pairs(5), 2)
    methods = {"eap": "nap", "eap-ig-inputs": "nap-ig-inputs"}
    for of_edges, of_nodes in methods.items():
        edges = attribute_edges(model, batches, graph, method=of_edges, ig_steps=3)
        nodes = attribute(model, batches, method=of_nodes, ig_steps=3)
        expected = torch.cat([nodes.input.double().mean()[None], nodes.mean()])
        assert_scores(edges.scores.double().sum(1), expected)
        assert_scores(edges.effect, nodes.effect)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "olmo2"])
def test_scores_by_key_are_sums_of_those_by_query(
    tiny_model, tiny_pairs, family, method
):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    graphs = {kv: config_graph(model.config, kv) for kv in KV}
    by_query, by_key = (
        attribute_edges(model, batches, graphs[kv], method=method, ig_steps=2).scores
        for kv in KV
    )
    group = model.config.num_attention_heads // model.config.num_key_value_heads
    grouped = torch.zeros_like(by_key)
    for number, reader in enumerate(graphs["query-head"].readers):
        start, _, kind = reader.partition("<")
        layer, _, head = start.partition(".h")
        if kind in ("k>", "v>"):
            reader = f"{layer}.h{int(head) // group}<{kind}"
        own = graphs["kv-head"].readers.index(reader)
        grouped[:, own] += by_query[:, number]
    assert_scores(by_key, grouped)


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_one_step_to_the_clean_run_is_eap(tiny_model, tiny_pairs, family, kv):
    model = tiny_model(family).requires_grad_(False)
    graph, batches = config_graph(model.config, kv), pair_batches(tiny_pairs(5), 3)
    eap = attribute_edges(model, batches, graph, method="eap").scores
    for method in ("eap-ig-inputs", "eap-conductance"):
        one = attribute_edges(model, batches, graph, method=method, ig_steps=1)
        assert torch.equal(one.scores, eap)


# Of these random models the way from corrupted to clean is not too curved.
@pytest.mark.parametrize("family", ["gpt2", "olmo2"])
def test_conductance_adds_up_to_the_effect_at_every_cut(tiny_model, tiny_pairs, family):
    model = tiny_model(family, layers=3).requires_grad_(False)
    graph = config_graph(model.config)
    settings = {"method": "eap-conductance", "ig_steps": 20, "grid": "mid"}
    batches = pair_batches(tiny_pairs(24), 24)
    found = attribute_edges(model, batches, graph, **settings)
    assert found.completeness == pytest.approx([1] * 4, abs=0.02)
    assert found.summary()["completeness"] == found.completeness
    eap = attribute_edges(model, batches, graph, method="eap")
    assert "completeness" not in eap.summary()


@pytest.mark.parametrize(("grid", "after_5"), [("mid", 0.05), ("right", 0.06)])
def test_conductance_of_a_trained_model_converges(grid, after_5):
    model, batches = ioi_case()
    graph = config_graph(model.config)
    for steps, tolerance in ((5, after_5), (20, 0.02)):
        settings = {"method": "eap-conductance", "ig_steps": steps, "grid": grid}
        found = attribute_edges(model, batches, graph, **settings)
        assert found.completeness == pytest.approx([1] * 7, abs=tolerance)


def test_scores_do_not_depend_on_the_basis_of_the_stream(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1)  # another weight would have a basis of its own
    generator = torch.Generator().manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(32, 32, generator=generator)).Q
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(5), 3)
    before = [
        attribute_edges(model, batches, graph, method=method).scores
        for method in METHODS
    ]
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.copy_(rotation.T @ parameter)
        elif "norm" not in name:
            parameter.copy_(parameter @ rotation)
    for method, expected in zip(METHODS, before, strict=True):
        found = attribute_edges(model, batches, graph, method=method).scores
        assert_scores(found, expected, share=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_their_order_do_not_matter(tiny_model, tiny_pairs, method):
    model = tiny_model("llama").requires_grad_(False)
    graph, pairs = config_graph(model.config), tiny_pairs(7)

    def scores(batches):
        return attribute_edges(model, batches, graph, method=method, ig_steps=2).scores

    batches = pair_batches(pairs, 2)
    expected = scores(batches)
    # To the last bit: every example has a score of its own, and their sum is exact.
    assert torch.equal(scores(batches[::-1]), expected)
    # The model itself rounds otherwise with other rows in a pass.
    for frame, size in ((pairs, 1), (pairs, 3), (pairs, 7), (pairs.reverse(), 2)):
        assert_scores(scores(pair_batches(frame, size)), expected, share=2e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_examples_take_turns_where_the_writers_of_all_are_too_many(
    tiny_model, tiny_pairs, family, method, monkeypatch
):
    model = tiny_model(family).requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(10), 5)
    settings = {"method": method, "ig_steps": 2, "by_example": True}
    expected = attribute_edges(model, batches, graph, **settings)
    # Two examples of 5 tokens, or of the 5 that are not shared, at a time.
    limit = 2 * len(graph.writers) * 5 * model.config.hidden_size
    monkeypatch.setitem(edge_products.BUFFER, "cpu", limit)
    found = attribute_edges(model, batches, graph, **settings)
    assert_scores(found.by_example, expected.by_example, share=1e-6)


@pytest.mark.parametrize("kv", KV)
def test_what_both_prompts_share_runs_once(tiny_model, tiny_pairs, kv):
    model = tiny_model("llama").requires_grad_(False)
    graph, batches = config_graph(model.config, kv), pair_batches(tiny_pairs(4), 4)

    def tokens(method):
        with counting(model) as passes:
            attribute_edges(model, batches[1:], graph, method=method, ig_steps=3)
        found = passes.summary()
        return found["tokens"], found["backward_tokens"]

    # Two pairs of 7 tokens, of which 2 are shared: these run once, and then 5 in each
    # run, of which the last layer's outputs and its MLP are for the last one only.
    part = (32 * 32 + 3 * 32 * 48) / (2 * (3 * 32 * 32 + 3 * 32 * 48))
    own = 2 * (5 - 4 * part)
    assert tokens("eap") == pytest.approx((4 + own, own), abs=1)
    assert tokens("eap-ig-inputs") == pytest.approx((4 + own, 3 * own), abs=1)
    # From the input, and from each of four sites, less and less.
    _, backward = tokens("eap-ig-activations")
    assert 3 * own < backward < 0.6 * 3 * 5 * own


class Interrupted(Resume):
    """Fails right after the second batch has been saved."""

    def __init__(self, folder):
        super().__init__(folder, {"stage": "of a test"}, seconds=0)
        self.saved = 0

    def save(self, **how):
        super().save(**how)
        self.saved += 1
        if self.saved == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_attribution_resumes_to_the_same_bytes(
    tiny_model, tiny_pairs, method, tmp_path
):
    model = tiny_model("llama").requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(7), 2)

    def run(resume):
        settings = {"method": method, "by_example": True, "resume": resume}
        return attribute_edges(model, batches, graph, **settings)

    with counting(model) as all_passes:
        expected = run(NO_RESUME)
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(tmp_path / "state"))
    with counting(model) as passes:
        found = run(Resume(tmp_path / "state", {"stage": "of a test"}))
    assert 0 < passes.forward_backwards < all_passes.forward_backwards
    for name, value in vars(expected).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(found, name), value), name
    assert found.completeness == expected.completeness


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_float32_whatever_the_model_computes_in(
    tiny_model, tiny_pairs, method, dtype
):
    model = tiny_model("llama", dtype=dtype).requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(4), 4)
    found = attribute_edges(model, batches, graph, method=method, by_example=True)
    assert found.scores.dtype == found.by_example.dtype == torch.float32
    assert not torch.equal(found.scores, found.scores.bfloat16().float())
    expected = attribute_edges(model.float(), batches, graph, method=method).scores
    # bfloat16 keeps 8 bits, and errors add up along the layers.
    assert_scores(found.scores, expected, share=0.15)


def test_scores_of_examples_average_to_the_scores(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(5), 2)
    settings = {"method": "eap", "by_example": True}
    found = attribute_edges(model, batches, graph, **settings)
    mean = graph.matrix(found.by_example.double().mean(0).numpy(), outside=0)
    assert torch.equal(torch.from_numpy(mean).float(), found.scores)
    assert attribute_edges(model, batches, graph, method="eap").by_example is None


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_layers_on_disk_are_read_for_the_scores(
    tiny_model, tiny_pairs, tiny_checkpoint, family
):
    folder = tiny_checkpoint(family)
    whole = load_model(folder, dtype="float32", device="cpu").requires_grad_(False)
    spread = {"lm_head": "cpu", "model.embed_tokens": "cpu", "model.rotary_emb": "cpu"}
    spread |= {"model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "disk"}
    parts = load_model(folder, dtype="float32", device_map=spread)
    assert parts.model.layers[1].self_attn.q_proj.weight.is_meta
    graph, batches = config_graph(whole.config), pair_batches(tiny_pairs(4), 2)
    for method in METHODS:
        found, expected = (
            attribute_edges(model, batches, graph, method=method)
            for model in (parts, whole)
        )
        assert torch.equal(found.scores, expected.scores)


def test_what_is_unknown_is_named(tiny_model):
    model = tiny_model("llama", layers=1)
    graph = config_graph(model.config)
    with pytest.raises(ValueError, match="grid middle: expected right, left, mid"):
        attribute_edges(model, [], graph, method="eap", grid="middle")
    with pytest.raises(ValueError, match="'zero' with eap-ig-inputs .* methods eap"):
        attribute_edges(model, [], graph, method="eap-ig-inputs", ablation="zero")
    with pytest.raises(ValueError, match="nap scores nodes; expected one of eap, "):
        attribute_edges(model, [], graph, method="nap")
