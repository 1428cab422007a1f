"""A model that learns: its weights, its optimiser, and how both are saved."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from circuit_transfer.embedded.curriculum import Texts
from circuit_transfer.embedded.objective import Teacher, training_loss
from circuit_transfer.jobs.resume import optimiser_tensors, set_optimiser_


class Learner:
    """A model with its optimiser, and the teacher that it learns from, if any."""

    def __init__(self, model: PreTrainedModel, teacher: Teacher | None = None) -> None:
        """Take a model whose parameters are all trained."""
        self.model = model
        self.teacher = teacher
        # Without weight decay, which only delays the learning of lookup tasks and sums.
        self.optimiser = torch.optim.Adam(
            model.parameters(), betas=(0.9, 0.98), fused=True
        )

    def step(
        self,
        batch: Texts,
        rate: float,
        freeze: Callable[[], None] = lambda: None,
    ) -> float:
        """Train on a batch and return the loss before.

        Args:
            batch: the texts.
            rate: the learning rate.
            freeze: sets the gradients of what is not trained to zero.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = training_loss(self.model, batch, self.teacher)
        self.optimiser.zero_grad()
        loss.backward()
        freeze()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights and the moments of the optimiser by name."""
        weights = self.model.state_dict().items()
        tensors = {f"model/{name}": value for name, value in weights}
        return tensors | optimiser_tensors(self.optimiser)

    def load_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the weights and moments to those that `tensors` returned."""
        self.model.load_state_dict(
            {
                name.removeprefix("model/"): value
                for name, value in tensors.items()
                if name.startswith("model/")
            }
        )
        set_optimiser_(self.optimiser, tensors)
