"""Find circuits in language models, transfer them, and evaluate their faithfulness.

Symbols used in docstrings:
    batch, position, d_model, d_head    sizes of a model's activations
    n_nodes     layers * (heads + 1): every attention head and every MLP block
    n_source, n_target                  `n_nodes` of the two models of a transfer
    site        a hook point for nodes: the heads of a layer together, or its MLP
    width       numbers per node at a site: d_head for a head, d_model for an MLP
"""
