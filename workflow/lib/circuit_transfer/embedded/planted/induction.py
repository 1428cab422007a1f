"""Construction B: an induction head, whose meaning is known, in a Llama.

Of the prompt `x a b y c d z a` a head of the first layer copies the code of every
letter to the position after it. The head of the second layer looks for the position
whose copied code is that of the last letter, and its letter is the answer: `b`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_transfer.embedded.planted.basis import Basis
from circuit_transfer.embedded.planted.blank import Planter, Sizes, blank_model
from circuit_transfer.embedded.planted.heads import attend_back
from circuit_transfer.embedded.planted.model import Planted
from circuit_transfer.embedded.planted.settings import Induction
from circuit_transfer.generators.planted import LETTERS, MIX
from circuit_transfer.models.edges import KV

COPY = ("input->a0.h0<v>", "a0.h0->a1.h0<k>")
QUERY, VALUE, ANSWER = "input->a1.h0<q>", "input->a1.h0<v>", "a1.h0->logits"
CIRCUITS = {
    MIX: (*COPY, QUERY, VALUE, ANSWER),
    "query": (QUERY, ANSWER),
    "key": (*COPY, ANSWER),
    "value": (VALUE, ANSWER),
}
SIZES = Sizes(Induction.layers, Induction.heads, kv_heads=1, width=64, d_mlp=24)
D_HEAD, D_CODE, D_UNREAD = 16, 8, 3
# So slow that the last pairs of a head, on which the codes are compared, do not turn.
THETA = 1e12
SLOW = [4, 5, 6, 7, 12, 13, 14, 15]
# Of the letter that the head attends to.
LOGIT = 5.0


def plant_induction(settings: Induction, tokens: dict[str, int]) -> Planted:
    """Build a model whose second layer has an induction head.

    Its other head and the MLPs read everything and write what nothing reads.

    Args:
        settings: see `Induction`.
        tokens: the vocabulary, with the words of the generator `planted-induction`.
    """
    rope = {"rope_type": "default", "rope_theta": THETA}
    vocabulary = max(tokens.values()) + 1
    settings_of_heads = {"head_dim": D_HEAD, "rope_parameters": rope}
    model = blank_model("llama", SIZES, vocabulary, **settings_of_heads)
    random = torch.Generator().manual_seed(settings.seed)
    basis = Basis(SIZES.width, random)
    planter = Planter(model, basis, settings.constant)
    letters = [tokens[letter] for letter in LETTERS]
    code, letter, copied, out = (
        basis.subspace(size) for size in (D_CODE, len(LETTERS), D_CODE, len(LETTERS))
    )
    embedding = torch.zeros(vocabulary, SIZES.width, dtype=torch.float64)
    embedding[letters] = letter_codes() @ code.T + letter.T
    planter.embed(embedding)
    unembedding = torch.zeros_like(embedding)
    unembedding[letters] = LOGIT * out.T
    planter.unembed(unembedding)

    rest = _Rest(planter, random, [code, letter])
    query, key = attend_back(planter.one(0), D_HEAD, steps=1)
    value = at(range(D_CODE)) @ code.T
    rest.add_layer(0, {"q": query, "k": key, "v": value}, copied @ at(range(D_CODE)).T)
    rest.read.append(copied)
    query = settings.sharpness * at(SLOW) @ code.T
    reads = {"q": query, "k": at(SLOW) @ copied.T, "v": letter.T}
    rest.add_layer(1, reads, out)
    circuits = {kind: dict.fromkeys(KV, edges) for kind, edges in CIRCUITS.items()}
    return Planted(model, circuits)


def letter_codes() -> Tensor:
    """Return the codes of the letters, `(16, 8)`: orthogonal to, or minus, each other.

    The rows of a Hadamard matrix, and their negatives.
    """
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    rows = torch.kron(two, torch.kron(two, two))
    return torch.cat([rows, -rows])


def at(places: Sequence[int]) -> Tensor:
    """Return the matrix that puts numbers at places of a head, `(16, numbers)`."""
    return torch.eye(D_HEAD, dtype=torch.float64)[:, list(places)]


class _Rest:
    """The other head and the MLP of every layer: nothing reads what they write."""

    def __init__(
        self, planter: Planter, random: torch.Generator, read: list[Tensor]
    ) -> None:
        self.planter, self.random, self.read = planter, random, read

    def add_layer(self, layer: int, reads: dict[str, Tensor], writes: Tensor) -> None:
        """Plant a layer whose first head reads and writes what is given."""
        planter = self.planter
        queries = torch.stack([reads["q"], self._anything(D_HEAD)])
        shared = {kind: reads[kind][None] for kind in "kv"}
        planter.set_attention(layer, {"q": queries, **shared})
        planter.set_heads(layer, torch.stack([writes, self._unread(D_HEAD)]))
        gates = [self._anything(SIZES.d_mlp) for _ in range(planter.mlp_reads)]
        planter.set_mlp(layer, torch.stack(gates), self._unread(SIZES.d_mlp))

    def _anything(self, rows: int) -> Tensor:
        """Return what reads all subspaces so far, `(rows, width)`."""
        read = torch.cat(self.read, dim=1)
        return self._normal(rows, read.shape[1]) @ read.T / read.shape[1] ** 0.5

    def _unread(self, columns: int) -> Tensor:
        """Return what writes to a new subspace, `(width, columns)`."""
        written = self.planter.basis.subspace(D_UNREAD)
        self.read.append(written)
        return written @ self._normal(D_UNREAD, columns) / columns**0.5

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random, dtype=torch.float64)
