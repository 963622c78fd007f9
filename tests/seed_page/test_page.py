"""Every code block of the founding page runs as printed."""

import copy
from pathlib import Path

import pytest
import torch
from tests.seed_page.page import PAGE, blocks, install_torchvision
from torch.utils.data import DataLoader

import pytorch_lightning as pl

BLOCKS = blocks(PAGE.read_text())
LEFT_OUT = {
    "pip install pytorch-lightning\n",
    "conda install pytorch-lightning -c conda-forge\n",
}
# Blocks that show methods alone: as a class with nothing else in it, or as bare functions.
GRAFTS = {"backward": ("backward",), "forward": ("forward",), "training_step": ("training_step",)}


@pytest.fixture
def offline(monkeypatch):
    install_torchvision(monkeypatch)
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "2")


def run(namespace, block):
    exec(block.compile(), namespace)


def shown_alone(block):
    """The names of methods that a block shows without the class they belong to."""
    namespace = {"pl": pl}
    if not block.source.startswith(("class ", "def ")):
        return ()
    exec(block.compile(), namespace)
    made = namespace.get("LitAutoEncoder")
    if made is None:
        return tuple(name for name in namespace if name not in ("pl", "__builtins__"))
    names = tuple(name for name in vars(made) if not name.startswith("__"))
    return () if "training_step" in names else names


def first_class(namespace):
    """Run the page up to its first class, and give the class."""
    for block in BLOCKS:
        if block.source not in LEFT_OUT:
            run(namespace, block)
        if "LitAutoEncoder" in namespace:
            return namespace["LitAutoEncoder"]
    raise AssertionError("the page defines no LitAutoEncoder")


def test_only_the_install_lines_are_left_out():
    assert {block.source for block in BLOCKS if block.language != "python"} == LEFT_OUT
    assert len(BLOCKS) == 10
    assert sum(bool(shown_alone(block)) for block in BLOCKS) == len(GRAFTS)


def test_the_page_runs_as_printed_and_in_order(offline):
    namespace = {"__name__": "page"}
    autoencoder_class = first_class(namespace)
    for block in BLOCKS:
        if block.source in LEFT_OUT:
            continue
        run(namespace, block)
        if shown_alone(block):  # the page goes on with its first class
            namespace["LitAutoEncoder"] = autoencoder_class
    trainer, model = namespace["trainer"], namespace["autoencoder"]
    assert type(model) is autoencoder_class
    assert isinstance(trainer, namespace["Trainer"])
    assert issubclass(autoencoder_class, namespace["LightningModule"])
    assert trainer.state.finished
    assert (trainer.current_epoch, trainer.global_step) == (2, 16)
    assert trainer.callback_metrics["train_loss"].isfinite()


def fit(model, loader, **options):
    trainer = pl.Trainer(**options)
    trainer.fit(model=model, train_dataloaders=loader)
    return trainer


def digits(flat=False):
    """The page's loader; `flat` gives images as rows, without labels."""
    from torchvision import transforms
    from torchvision.datasets import MNIST

    dataset = MNIST(".", download=True, transform=transforms.ToTensor())
    return DataLoader([image.flatten() for image, _ in dataset] if flat else dataset)


def test_good_defaults(offline):
    torch.manual_seed(1)
    model = first_class({"__name__": "page"})()
    before = copy.deepcopy(model.state_dict())
    trainer = fit(model, digits(), log_every_n_steps=1)
    assert all(not torch.equal(before[k], v) for k, v in model.state_dict().items())
    folder = Path("lightning_logs/version_0")
    assert Path(trainer.log_dir).resolve() == folder.resolve()
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["epoch=1-step=16.ckpt"]
    assert (folder / "hparams.yaml").exists()
    assert steps_of("train_loss", folder) == list(range(16))
    loaded = type(model).load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def steps_of(tag, folder):
    """At which x TensorBoard shows a tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(tag)]


def test_the_losses_are_those_of_the_plain_loop(offline):
    torch.manual_seed(1)
    model = first_class({"__name__": "page"})()
    plain = copy.deepcopy(model)
    fit(model, digits())
    optimizer = plain.configure_optimizers()
    plain.log = lambda *_: None
    for _ in range(2):
        for index, batch in enumerate(digits()):
            loss = plain.training_step(batch, index)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("names", GRAFTS.values(), ids=GRAFTS)
def test_methods_shown_alone_work_in_the_first_class(offline, names):
    namespace = {"__name__": "page"}
    original = first_class(namespace)
    block = next(block for block in BLOCKS if shown_alone(block) == names)
    run(namespace, block)
    shown = namespace["LitAutoEncoder"]
    calls = []

    def counted(method):
        def call(*args, **kwargs):
            calls.append(method.__name__)
            return method(*args, **kwargs)

        # the trainer reads what a hook takes from its signature
        call.__wrapped__ = method
        return call

    parts = vars(shown) if shown is not original else namespace
    grafted = type("LitAutoEncoder", (original,), {name: counted(parts[name]) for name in names})
    torch.manual_seed(1)
    model = grafted()
    before = copy.deepcopy(model.state_dict())
    flat = names == ("training_step",)  # this one takes its batch to be images alone
    trainer = fit(model, digits(flat=flat))
    assert trainer.global_step == 16
    moved = [not torch.equal(before[k], v) for k, v in model.state_dict().items()]
    if names == ("forward",):
        [rows] = trainer.predict(model, DataLoader(torch.rand(4, 28 * 28), batch_size=4))
        assert rows.shape == (4, 3)
        assert calls == ["forward"]
        assert all(moved)
    elif names == ("backward",):
        assert calls == ["backward"] * 16
        assert all(moved)
    else:  # it returns no loss, so there is nothing to learn
        assert calls == ["training_step"] * 16
        assert not any(moved)
