"""Evaluation and prediction on several ranks: each sample once, in order, and no waiting."""

import os
import warnings
from collections import Counter

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.strategies import DDPStrategy


class Numbers(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.tensor([float(index)], dtype=torch.float64)


class Sees(pl.LightningModule):
    """Remembers what it is given, and logs a mean that is not linear in the batches."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, dtype=torch.float64)
        self.seen, self.indices = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.flatten().tolist())
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.seen.append(batch.flatten().tolist())
        self.indices.append(batch_idx)
        self.log("square", (batch**2 / 7).mean(), sync_dist=True)

    def test_step(self, batch, batch_idx):
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return batch.flatten() * 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def world():
    return int(os.environ["WORLD_SIZE"])


def quiet(**options):
    return pl.Trainer(
        accelerator="cpu",
        devices=world(),
        **{"strategy": "ddp" if world() > 1 else "auto", **options},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _all_cells():
    torch.set_default_dtype(torch.float64)  # also of values that a rank has no batch for
    trainer, found = quiet(), {}
    for n in range(1, 14):
        for size in (1, 2, 3, 5):
            module, loader = Sees(), DataLoader(Numbers(n), batch_size=size)
            validated = trainer.validate(module, loader, verbose=False)[0]["square"]
            seen = list(module.seen)
            tested = trainer.test(module, loader, verbose=False)[0]["square"]
            predicted = [p.tolist() for p in trainer.predict(module, loader)]
            found[n, size] = (seen, validated, tested, predicted)
    return found


def alone(n, size):
    batches = [list(range(n))[i : i + size] for i in range(0, n, size)]
    mean = sum(i * i / 7 for i in range(n)) / n
    return batches, mean


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_number_of_samples_and_ranks_is_as_with_one_process(ranks):
    found = run_ranks(_all_cells, ranks, limit=120)
    for n, size in found[0]:
        batches, mean = alone(n, size)
        for rank, of_rank in enumerate(found):
            seen, validated, tested, predicted = of_rank[n, size]
            assert seen == batches[rank::ranks]
            assert validated == pytest.approx(mean, abs=1e-12, rel=1e-12)
            assert tested == pytest.approx(mean, abs=1e-12, rel=1e-12)
            assert predicted == [[2.0 * i for i in batch] for batch in batches]


# --- what is dealt, and what stays the user's ---------------------------------------------------


class Writes(BasePredictionWriter):
    def __init__(self):
        super().__init__("batch_and_epoch")
        self.batches, self.epoch = [], None

    def write_on_batch_end(self, trainer, module, prediction, indices, batch, batch_idx, loader):
        self.batches.append((loader, batch_idx, list(indices), prediction.tolist()))

    def write_on_epoch_end(self, trainer, module, predictions, batch_indices):
        self.epoch = ([p.tolist() for p in predictions[0]], [list(i) for i in batch_indices[0]])


def _predictions():
    writer = Writes()
    trainer = quiet(callbacks=[writer])
    loaders = [
        DataLoader(Numbers(5), batch_size=2, drop_last=True),
        [torch.tensor([float(os.environ["RANK"])])],
        DataLoader(Numbers(1)),
    ]
    both = trainer.predict(Sees(), loaders)
    assert trainer.predict_dataloaders is loaders
    kept = trainer.predict_loop.predictions
    nothing = trainer.predict(Sees(), loaders, return_predictions=False)
    plain = [[p.tolist() for p in loader] for loader in both]
    return plain, writer.batches[:3], writer.epoch, [len(loader) for loader in kept], nothing


def test_predictions_of_several_loaders_and_what_writers_get():
    (both0, batches0, epoch0, kept0, nothing0), (both1, batches1, epoch1, kept1, _) = run_ranks(
        _predictions, 2
    )
    assert both0[0] == both1[0] == [[0.0, 2.0], [4.0, 6.0], [8.0]]
    assert (both0[1], both1[1]) == ([[0.0]], [[2.0]])  # ranks read a list by themselves
    assert both0[2] == both1[2] == [[0.0]]
    assert batches0 == [(0, 0, [0, 1], [0.0, 2.0]), (0, 1, [4], [8.0]), (1, 0, [], [0.0])]
    assert batches1 == [(0, 0, [2, 3], [4.0, 6.0]), (1, 0, [], [2.0])] + batches1[2:]
    assert epoch0 == ([[0.0, 2.0], [8.0]], [[0, 1], [4]])
    assert epoch1 == ([[4.0, 6.0]], [[2, 3]])
    assert (kept0, kept1, nothing0) == ([2, 1, 1], [1, 1, 0], None)


def _train(options):
    torch.manual_seed(int(os.environ["RANK"]))
    data = Numbers(11)
    loader = DataLoader(data, batch_size=2, **_OWN[options.pop("loader")](data))
    trainer, module = quiet(max_epochs=2, **options), Sees()
    trainer.fit(module, loader)
    assert trainer.train_dataloader is loader or trainer.overfit_batches
    return module.seen, trainer.num_training_batches, trainer.distributed_sampler_kwargs


_OWN = {
    "in order": lambda data: {},
    "shuffled": lambda data: {"shuffle": True},
    "weighted": lambda data: {"sampler": WeightedRandomSampler([1.0] * 11, 22)},
}


@pytest.mark.parametrize("kind", ["in order", "shuffled", "weighted"])
def test_training_deals_in_the_order_of_the_users_sampler(kind):
    (seen0, count0, where0), (seen1, count1, where1) = run_ranks(_train, 2, {"loader": kind})
    assert count0 == count1 == len(seen0) / 2 == len(seen1) / 2
    assert (where0["rank"], where1["rank"], where0["num_replicas"]) == (0, 1, 2)
    if kind == "weighted":
        return
    epochs = [sum(seen0[:3] + seen1[:3], []), sum(seen0[3:] + seen1[3:], [])]
    for epoch in epochs:
        assert set(epoch) == set(range(11)) and len(epoch) == 12
    assert (epochs[0] == epochs[1]) == (kind == "in order")
    if kind == "in order":
        assert seen0[:3] == [[0, 2], [4, 6], [8, 10]]


def test_who_reads_each_part_alone_can_say_so():
    for seen, count, _ in run_ranks(
        _train, 2, {"loader": "in order", "use_distributed_sampler": False}
    ):
        assert count == 6 and sum(seen[:6], []) == list(range(11))


def test_overfitting_reads_the_same_batches_in_order():
    ranks = run_ranks(_train, 2, {"loader": "shuffled", "overfit_batches": 2})
    assert [seen for seen, _, _ in ranks] == [[[0, 2], [4, 6]] * 2, [[1, 3], [5, 7]] * 2]


def _limits(options):
    trainer, module = quiet(**options), Sees()
    trainer.validate(module, DataLoader(Numbers(7)), verbose=False)
    return module.seen, trainer.num_val_batches


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit_val_batches": 2}, [[[0], [2]], [[1], [3]]]),
        ({"limit_val_batches": 0.5}, [[[0], [2]], [[1], [3]]]),
        (
            {"use_distributed_sampler": "pad"},
            [[[0], [2], [4], [6]], [[1], [3], [5], [0]]],
        ),
    ],
)
def test_limits_count_per_rank_and_padding_comes_back(options, expected):
    found = run_ranks(_limits, 2, options)
    assert [seen for seen, _ in found] == expected
    assert [lengths for _, lengths in found] == [[len(part)] for part in expected]


def _same_stream():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quiet(max_epochs=2).fit(Sees(), [Numbers(2)[0].unsqueeze(0)] * 2)
    return sum("All ranks read the same samples" in str(w.message) for w in said)


def _another_order():
    generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
    loader = DataLoader(Numbers(9), shuffle=True, generator=generator)
    try:
        quiet(max_epochs=1).fit(Sees(), loader)
    except Exception as error:
        return str(error)


def test_ranks_compare_what_they_read():
    assert run_ranks(_same_stream, 2) == [1, 0]
    for text in run_ranks(_another_order, 2):
        assert "Rank 1 draws another order of samples" in text and "`RandomSampler`" in text


# --- a last round in which some ranks have no batch ---------------------------------------------


class Collective(Sees):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def validation_step(self, batch, batch_idx):
        if self.call == "module":
            self.all_gather(batch.sum())
        elif self.call == "strategy":
            self.trainer.strategy.reduce(batch.sum())
        elif self.call == "torch":
            dist.all_reduce(batch.clone())
        elif self.call == "object":
            dist.all_gather_object([None] * world(), batch_idx)
        self.seen.append(batch.flatten().tolist())


def _ragged(call):
    found = []
    for n in (4, 5):
        module = Collective(call)
        try:
            quiet().validate(module, DataLoader(Numbers(n)), verbose=False)
            found.append(("ended", module.seen))
        except Exception as error:
            found.append((str(error), module.seen))
            break
    return found


@pytest.mark.parametrize("call", ["module", "strategy", "torch", "object"])
def test_a_collective_in_the_step_of_a_ragged_round_fails_at_once(call):
    fine, failed = outcomes_of_ranks(_ragged, 2, call, limit=20)[0][1]
    assert fine == ("ended", [[0], [2]])
    text, seen = failed
    assert seen == [[0], [2]]
    assert "Rank 0, batch 2: `validation_step` calls" in text
    assert "use_distributed_sampler='pad'" in text


class Talks(DDPStrategy):
    """The forward of its modules communicates, as that of a sharded module does."""

    forward_communicates = True


class Together(Sees):
    def __init__(self, verb=False):
        super().__init__()
        self.verb = verb
        self.calls = 0
        self.totals = {"batches": 0}
        self.register_buffer("count", torch.zeros(()))
        self.sum = torch.zeros(())

    def validation_step(self, batch, batch_idx):
        _CALLS.append(batch.flatten().tolist())
        dist.all_reduce(torch.ones(1))  # what the forward does
        if self.verb:
            self.all_gather(batch)
        self.calls += 1
        self.count += 1
        self.sum += 1
        self.totals["batches"] += 1
        self.new = torch.rand((), dtype=torch.float64)
        super().validation_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        dist.all_reduce(torch.ones(1))
        return super().predict_step(batch, batch_idx)


_CALLS = []


def _idle(n):
    _CALLS.clear()
    torch.set_default_dtype(torch.float64)
    trainer, module = quiet(strategy=Talks()), Together()
    torch.manual_seed(int(os.environ["RANK"]))
    value = trainer.validate(module, DataLoader(Numbers(n), batch_size=2), verbose=False)
    draw = torch.rand((), dtype=torch.float64).item()
    counts = (module.calls, module.count.item(), module.sum.item(), module.totals["batches"])
    predicted = trainer.predict(module, DataLoader(Numbers(n), batch_size=2))
    plain = [p.tolist() for p in predicted]
    return module.seen, list(_CALLS), counts, value, plain, draw


@pytest.mark.parametrize(("n", "repeated"), [(5, [2, 3]), (2, [0, 1])])
def test_where_the_forward_communicates_an_idle_rank_takes_part_without_a_trace(n, repeated):
    both = run_ranks(_idle, 2, n, limit=30)
    batches, mean = alone(n, 2)
    for rank, (seen, calls, counts, value, predicted, draw) in enumerate(both):
        own = batches[rank::2]
        assert seen == own
        assert calls == own + ([repeated] if rank == 1 else [])
        assert set(counts) == {len(own)}
        assert value[0]["square"] == pytest.approx(mean, abs=1e-12)
        assert predicted == [[2.0 * i for i in batch] for batch in batches]
        torch.manual_seed(rank)
        torch.empty((), dtype=torch.int64).random_()  # the loader's, for workers
        for _ in own:
            torch.rand((), dtype=torch.float64)
        assert draw == torch.rand((), dtype=torch.float64).item()


def _verb_where_all_take_part():
    module = Together(verb=True)
    try:
        quiet(strategy=Talks()).validate(module, DataLoader(Numbers(3)), verbose=False)
    except Exception as error:
        return str(error)


def test_verbs_of_ours_are_refused_there_too():
    for text in run_ranks(_verb_where_all_take_part, 2, limit=20):
        assert "`validation_step` calls `strategy.all_gather`" in text


# --- an epoch that other ranks go on with -------------------------------------------------------


class Saves(Sees):
    def __init__(self, path=None):
        super().__init__()
        self.path, self.epochs = path, {}

    def training_step(self, batch, batch_idx):
        self.epochs.setdefault(self.current_epoch, []).append(batch.flatten().tolist())
        return self.layer(batch).mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 1 and self.path is not None:
            self.trainer.save_checkpoint(self.path)

    def on_validation_start(self):
        self.validated_at = self.trainer.global_step


def _begin(path, options):
    module = Saves(path)
    quiet(max_epochs=1, **options).fit(module, DataLoader(Numbers(24), batch_size=2, shuffle=True))
    return module.epochs[0][:2]


def _go_on(path, options):
    torch.manual_seed(99)
    trainer, module = quiet(max_epochs=2, **options), Saves()
    loader = DataLoader(Numbers(24), batch_size=2, shuffle=True)
    trainer.fit(module, loader, DataLoader(Numbers(3)), ckpt_path=path)
    return module.epochs, trainer.num_training_batches, trainer.global_step, module.validated_at


@pytest.mark.parametrize(
    ("before", "now", "left", "steps"),
    [(1, 2, 5, (1, 3, 3)), (2, 1, 8, (1, 4, 6)), (2, 3, 3, (1, 2, 2))],
)
def test_other_ranks_train_what_is_left_of_an_epoch(tmp_path, before, now, left, steps):
    """24 samples in batches of 2; after two batches of each rank others go on."""
    path = str(tmp_path / "begun.ckpt")
    options = {"accumulate_grad_batches": 2, "num_sanity_val_steps": 0}
    seen = Counter(i for rank in run_ranks(_begin, before, path, options) for b in rank for i in b)
    assert set(seen.values()) == {1} and len(seen) == 4 * before
    for epochs, length, step, validated_at in (found := run_ranks(_go_on, now, path, options)):
        assert len(epochs[0]) == left and len(epochs[1]) == length == 12 // now
        assert step == validated_at == sum(steps)
    rest = Counter(i for epochs, *_ in found for batch in epochs[0] for i in batch)
    assert set(rest) | set(seen) == set(range(24))
    assert sum((rest + seen).values()) - 24 == (2 if now == 3 else 0)  # the last round is padded
    second = [i for epochs, *_ in found for batch in epochs[1] for i in batch]
    assert sorted(second) == list(range(24))


class Forwards(Sees):
    """Its steps gather its weights."""

    def validation_step(self, batch, batch_idx):
        self(batch)
        super().validation_step(batch, batch_idx)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch)
        return super().predict_step(batch, batch_idx)

    def forward(self, batch):
        return self.layer(batch)


def _sharded():
    module = Forwards()
    trainer = quiet(strategy="fsdp", precision="64-true")
    found = []
    for n in (5, 1):  # one rank repeats a batch; one has none at all
        loader = DataLoader(Numbers(n), batch_size=2)
        value = trainer.validate(module, loader, verbose=False)[0]["square"]
        found.append((value, [p.tolist() for p in trainer.predict(module, loader)]))
    return module.seen, found


def test_a_sharded_module_is_evaluated_on_a_ragged_round():
    both = run_ranks(_sharded, 2, limit=40)
    assert [seen for seen, _ in both] == [[[0, 1], [4], [0]], [[2, 3]]]
    for _, found in both:
        for n, (value, predicted) in zip((5, 1), found, strict=True):
            batches, mean = alone(n, 2)
            assert value == pytest.approx(mean, abs=1e-12)
            assert predicted == [[2.0 * i for i in batch] for batch in batches]
