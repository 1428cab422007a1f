"""Patch paths: from a head, at one position of a prompt, to what reads it there.

Path patching (Wang et al., arXiv 2211.00593, Section 3.1), with all other heads on the
way frozen and the MLPs live, as in Prakash et al. 2024 (arXiv 2402.14811, Section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from circuit_transfer.interventions.hooks import edited
from circuit_transfer.interventions.projections import edited_projections
from circuit_transfer.interventions.runs import answer_logits

Place = tuple[int, int]


@dataclass(frozen=True)
class PathRuns:
    """Two runs of the same prompts, between which single heads are exchanged.

    Attributes:
        ids: clean token ids, `(batch, position)`.
        clean: activations of all sites on them, see `hooks.captured`.
        corrupted: those on the corrupted prompts.
        positions: the position of every prompt that is patched, `(batch,)`.
    """

    ids: Tensor
    clean: Sequence[Tensor]
    corrupted: Sequence[Tensor]
    positions: Tensor


@torch.no_grad()
def path_logits(
    model: nn.Module,
    runs: PathRuns,
    senders: Sequence[Place],
    receivers: Sequence[Place] = (),
    kind: str | None = None,
) -> Tensor:
    """Return the answer logits with the paths from single heads patched.

    The prompts run with the output of one head replaced by its corrupted one, and those
    of all others by their clean ones. Without receivers that is all. Else, the prompts
    run once more, with what the receivers then read and nothing else replaced.

    Args:
        model: a causal language model.
        runs: clean and corrupted activations.
        senders: layers and numbers of the heads, patched one by one, side by side.
        receivers: layers and numbers of the heads that read them, patched together.
        kind: which of their projections reads, `q`, `k` or `v`, None without receivers.

    Returns:
        `(senders * batch, vocabulary)`.
    """
    pass_ = _Pass(runs, senders, receivers, kind)
    ids = runs.ids.repeat(len(senders), 1)
    with edited(model, pass_.freeze, range(0, len(runs.clean), 2)):
        if not receivers:
            return answer_logits(model, ids)
        with edited_projections(model, pass_.store):
            answer_logits(model, ids)
    with edited_projections(model, pass_.replace):
        return answer_logits(model, ids)


@dataclass
class _Pass:
    """What is edited in the passes of several senders."""

    runs: PathRuns
    senders: Sequence[Place]
    receivers: Sequence[Place]
    kind: str | None
    stored: dict[int, Tensor] = field(default_factory=dict)

    def freeze(self, site: int, live: Tensor) -> Tensor:
        """Return the clean outputs of a layer's heads, with the senders corrupted."""
        prompts = torch.arange(len(self.runs.ids), device=live.device)
        positions = self.runs.positions.to(live.device)
        clean, corrupted = (
            x[site].to(live) for x in (self.runs.clean, self.runs.corrupted)
        )
        frozen = clean.repeat(len(self.senders), 1, 1, 1)
        by_sender = frozen.unflatten(0, (len(self.senders), -1))
        for number, (layer, head) in enumerate(self.senders):
            if 2 * layer == site:
                place = prompts, positions, head
                by_sender[number][place] = corrupted[place]
        return frozen

    def store(self, layer: int, kind: str, value: Tensor) -> Tensor:
        """Store what the receivers of a layer read."""
        if self._heads(layer, kind):
            self.stored[layer] = value[self._place(layer, kind, value)]
        return value

    def replace(self, layer: int, kind: str, value: Tensor) -> Tensor:
        """Return what a layer reads, with what was stored for its receivers."""
        if not self._heads(layer, kind):
            return value
        value = value.clone()
        value[self._place(layer, kind, value)] = self.stored[layer]
        return value

    def _heads(self, layer: int, kind: str) -> list[int]:
        """Return the numbers of the receivers of a layer by one of its projections."""
        here = [head for depth, head in self.receivers if depth == layer]
        return here if kind == self.kind else []

    def _place(self, layer: int, kind: str, value: Tensor) -> tuple[Tensor, ...]:
        """Return where a projection has the receivers, at the patched position."""
        rows = torch.arange(len(value), device=value.device)
        positions = self.runs.positions.to(value.device).repeat(len(self.senders))
        heads = torch.tensor(self._heads(layer, kind), device=value.device)
        return rows[:, None], positions[:, None], heads
