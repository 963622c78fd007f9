"""Functions in new processes: what they return and raise comes home, and nobody stays behind."""

import gc
import importlib
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import without_waits

from pytorch_lightning.distributed import rendezvous, workers
from pytorch_lightning.distributed.environments import LightningEnvironment
from pytorch_lightning.distributed.launchers import (
    MultiprocessingLauncher,
    ScriptLauncher,
    make_launcher,
)
from pytorch_lightning.distributed.process_group import join_group
from pytorch_lightning.distributed.script import command_of_script
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment
from pytorch_lightning.distributed.workers import WorkerError


class TwoWordsError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


@pytest.fixture
def fork():
    return MultiprocessingLauncher(LightningEnvironment(), 2, start_method="fork")


def _sum_of_ranks(start):
    environment = LightningEnvironment()
    environment.set_world_size(2)
    environment.set_global_rank(environment.local_rank())
    join_group(environment, backend="gloo")
    value = torch.tensor(float(start + environment.global_rank()))
    dist.all_reduce(value)
    return value.item()


def _variables():
    return {name: os.environ[name] for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")}


def _train(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1 + int(os.environ["LOCAL_RANK"]))
    return module.state_dict()


def _fail_on_one(error):
    if os.environ["LOCAL_RANK"] == "1":
        raise error
    time.sleep(1000)


def _exit_on_one(code):
    if os.environ["LOCAL_RANK"] == "1":
        os._exit(code)


def _two_words():
    raise TwoWordsError("one", "two")


def _nothing_to_send():
    return lambda: None


def _collect():
    gc.collect()
    return gc.isenabled()


def _leave():
    os._exit(0)


def test_the_result_of_rank_zero_comes_home_again_and_again(fork):
    before = dict(os.environ)
    assert fork.launch(_sum_of_ranks, 10) == 21.0
    assert fork.launch(_sum_of_ranks, 20) == 41.0
    assert dict(os.environ) == before
    assert not multiprocessing.active_children()
    assert rendezvous.served() is None


def test_workers_know_who_they_are(fork):
    assert fork.launch(_variables) == {"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.long)])
def test_spawned_workers_train_weights_of_their_own(method):
    launcher = MultiprocessingLauncher(LightningEnvironment(), 2, start_method=method)
    module = torch.nn.Linear(1000, 1000)
    state = launcher.launch(_train, module)
    assert torch.equal(state["weight"], module.weight + 1)


def test_big_results_of_a_forked_worker_come_home(fork):
    module = torch.nn.Linear(1500, 1500)
    assert torch.equal(fork.launch(_train, module)["weight"], module.weight + 1)


def test_an_error_comes_home_with_its_type_and_traceback(fork, monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 0.5)
    begin = time.monotonic()
    with pytest.raises(KeyError, match="lost") as caught:
        fork.launch(_fail_on_one, KeyError("lost"))
    assert time.monotonic() - begin < 90  # the other one would sleep for 1000 s
    assert isinstance(caught.value.__cause__, WorkerError)
    assert "on rank 1" in str(caught.value.__cause__)
    assert "_fail_on_one" in str(caught.value.__cause__)
    assert not multiprocessing.active_children()


def test_an_exit_comes_home_as_one(fork):
    with pytest.raises(SystemExit) as caught:
        fork.launch(sys.exit, 7)
    assert caught.value.code == 7


def test_an_error_that_cannot_be_pickled_is_told(fork):
    with pytest.raises(RuntimeError, match="rank . raised TwoWordsError: one two") as caught:
        fork.launch(_two_words)
    assert "_two_words" in str(caught.value.__cause__)


def test_a_worker_that_leaves_is_named(fork):
    with pytest.raises(RuntimeError, match="rank 1 ended with exit code 5"):
        fork.launch(_exit_on_one, 5)
    with pytest.raises(RuntimeError, match="rank 0 ended by itself, without a result"):
        fork.launch(_leave)


def test_a_result_that_cannot_be_sent_is_named(fork):
    with pytest.raises(RuntimeError, match="The result of rank 0 cannot be sent home"):
        fork.launch(_nothing_to_send)


def test_a_forked_worker_leaves_the_garbage_of_the_first_process_alone(fork):
    place = SimpleNamespace()
    place.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place.itself = place
    gc.disable()
    try:
        del place  # its store has a thread, which no forked process has
        assert fork.launch(_collect) is False
    finally:
        gc.enable()
    assert fork.launch(_collect) is True
    assert gc.isenabled()


def test_what_cannot_be_spawned_is_named_at_once():
    launcher = MultiprocessingLauncher(LightningEnvironment(), 2, start_method="spawn")
    with pytest.raises(RuntimeError, match="`start_method='spawn'`: the run cannot be given"):
        launcher.launch(lambda: None)


def test_fork_after_cuda_is_refused(fork, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="`start_method='fork'`: CUDA was used before"):
        fork.launch(_leave)


def test_an_unknown_start_method_is_refused():
    with pytest.raises(ValueError, match="`start_method='boil'`: this system has 'fork'"):
        MultiprocessingLauncher(LightningEnvironment(), 2, start_method="boil")


def test_an_old_path_takes_nothing_away(fork):
    importlib.import_module("pytorch_lightning.strategies.launchers.multiprocessing")
    assert fork.launch(int, "3") == 3


def test_which_launcher_it_is(monkeypatch):
    environment = LightningEnvironment()
    assert isinstance(make_launcher("popen", environment, 2, 1), ScriptLauncher)
    assert make_launcher("popen", environment, 1, 1) is None
    spawn = make_launcher("spawn", environment, 2, 1)
    assert isinstance(spawn, MultiprocessingLauncher)
    assert not spawn.is_interactive_compatible
    assert make_launcher("fork", environment, 2, 1).is_interactive_compatible
    assert make_launcher("spawn", TorchElasticEnvironment(), 2, 1) is None
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert make_launcher("popen", environment, 2, 1) is None


def test_a_further_machine_has_to_know_where_the_first_is(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    launcher = MultiprocessingLauncher(LightningEnvironment(), 1, 2, start_method="fork")
    with pytest.raises(RuntimeError, match="`num_nodes=2`: set MASTER_ADDR and MASTER_PORT"):
        launcher.launch(_leave)


# --- scripts ------------------------------------------------------------------------------------

_BODY = """
    import os, sys
    from pytorch_lightning.distributed.environments import LightningEnvironment
    from pytorch_lightning.distributed.launchers import make_launcher

    def work():
        names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR")
        print(sys.argv[1:], __name__, *[os.environ[name] for name in names], flush=True)
        return int(os.environ["LOCAL_RANK"])
"""
_RUN = """
    if __name__ == "__main__":
        for _ in range(2):
            launcher = make_launcher("popen", LightningEnvironment(), 2, 1)
            work() if launcher is None else launcher.launch(work)
        sys.exit(4 if sys.argv[1] == "late" and os.environ["LOCAL_RANK"] == "1" else 0)
"""
_UNGUARDED = """
    make_launcher("spawn", LightningEnvironment(), 2, 1).launch(work)
"""


def _python(folder, *arguments):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_a_module_is_started_again_once_with_its_arguments(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "x.py").write_text(textwrap.dedent(_BODY + _RUN))
    ended = _python(tmp_path, "-m", "package.x", "a b", "--c=1")
    assert ended.returncode == 0, ended.stderr
    expected = [f"['a b', '--c=1'] __main__ {rank} 0 2 127.0.0.1" for rank in (0, 0, 1, 1)]
    assert sorted(ended.stdout.splitlines()) == expected
    assert without_waits(ended.stderr) == ""


def test_the_exit_code_tells_of_a_child_that_failed_last(tmp_path):
    (tmp_path / "x.py").write_text(textwrap.dedent(_BODY + _RUN))
    assert _python(tmp_path, "x.py", "late").returncode == 1


def test_what_is_no_file_cannot_be_started_again(tmp_path):
    (tmp_path / "x.py").write_text(textwrap.dedent(_BODY))
    code = "from x import *; make_launcher('popen', LightningEnvironment(), 2, 1).launch(work)"
    ended = _python(tmp_path, "-c", code)
    assert "this program is no file: it came by `python -c`" in ended.stderr


def test_a_spawned_script_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "x.py").write_text(textwrap.dedent(_BODY + _UNGUARDED))
    ended = _python(tmp_path, "x.py")
    assert ended.returncode == 1
    assert "Put what starts the run under `if __name__ == '__main__':`" in ended.stderr


def test_a_program_under_hydra_gets_its_configuration(tmp_path, monkeypatch):
    class HydraConfig:
        job = SimpleNamespace(output_dir=str(tmp_path / "out"), cwd=str(tmp_path))

        @staticmethod
        def initialized():
            return True

        @classmethod
        def get(cls):
            return SimpleNamespace(runtime=cls.job, output_subdir=".hydra")

    main = SimpleNamespace(__spec__=None, __file__=__file__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    hydra = SimpleNamespace(HydraConfig=HydraConfig)
    monkeypatch.setitem(sys.modules, "hydra.core.hydra_config", hydra)
    command, folder = command_of_script(1)
    assert folder == str(tmp_path)
    assert command[-7:] == [
        "-cp",
        str(tmp_path / "out" / ".hydra"),
        "-cn",
        "config.yaml",
        "hydra.output_subdir=.pl_hydra_local_rank_1",
        f'hydra.run.dir="{tmp_path / "out"}"',
        "hydra.job.name=train_ddp_process_1",
    ]
