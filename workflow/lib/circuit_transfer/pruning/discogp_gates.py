"""The gates of DiscoGP: one logit for every weight and every edge that has a mask."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from circuit_transfer.pruning.discogp_settings import DiscoGP
from circuit_transfer.pruning.straight_through import logistic_noise, straight_through

WEIGHT, EDGE = "weight", "edge"
# Standard deviation of the logits at the start.
DEVIATION = 0.01


class Gates:
    """Logits by kind and name, float32; those of edges have the name `edge`.

    Attributes:
        logits: by kind, then by name.
    """

    def __init__(
        self,
        shapes: Mapping[str, Mapping[str, Sequence[int]]],
        settings: DiscoGP,
        seed: int,
        device: torch.device,
    ):
        """Draw the logits at the start.

        Args:
            shapes: of all logits, by kind and name.
            settings: how they are learned.
            seed: of all that is drawn.
            device: of all tensors.
        """
        self.settings, self.seed = settings, seed
        self._generator = torch.Generator(device)
        self._reseed(0)
        self.logits = {
            kind: {
                name: self._start(kind, shape).requires_grad_()
                for name, shape in named.items()
            }
            for kind, named in shapes.items()
        }

    def parameters(self, kind: str) -> list[Tensor]:
        """Return the logits of a kind."""
        return [*self.logits.get(kind, {}).values()]

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all logits with names that differ."""
        for kind, named in self.logits.items():
            yield from ((f"{kind}/{name}", each) for name, each in named.items())

    def drawn(self, kinds: Sequence[str], step: int) -> dict[str, dict[str, Tensor]]:
        """Return random gates of some kinds, the same ones in the same step.

        Args:
            kinds: `weight` or `edge`, or both.
            step: number of the step, from 0.
        """
        self._reseed(1 + step)
        return {
            kind: {
                name: straight_through(
                    logits,
                    logistic_noise(logits.shape, self._generator),
                    getattr(self.settings, f"{kind}_temperature"),
                )
                for name, logits in self.logits[kind].items()
            }
            for kind in kinds
        }

    def hard(self, kind: str) -> dict[str, Tensor]:
        """Return which gates of a kind are open without noise, bool."""
        return {name: each.detach() > 0 for name, each in self.logits[kind].items()}

    def mean(self, kind: str) -> Tensor:
        """Return the mean probability of a kind's gates to be open."""
        parts = self.parameters(kind)
        total = sum(torch.sigmoid(each).sum() for each in parts)
        return total / sum(each.numel() for each in parts)

    def _start(self, kind: str, shape: Sequence[int]) -> Tensor:
        mean = getattr(self.settings, f"{kind}_init")
        device = self._generator.device
        drawn = torch.randn(tuple(shape), generator=self._generator, device=device)
        return mean + DEVIATION * drawn

    def _reseed(self, number: int) -> None:
        """Seed the generator by the step, so that a resumed run draws the same."""
        # Seeds below a million steps apart do not meet.
        self._generator.manual_seed(self.seed * 1_000_003 + number)
