"""DiscoGP: masks of single weights and of edges, learned together or one by one.

Every mask is open or closed in the forward pass and has the gradient of its relaxation
in the backward pass (`straight_through`). Three losses pull at it: the circuit gives
the right answers, what it leaves out does not, and it is small (arXiv 2407.03779).

Three things differ from the published code. Readers keep the token embeddings under
zero ablation, where there a norm of nothing can remain; a key or value that heads share
has one mask, not one for each head; and biases have none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.methods import implements
from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL, ZERO_NODES
from circuit_transfer.jobs.denormals import flushing_denormals
from circuit_transfer.jobs.progress import activity, progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.discogp_losses import (
    right_answer_loss,
    same_answers_loss,
    uniform_loss,
)
from circuit_transfer.pruning.discogp_settings import (
    ANSWER,
    BOTH,
    EDGES,
    JOINT,
    WEIGHTS,
    ZERO,
    DiscoGP,
    discogp_settings,
)
from circuit_transfer.pruning.discogp_training import Masks, Phase
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.learned import LearnedEdges
from circuit_transfer.pruning.weight_masks import (
    density,
    maskable_weights,
    masked_weights,
    pack_masks,
)
