"""The one reader: every layout, every place, and one clear error for the rest."""

import argparse
import http.server
import io
import pathlib
import pickle
import threading
import zipfile

import numpy as np
import pytest
import torch

from pytorch_lightning.checkpoint import download
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.reader import CheckpointNotFoundError, read_checkpoint
from pytorch_lightning.utilities.exceptions import CheckpointError

GOLDEN = sorted((pathlib.Path(__file__).parent / "data").glob("*.ckpt"))
SAVED = {"epoch": 3, "state_dict": {"w": torch.arange(4.0)}}


def same(left, right):
    if isinstance(left, torch.Tensor):
        return type(left) is type(right) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return (
            type(left) is type(right)
            and list(left) == list(right)
            and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, list | tuple):
        return type(left) is type(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def without_classes(value):
    """What classes of earlier releases are read as: callbacks' names, plain dictionaries."""
    if isinstance(value, dict):
        kind = dict if type(value).__name__ == "AttributeDict" else type(value)
        return kind(
            (f"{key.__module__}.{key.__qualname__}" if isinstance(key, type) else key,
             without_classes(item))
            for key, item in value.items()
        )  # fmt: skip
    if type(value) in (list, tuple):
        return type(value)(map(without_classes, value))
    return value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_of_releases_are_read(path):
    checkpoint = read_checkpoint(path)
    assert checkpoint["pytorch-lightning_version"] == path.stem.partition("-")[0]
    assert checkpoint["hyper_parameters"]["width"] == 3
    assert set(checkpoint["state_dict"]) == {
        "layer.weight",
        "layer.bias",
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(
    "path", [p for p in GOLDEN if "omegaconf" not in p.stem], ids=lambda path: path.stem
)
def test_they_are_read_as_torch_reads_files_that_it_trusts(path):
    trusted = torch.load(path, weights_only=False)
    assert same(read_checkpoint(path), without_classes(trusted))


@pytest.mark.parametrize("path", [p for p in GOLDEN if "end" in p.stem], ids=lambda path: path.stem)
def test_hyperparameters_keep_their_types(path):
    hyperparameters = read_checkpoint(path)["hyper_parameters"]
    assert hyperparameters["folder"] == pathlib.Path("data/set")
    assert hyperparameters["options"] == argparse.Namespace(depth=2, name="a")
    assert hyperparameters["sizes"] == (1, 2)


@pytest.mark.parametrize(
    "path", [p for p in GOLDEN if "omegaconf" in p.stem], ids=lambda path: path.stem
)
def test_containers_of_omegaconf_are_read_without_it(path):
    checkpoint = read_checkpoint(path)
    expected = {"width": 3, "lr": 0.05, "deep": {"list": [1, "two"], "no": None}}
    assert checkpoint["hyper_parameters"] == expected
    assert checkpoint["hparams_type"] == "omegaconf.dictconfig.DictConfig"


TENSORS = {
    "plain": torch.randn(3, 4),
    "view": torch.arange(10)[2:9:3],
    "transposed": torch.arange(6).reshape(2, 3).T,
    "expanded": torch.ones(1).expand(5),
    "empty": torch.empty(0, 3),
    "scalar": torch.tensor(2.5),
    "bool": torch.tensor([True, False]),
    "bfloat16": torch.randn(3).bfloat16(),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "uint16": torch.arange(3).to(torch.uint16),
    "complex": torch.randn(2, dtype=torch.complex64),
    "conjugate": torch.randn(2, dtype=torch.complex64).conj(),
    "negative": torch.randn(2, dtype=torch.complex64).conj().imag,
    "parameter": torch.nn.Parameter(torch.randn(2)),
    "frozen parameter": torch.nn.Parameter(torch.randn(2), requires_grad=False),
    "requires gradient": torch.randn(2, requires_grad=True),
    "buffer": torch.nn.Buffer(torch.ones(2)),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", TENSORS)
def test_every_kind_of_tensor(tmp_path, name, legacy):
    saved = TENSORS[name]
    torch.save({"x": saved}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
    loaded = read_checkpoint(tmp_path / "a.ckpt")["x"]
    torch.save({"x": saved}, tmp_path / "zip.ckpt")  # torch's reader of the other lacks some types
    expected = torch.load(tmp_path / "zip.ckpt", weights_only=True)["x"]
    assert type(loaded) is type(expected)
    assert (loaded.dtype, loaded.stride()) == (expected.dtype, expected.stride())
    assert loaded.requires_grad is expected.requires_grad
    assert (loaded.is_conj(), loaded.is_neg()) == (expected.is_conj(), expected.is_neg())
    left, right = (tensor.resolve_conj().resolve_neg() for tensor in (loaded, expected))
    bits = torch.uint8 if left.element_size() == 1 else left.dtype
    assert torch.equal(left.view(bits), right.view(bits))


def test_sparse_tensors(tmp_path):
    dense = torch.eye(3)
    layouts = {"coo": dense.to_sparse(), "csr": dense.to_sparse_csr(), "csc": dense.to_sparse_csc()}
    for legacy in (False, True):
        torch.save(layouts, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
        loaded = read_checkpoint(tmp_path / "a.ckpt")
        for name, tensor in layouts.items():
            assert loaded[name].layout == tensor.layout
            assert torch.equal(loaded[name].to_dense(), dense)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle(tmp_path, protocol):
    saved = {
        "a": [1, -1, 2**40, 1.5, "\u00e9", b"\x00", None, True],
        "b": {(1, 2): {3}},
        "c": SAVED,
    }
    torch.save(saved, tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert same(read_checkpoint(tmp_path / "a.ckpt"), saved)


def test_optimizers_and_schedulers(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
    saved = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
    }
    torch.save(saved, tmp_path / "a.ckpt")
    assert same(read_checkpoint(tmp_path / "a.ckpt"), saved)


def test_arrays_of_numpy(tmp_path):
    saved = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32(2), "c": np.array(["x", "yy"])}
    torch.save(saved, tmp_path / "a.ckpt")
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    for name, array in saved.items():
        assert type(loaded[name]) is type(array)
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)
    loaded["a"][0, 0] = 5.0


@pytest.mark.parametrize("where", ["cpu", torch.device("cpu"), {"cpu": "cpu"}, None])
def test_map_location(tmp_path, where):
    TorchCheckpointIO().save_checkpoint(SAVED, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt", where)["state_dict"]["w"].device.type == "cpu"


def test_map_location_may_be_meta_or_a_function(tmp_path):
    TorchCheckpointIO().save_checkpoint(SAVED, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt", "meta")["state_dict"]["w"].device.type == "meta"
    seen = []
    read_checkpoint(tmp_path / "a.ckpt", lambda storage, location: seen.append(location))
    assert seen == ["cpu"]
    kept = read_checkpoint(tmp_path / "a.ckpt", lambda storage, location: storage)
    assert torch.equal(kept["state_dict"]["w"], SAVED["state_dict"]["w"])


def rewritten(source, target, change):
    """Copy an archive record by record, with the pickle changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if "data.pkl" in entry.filename else data)


@pytest.mark.parametrize("device", ["xxx", "qqq"])
def test_tensors_of_a_device_that_is_not_here_come_to_the_cpu(tmp_path, device):
    torch.save(SAVED, tmp_path / "a.ckpt")
    rewritten(
        tmp_path / "a.ckpt", tmp_path / "b.ckpt", lambda data: data.replace(b"cpu", device.encode())
    )
    loaded = read_checkpoint(tmp_path / "b.ckpt")
    assert torch.equal(loaded["state_dict"]["w"], SAVED["state_dict"]["w"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without that device")
def test_tensors_of_a_gpu_come_to_the_cpu_where_there_is_none(tmp_path):
    torch.save({"x": torch.arange(3), "name": "cpu"}, tmp_path / "a.ckpt")
    rewritten(
        tmp_path / "a.ckpt",
        tmp_path / "b.ckpt",
        lambda data: data.replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0"),
    )
    loaded = read_checkpoint(tmp_path / "b.ckpt")
    assert loaded["name"] == "cuda:0"
    assert loaded["x"].device.type == "cpu"


def test_open_files_are_read_and_stay_open(tmp_path):
    buffer = io.BytesIO()
    torch.save(SAVED, buffer)
    assert read_checkpoint(buffer)["epoch"] == 3
    assert not buffer.closed
    torch.save(SAVED, tmp_path / "a.ckpt")
    with open(tmp_path / "a.ckpt", "rb") as file:
        assert read_checkpoint(file)["epoch"] == 3


@pytest.fixture
def server(tmp_path):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_urls_are_fetched_up_to_a_limit(tmp_path, server, monkeypatch):
    torch.save(SAVED, tmp_path / "a.ckpt")
    assert read_checkpoint(f"{server}/a.ckpt")["epoch"] == 3
    with pytest.raises(CheckpointError, match=r"none\.ckpt' could not be fetched.*404"):
        read_checkpoint(f"{server}/none.ckpt")
    monkeypatch.setattr(download, "URL_SIZE_LIMIT", 1000)
    with pytest.raises(CheckpointError, match="larger than 1000 bytes"):
        read_checkpoint(f"{server}/a.ckpt")


class Custom:
    """A class that a file can name."""


def test_trust_is_the_users_word_and_never_a_fallback(tmp_path):
    torch.save({"hyper_parameters": {"net": Custom()}}, tmp_path / "a.ckpt")
    for weights_only in (None, True):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(tmp_path / "a.ckpt", weights_only=weights_only)
        assert "checkpoint['hyper_parameters']['net'] cannot be read" in str(caught.value)
        assert "Custom" in str(caught.value)
        assert "`weights_only=False`" in str(caught.value)
    loaded = read_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert isinstance(loaded["hyper_parameters"]["net"], Custom)


def test_a_missing_file_is_an_error_that_lists_the_others(tmp_path):
    torch.save(SAVED, tmp_path / "epoch=1.ckpt")
    with pytest.raises(CheckpointNotFoundError, match=r"epoch=2.*holds epoch=1\.ckpt") as caught:
        read_checkpoint(tmp_path / "epoch=2.ckpt")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, CheckpointError)
    with pytest.raises(FileNotFoundError, match="does not exist either"):
        read_checkpoint(tmp_path / "nowhere" / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="There is no checkpoint 'memory://nothing'"):
        read_checkpoint("memory://nothing")


def nonsense(tmp_path):
    torch.save(torch.ones(3), tmp_path / "tensor.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    (tmp_path / "page.ckpt").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (tmp_path / "zeros.ckpt").write_bytes(bytes(5000))
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(SAVED["epoch"]))
    (tmp_path / "short.ckpt").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(tmp_path / "script.ckpt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}, 2))
        archive.writestr("m/constants.pkl", pickle.dumps((), 2))
    torch.save(SAVED, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.ckpt").mkdir()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tensor", "holds a Tensor, and a checkpoint is a dictionary"),
        ("list", "holds a list"),
        ("empty", r"is empty \(0 bytes\)"),
        ("page", "is not a checkpoint: it starts with b'<!DO'"),
        ("zeros", "is not a checkpoint"),
        ("pickle", "is not a checkpoint"),
        ("short", "is not a checkpoint"),
        ("other", "not one that `torch.save` wrote"),
        ("script", "a TorchScript program"),
        ("half", "is cut off after"),
        ("folder", "is a folder"),
    ],
)
def test_what_is_no_checkpoint_is_one_clear_error(tmp_path, name, reason):
    nonsense(tmp_path)
    for weights_only in (None, False) if name not in ("other", "script") else (None,):
        with pytest.raises(CheckpointError, match=rf"{name}\.ckpt'.*{reason}"):
            read_checkpoint(tmp_path / f"{name}.ckpt", weights_only=weights_only)


def test_what_is_no_path_is_a_type_error():
    with pytest.raises(TypeError, match="`path=3`"):
        read_checkpoint(3)


def test_names_of_earlier_releases_that_no_program_needs(tmp_path):
    one_cycle = torch.optim.lr_scheduler.OneCycleLR._annealing_cos
    torch.save(
        {
            "callbacks": {Custom: {"a": 1}},
            "hparams_type": argparse.Namespace,
            "lr_schedulers": [{"last_epoch": 1, "anneal_func": one_cycle}],
        },
        tmp_path / "a.ckpt",
    )
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    (key,) = loaded["callbacks"]
    assert key.endswith("test_reader.Custom")
    assert loaded["hparams_type"] == "argparse.Namespace"
    assert loaded["lr_schedulers"] == [{"last_epoch": 1}]
