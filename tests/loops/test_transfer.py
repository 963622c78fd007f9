"""Pinned batches reach a GPU on a stream of their own; everything else goes the plain way."""

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

from pytorch_lightning.loops.transfer import SideStream


@pytest.mark.parametrize(
    "batch", [torch.ones(2), {"x": [torch.ones(2), "name"]}, [pack_sequence([torch.ones(2)])], []]
)
def test_batches_that_are_not_pinned_take_the_plain_way(batch):
    transfer = SideStream(torch.device("meta"))
    transfer(batch, 0)
    assert transfer.stream is None


@pytest.mark.gpu
def test_pinned_batches_are_copied_beside_the_computation():
    device = torch.device("cuda", 0)
    transfer = SideStream(device)
    rows = torch.arange(64.0).repeat_interleave(1 << 18).reshape(64, -1)
    heavy = torch.randn(4096, 4096, device=device)
    sums = []
    for batch in DataLoader(rows, batch_size=8, pin_memory=True):
        for _ in range(20):
            heavy = (heavy @ heavy).clamp(-1, 1)  # keeps the stream of the step busy
        copied_at = torch.cuda.Event()
        moved = transfer({"x": batch}, 0)["x"]
        assert transfer.stream is not None
        copied_at.record(transfer.stream)
        copied_at.synchronize()
        sums.append((moved * 2).sum(1))
        assert moved.device == device
        if len(sums) == 8:
            assert not torch.cuda.current_stream(device).query()  # the copies did not wait for it
    found = torch.cat(sums).cpu() / (2 * rows.shape[1])
    assert torch.equal(found, torch.arange(64.0))


@pytest.mark.gpu
def test_what_holds_its_tensors_itself_stays_on_the_stream_of_the_step():
    transfer = SideStream(torch.device("cuda", 0))
    moved = transfer([pack_sequence([torch.ones(2)]).pin_memory()], 0)
    assert moved[0].is_cuda and transfer.stream is None
