"""One training script, started in every way: the weights are the same everywhere."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.distributed.ranks import free_port, run_ranks
from tests.distributed.trained_script import train

HERE = Path(__file__).parent
SCRIPT = str(HERE / "trained_script.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SRUN = [sys.executable, str(HERE / "fake_srun.py")]
LIMIT = 120


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The weights of two ranks that are started here."""
    folder = str(tmp_path_factory.mktemp("expected"))
    first, second = run_ranks(_train, 2, folder)
    assert first["weights"] == second["weights"]
    return first["weights"]


def _train(folder):
    return train(folder, 2, 1)


def _environment(**variables):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "TORCHELASTIC", "MASTER"))
        and name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


def _run(*commands):
    """Start commands at the same time; all are killed with their children when the time is over."""
    started = [
        subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for command, env in commands
    ]
    try:
        outputs = [process.communicate(timeout=LIMIT)[0] for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return [process.returncode for process in started], "\n".join(outputs)


def _check(folder, codes, output, expected, places):
    """All ended well, each rank at its place, all with the expected weights."""
    assert not any(codes), output
    said = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert [(one["node"], one["local"]) for one in said] == places
    assert all(one["world"] == 2 and one["steps"] == 8 for one in said)
    assert said[0]["weights"] == said[1]["weights"] == expected


def test_by_itself(tmp_path, expected):
    found = _run(([sys.executable, SCRIPT, str(tmp_path), "2", "1"], _environment()))
    _check(tmp_path, *found, expected, [(0, 0), (0, 1)])


@pytest.mark.long  # each of two machines below has one
def test_by_torchrun(tmp_path, expected):
    command = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", SCRIPT, str(tmp_path), "2", "1"]
    found = _run((command, _environment()))
    _check(tmp_path, *found, expected, [(0, 0), (0, 1)])


def test_by_srun(tmp_path, expected):
    command = [*SRUN, "2", sys.executable, SCRIPT, str(tmp_path), "2", "1"]
    found = _run((command, _environment()))
    _check(tmp_path, *found, expected, [(0, 0), (0, 1)])


def test_on_two_machines_by_hand(tmp_path, expected):
    port = str(free_port())
    command = [sys.executable, SCRIPT, str(tmp_path), "1", "2"]
    found = _run(
        *(
            (command, _environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK=str(node)))
            for node in range(2)
        )
    )
    _check(tmp_path, *found, expected, [(0, 0), (1, 0)])


def test_on_two_machines_by_torchrun(tmp_path, expected):
    port = str(free_port())
    found = _run(
        *(
            (
                [
                    *(*TORCHRUN, "--nnodes", "2", "--node-rank", str(node)),
                    *("--nproc-per-node", "1", "--master-addr", "127.0.0.1"),
                    *("--master-port", port, SCRIPT, str(tmp_path), "1", "2"),
                ],
                _environment(),
            )
            for node in range(2)
        )
    )
    _check(tmp_path, *found, expected, [(0, 0), (1, 0)])


def test_another_number_than_srun_started_ends_at_once(tmp_path):
    command = [*SRUN, "1", sys.executable, SCRIPT, str(tmp_path), "2", "1"]
    codes, output = _run((command, _environment()))
    assert codes != [0]
    assert "ask for 2 processes, but SLURM started 1 (SLURM_NTASKS=1" in output
