import torch

from circuit_transfer.models.architectures import ARCHITECTURES

FAMILIES = [(name, {}) for name in sorted(ARCHITECTURES)]
FAMILIES.append(("gpt_neox", {"use_parallel_residual": False}))


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def start_late(batches):
    """Give clean and corrupted prompts equal first tokens."""
    for batch in batches:
        batch.corrupted[:, :2] = batch.clean[:, :2]
    return batches
