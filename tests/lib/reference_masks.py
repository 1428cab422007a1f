import reference

from circuit_transfer.models.nodes import node_names

NODES = node_names(2, 4)


def reference_logits(model, batch, mask, intervention):
    """Return the answer logits by the definition, in plain float64."""
    shares = dict(zip(NODES, mask.double(), strict=True))
    _, clean = reference.run(model, batch.clean)
    _, corrupted = reference.run(model, batch.corrupted)
    ids, edit = {
        "circuit": (batch.clean, reference.mixed(shares, corrupted)),
        "interpolation": (batch.clean, reference.mixed(shares, corrupted, clean)),
        "release": (batch.corrupted, reference.pushed(shares, clean)),
    }[intervention]
    return reference.run(model, ids, edit=edit)[0][:, -1]
