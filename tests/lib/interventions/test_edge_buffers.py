import numpy as np
import pytest
import torch

from circuit_transfer.interventions.edge_buffers import Buffer, distinct


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_what_is_read_is_the_sum_of_the_kept_slots(share):
    generator = torch.Generator().manual_seed(0)
    writers, rows = np.array([0, 3, *range(5, 45)]), (2, 3, 4)
    buffer = Buffer(writers, rows, torch.zeros(1, dtype=torch.float64).expand(6))
    written = torch.randn(46, *rows, 6, generator=generator, dtype=torch.float64)
    buffer.write(np.arange(46), written)
    stream = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    kept = np.random.default_rng(0).random((2, 40, 9)) < share
    kept[..., 4] = kept[..., 2]
    columns, which = distinct(buffer.columns(kept))
    assert columns.shape[1] == 37 and which[4] == which[2]
    found = buffer.read(columns, stream)[which].unflatten(1, rows)
    stored = np.isin(np.arange(40), writers)[:, None] & kept
    weights = torch.from_numpy(stored).double()
    expected = torch.einsum("cur,ucbtd->rcbtd", weights, written[:40]) + stream
    torch.testing.assert_close(found, expected)
