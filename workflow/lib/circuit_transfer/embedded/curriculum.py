"""The training texts of an embedded model, in levels of increasing difficulty.

Models learn lookup tasks abruptly and late, and not at all with four options from the
start. So lookup tasks start with two options, and training proceeds to the next level
when the model passes the current one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuit_transfer.generators import (
    GENERATORS,
    Words,
    draw_pairs,
)

# The numbers of options in each level, and the mean probe accuracy on the lookup tasks
# at which it ends. The last level ends when every lookup task reaches its accuracy.
LEVELS = ((2,), (2, 3), (4,))
PASSED = (0.85, 0.7, 0.85)
# Prompts are drawn in pools, which is faster than one by one; a new pool is drawn every
# `POOL_STEPS` steps.
POOL_SIZE = 2000
POOL_STEPS = 500
PROBES = 200
# Or as many as a generator has, if fewer.
HELD_OUT = 500


@dataclass(frozen=True)
class Texts:
    """Prompts with their answers, as token ids padded on the right.

    Attributes:
        ids: `(text, position)`.
        mask: `(text, position)`, false where `ids` is padding.
        answers: `(text,)`, the position of the first token of the answer, which ends
            with the text.
    """

    ids: Tensor
    mask: Tensor
    answers: Tensor

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.answers)

    def __getitem__(self, rows: Tensor | slice) -> "Texts":
        """Return some of the texts, without positions that only contain padding."""
        mask = self.mask[rows]
        longest = int(mask.sum(1).max())
        return Texts(self.ids[rows, :longest], mask[:, :longest], self.answers[rows])

    @property
    def of_answer(self) -> Tensor:
        """`(text, position)`, true where `ids` is part of the answer."""
        positions = torch.arange(self.ids.shape[1])
        return (positions >= self.answers[:, None]) & self.mask

    def by_length(self, parts: int) -> list["Texts"]:
        """Split into parts of similar length, which need less padding."""
        order = self.mask.sum(1).argsort(stable=True)
        return [self[rows] for rows in order.chunk(parts)]


class Curriculum:
    """The training texts of a set of generators, all from groups of the train split."""

    def __init__(
        self,
        words: Words,
        tokenizer: PreTrainedTokenizerFast,
        generators: Sequence[str],
        seed: int,
    ) -> None:
        """Set up the curriculum, without drawing any text."""
        self.generators = tuple(generators)
        self.lookups = [name for name in generators if GENERATORS[name].lookup]
        self.first_level = 0 if self.lookups else len(LEVELS) - 1
        self._words, self._tokenizer, self._seed = words, tokenizer, seed
        self._pool = lru_cache(maxsize=1)(self._draw_pool)
        self.probes = lru_cache(maxsize=1)(self._draw_probes)

    def batch(self, step: int, level: int, size: int) -> Texts:
        """Return the texts of a step, determined by seed, step and level."""
        pool, weights = self._pool(level, step // POOL_STEPS)
        rng = np.random.default_rng([self._seed, step, level])
        return pool[torch.from_numpy(rng.choice(len(pool), size=size, p=weights))]

    def held_out(self) -> dict[str, Texts]:
        """Return distinct prompts of the test split by generator."""
        texts = {}
        for name in self.generators:
            drawn = self._draw(name, LEVELS[-1], 10 * HELD_OUT, "held-out", "test")
            texts[name] = self._texts(list(dict.fromkeys(drawn))[:HELD_OUT])
        return texts

    def passes(self, level: int, accuracies: Mapping[str, float]) -> bool:
        """Return whether a model with these probe accuracies passes the level."""
        lookups = [accuracies[name] for name in self.lookups]
        if not lookups:
            return True
        last = level == len(LEVELS) - 1
        accuracy = min(lookups) if last else sum(lookups) / len(lookups)
        return accuracy >= PASSED[level]

    def _draw_probes(self, level: int) -> dict[str, Texts]:
        """Draw texts with the largest number of options of a level, by generator."""
        most = max(LEVELS[level])
        return {
            name: self._texts(self._draw(name, (most,), PROBES, "probe"))
            for name in self.generators
        }

    def _draw_pool(self, level: int, number: int) -> tuple[Texts, np.ndarray]:
        """Draw a pool of texts; return it with their sampling probabilities."""
        rows = [
            row
            for name in self.generators
            for row in self._draw(name, LEVELS[level], POOL_SIZE, f"{level}/{number}")
        ]
        pool = self._texts(rows)
        # All generators get the same number of tokens, so that short prompts are drawn
        # more often: sums need the most examples and are the shortest.
        lengths = pool.mask.sum(1).reshape(len(self.generators), -1).double().numpy()
        weights = np.broadcast_to(1 / lengths.mean(1, keepdims=True), lengths.shape)
        return pool, (weights / weights.sum()).flatten()

    def _draw(
        self,
        name: str,
        options: Sequence[int],
        count: int,
        purpose: str,
        split: str = "train",
    ) -> list[tuple[str, str]]:
        """Draw clean prompts with answers, equally many for each number of options."""
        if not GENERATORS[name].lookup:
            options = options[:1]
        return [
            (pair.clean, pair.answer)
            for number in options
            for pair in islice(
                draw_pairs(
                    name,
                    self._words,
                    split,
                    Random(f"{name}/{number}/{purpose}/{self._seed}"),
                    options=number,
                ),
                count // len(options),
            )
        ]

    def _texts(self, rows: Sequence[tuple[str, str]]) -> Texts:
        prompts, answers = zip(*rows, strict=True)
        prompts = self._tokenizer(list(prompts)).input_ids
        answers = self._tokenizer(list(answers), add_special_tokens=False).input_ids
        joined = [
            torch.tensor(prompt + answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(joined, batch_first=True)
        lengths = torch.tensor([len(ids) for ids in joined])
        return Texts(
            ids=padded,
            mask=torch.arange(padded.shape[1]) < lengths[:, None],
            answers=torch.tensor([len(ids) for ids in prompts]),
        )
