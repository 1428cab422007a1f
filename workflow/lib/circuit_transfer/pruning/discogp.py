"""DiscoGP: masks of single weights and of edges, learned together or one by one.

Every mask is open or closed in the forward pass and has the gradient of its relaxation
in the backward pass (`straight_through`). Three losses pull at it: the circuit gives
the right answers, what it leaves out does not, and it is small (arXiv 2407.03779).

Three things differ from the published code. Readers keep the token embeddings under
zero ablation, where there a norm of nothing can remain; a key or value that heads share
has one mask, not one for each head; and biases have none.
"""
