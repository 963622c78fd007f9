"""Every way to load: the same reader, the same error, nothing imported, nothing allowed to all."""

import hashlib
import http.server
import os
import pickle
import socketserver
import sys
import threading
import time

import pytest
import torch
from tests.checkpoint import hostile

import pytorch_lightning as pl
from pytorch_lightning.checkpoint import download
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.checkpoint.upgrade import main as upgrade
from pytorch_lightning.core.saving import load_hparams_from_tags_csv, load_hparams_from_yaml
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel
from pytorch_lightning.utilities.exceptions import CheckpointError

pytestmark = pytest.mark.faults
QUIET = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False, "fast_dev_run": True, "accelerator": "cpu",
}  # fmt: skip


class Data(BoringDataModule):
    """A datamodule that can be loaded."""


ENTRIES = {
    "fit": lambda path: pl.Trainer(**QUIET).fit(BoringModel(), ckpt_path=path),
    "validate": lambda path: pl.Trainer(**QUIET).validate(BoringModel(), ckpt_path=path),
    "test": lambda path: pl.Trainer(**QUIET).test(BoringModel(), ckpt_path=path),
    "predict": lambda path: pl.Trainer(**QUIET).predict(BoringModel(), ckpt_path=path),
    "a module": lambda path: BoringModel.load_from_checkpoint(path),
    "a datamodule": lambda path: Data.load_from_checkpoint(path),
    "Fabric.load": lambda path: pl.fabric.Fabric(accelerator="cpu").load(path),
    "Fabric.load_raw": lambda path: pl.fabric.Fabric(accelerator="cpu").load_raw(
        path, BoringModel()
    ),
}


@pytest.mark.parametrize("key", ["hyper_parameters", "optimizer_states", "loops", "callbacks"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_entry_runs_what_a_file_names(entry, key, tmp_path, tally):
    tally("hostile file")
    marker, path = tmp_path / "marker", tmp_path / "evil.ckpt"
    run = hostile.call(hostile.name("posix", "system"), hostile.text(f"touch {marker}"))
    module = hostile.call(hostile.name("antigravity", "fly"))
    hostile.archive(path, hostile.pickled(b"](" + run + module + b"e", key))
    allowed = list(torch.serialization.get_safe_globals())
    with pytest.raises(CheckpointError, match=r"evil\.ckpt.*`posix\.system`"):
        ENTRIES[entry](str(path))
    assert not marker.exists()
    assert "antigravity" not in sys.modules
    assert torch.serialization.get_safe_globals() == allowed


def test_the_upgrade_says_what_it_refused_and_leaves_it(tmp_path, capsys, tally):
    tally("hostile file")
    path = tmp_path / "evil.ckpt"
    hostile.archive(path, hostile.pickled(hostile.call(hostile.name("posix", "abort"))))
    before = path.read_bytes()
    with pytest.raises(SystemExit) as ended:
        upgrade([str(path)])
    assert ended.value.code == 1
    assert "evil.ckpt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["evil.ckpt"]
    assert path.read_bytes() == before


YAMLS = {
    "laughs": "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
    ),
    "merges": "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 20)
    ),
    "laughs in a key": "a0: &a0 !!python/tuple [x]\n" + "".join(
        f"a{i}: &a{i} !!python/tuple [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    ) + "? *a8\n: 1\n",
    "deep": "[" * 100_000,
    "deep blocks": "- " * 100_000 + "x",
    "itself": "a: &a [*a]",
    "base 60": "a: 1" + ":20" * 500_000,
    "digits": "a: " + "9" * 1_000_000,
    "many": "- 1\n" * 1_000_000,
    "large": "a: " + "x" * 5_000_000,
    "cut off": "a: [",
    "no text": "\x00\x01",
}  # fmt: skip


@pytest.mark.parametrize("kind", YAMLS)
def test_hostile_yaml_is_one_clear_error(kind, tmp_path, tally):
    tally("hostile file")
    (tmp_path / "hparams.yaml").write_text(YAMLS[kind])
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"hparams\.yaml' could not be read"):
        load_hparams_from_yaml(tmp_path / "hparams.yaml")
    assert time.process_time() - start < 5


def test_yaml_that_names_code_is_plain_data(tmp_path, tally):
    tally("hostile file")
    marker, path = tmp_path / "marker", tmp_path / "hparams.yaml"
    path.write_text(
        f"a: !!python/object/apply:os.system ['touch {marker}']\n"
        "b: !!python/object/new:subprocess.Popen [[true]]\n"
        "c: !!python/name:os.system ''\nd: !!python/module:antigravity ''\n"
        "e: !!python/object:posix.X {x: 1}\n"
    )
    found = load_hparams_from_yaml(path)
    assert found["a"] == [f"touch {marker}"]
    assert found["e"] == {"x": 1}
    assert not marker.exists() and "antigravity" not in sys.modules


def test_literals_of_a_csv_file_cannot_break_the_parser(tmp_path, tally):
    tally("hostile file")
    path = tmp_path / "tags.csv"
    path.write_text("key,value\na," + "-" * 9_000 + "1\nb," + "(" * 9_000 + "\nc,[1]\n")
    assert load_hparams_from_tags_csv(path)["c"] == [1]
    path.write_text("other,columns\n1,2\n")
    with pytest.raises(CheckpointError, match=r"tags\.csv'"):
        load_hparams_from_tags_csv(path)


def test_class_specs_of_a_command_line_are_plain_data(tmp_path, tally):
    # CVE-2026-58659: `_instantiator` was imported and called; then `_class_path` was
    tally("hostile file")
    spec = {
        "_instantiator": "antigravity.fly", "_class_path": "antigravity.Fly",
        "net": {"class_path": "antigravity.Fly", "init_args": {"x": 1}},
    }  # fmt: skip

    class Net(BoringModel):
        def __init__(self, net=None):
            super().__init__()
            self.net = net

    torch.save(
        {"state_dict": BoringModel().state_dict(), "hyper_parameters": spec}, tmp_path / "a.ckpt"
    )
    with pytest.warns(UserWarning, match="only names a class"):
        model = Net.load_from_checkpoint(tmp_path / "a.ckpt")
    assert model.net == {"class_path": "antigravity.Fly", "init_args": {"x": 1}}
    assert "antigravity" not in sys.modules


HEADERS = {
    "file": {"Location": "file:///etc/passwd"},
    "ftp": {"Location": "ftp://127.0.0.1/x"},
    "data": {"Location": "data:,x"},
    "lies": {"Content-Length": "100000"},
    "slow": {"Content-Length": "100000"},
    "announced": {"Content-Length": str(1 << 50)},
    "chunks": {"Transfer-Encoding": "chunked"},
}


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as a hostile server would, by the path that it is asked for."""

    def log_message(self, *args):
        pass

    def drip(self):
        """Send headers, one after the other, each soon enough."""
        try:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            for count in range(50):
                self.wfile.write(f"X-{count}: x\r\n".encode())
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def do_GET(self):
        kind = self.path.strip("/")
        if kind == "drip":
            self.drip()
            return
        headers = HEADERS.get(kind, {})
        self.send_response(302 if "Location" in headers else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            if kind == "chunks":
                self.wfile.write(b"zz\r\nxxx")
            elif kind == "endless":
                while True:
                    self.wfile.write(bytes(1 << 16))
            elif kind == "slow":
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            else:
                self.wfile.write(b"x" * 100)
        except OSError:
            pass


@pytest.fixture(scope="module")
def server():
    class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True
        block_on_close = False

    with Threads(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("file", "could not be fetched"), ("ftp", "not safe"), ("data", "could not be fetched"),
     ("lies", "ended early"), ("announced", "larger than"), ("endless", "larger than"),
     ("slow", "too slowly"), ("chunks", "could not be fetched"), ("page", "is not a checkpoint"),
     ("drip", "no answer within")],
)  # fmt: skip
def test_hostile_servers(kind, reason, server, monkeypatch, tally):
    tally("hostile server")
    monkeypatch.setattr(download, "URL_SIZE_LIMIT", 1 << 20)
    monkeypatch.setattr(download, "_PATIENCE", 0.3)
    with pytest.raises(CheckpointError, match=rf"/{kind}'.*{reason}"):
        read_checkpoint(f"{server}/{kind}")


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:port/x", "http://127.0.0.1:9/x"])
def test_what_is_no_url_is_the_same_error(url):
    with pytest.raises(CheckpointError, match="could not be fetched"):
        read_checkpoint(url)


def test_devices_and_pipes_are_no_checkpoints(tmp_path):

    os.mkfifo(tmp_path / "last.ckpt")
    for path in ("/dev/zero", tmp_path / "last.ckpt"):
        with pytest.raises(CheckpointError, match="a device, a pipe or a socket"):
            read_checkpoint(path)


def test_a_torch_with_a_hole_is_said_once(tmp_path, monkeypatch):
    torch.save({"epoch": 1}, tmp_path / "a.ckpt")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.warns(UserWarning, match=r"torch 2\.9\.1.*update to torch 2\.10") as told:
        read_checkpoint(tmp_path / "a.ckpt")
        read_checkpoint(tmp_path / "a.ckpt")
    assert len([w for w in told if "2.10" in str(w.message)]) == 1


def test_a_sidecar_pickle_is_no_checkpoint(tmp_path, tally):
    # CVE-2026-1839: the random state lay in a file of its own, which was trusted
    tally("hostile file")
    (tmp_path / "rng_state.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(CheckpointError, match=r"rng_state\.pth"):
        read_checkpoint(tmp_path / "rng_state.pth")


@pytest.mark.parametrize("trick", ["pipe", "device", "index that runs", "index that climbs"])
def test_hostile_folders(trick, tmp_path, tally):
    tally("hostile file")
    marker, folder = tmp_path / "marker", tmp_path / "parts.ckpt"
    folder.mkdir()
    run = hostile.call(hostile.name("posix", "system"), hostile.text(f"touch {marker}"))
    outside = (
        hostile.name("torch.distributed.checkpoint.filesystem", "_StorageInfo")
        + b")\x81}"
        + (hostile.text("relative_path") + hostile.text("../../etc/passwd") + b"sb")
    )
    climbs = (
        hostile.name("torch.distributed.checkpoint.metadata", "Metadata")
        + b")\x81}"
        + (
            hostile.text("state_dict_metadata")
            + b"}s"
            + hostile.text("storage_data")
            + b"}K\x01"
            + outside
            + b"ss"
            + b"b"
        )
    )
    (folder / ".metadata").write_bytes(b"\x80\x02" + (climbs if "climbs" in trick else run) + b".")
    hashes = {".metadata": hashlib.sha256((folder / ".metadata").read_bytes()).hexdigest()}
    if trick in ("pipe", "device"):
        hashes["__0_0.distcp"] = "0" * 64
    if trick == "pipe":
        os.mkfifo(folder / "__0_0.distcp")
    elif trick == "device":
        (folder / "__0_0.distcp").symlink_to("/dev/zero")
    about = {"format": 1, "hashes": hashes}
    torch.save({"state_dict": {}, "sharded_checkpoint": about}, folder / "meta.pt")
    with pytest.raises(CheckpointError, match=r"parts\.ckpt"):
        BoringModel.load_from_checkpoint(folder)
    assert not marker.exists()
