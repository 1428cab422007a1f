"""The memory of soft passes, which one after the other uses.

New memory costs a fault for every page that is touched: a tenth of a training's step.
"""

import math
from collections.abc import Sequence

from torch import Tensor


class Storage:
    """Memory by name, which stays from one pass to the next.

    Attributes:
        passes: how many have begun, so that an earlier one can tell that it is over.
    """

    def __init__(self):
        """Hold nothing yet."""
        self._held: dict[tuple[str, ...], Tensor] = {}
        self.passes = 0

    def room(self, name: tuple[str, ...], shape: Sequence[int], like: Tensor) -> Tensor:
        """Return memory of a shape, that of the last pass if it is large enough.

        Args:
            name: what it is for; of each name a pass takes one.
            shape: of the tensor.
            like: a tensor of the same type and device.
        """
        size, held = math.prod(shape), self._held.pop(name, None)
        fits = held is not None and len(held) >= size
        if not fits or (held.dtype, held.device) != (like.dtype, like.device):
            held = None  # freed before there is more
            held = like.new_empty(size)
        self._held[name] = held
        return held[:size].view(*shape)
