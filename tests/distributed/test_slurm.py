import signal

import pytest

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from pytorch_lightning.utilities.warnings import PossibleUserWarning

SRUN = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NAME": "train",
    "SLURM_NODELIST": "node[05-06]",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """A machine that has the command `srun`."""
    command = tmp_path / "srun"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_variables_are_read(launched):
    launched(**SRUN)
    environment = SLURMEnvironment()
    assert type(detect_environment()) is SLURMEnvironment
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("node05", 19567)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    assert (environment.job_id(), environment.job_name()) == (1234567, "train")


def test_the_rank_cannot_be_set_and_moves_what_is_said_once(launched):
    launched(**SRUN)
    environment = SLURMEnvironment()
    environment.set_global_rank(0)
    environment.set_world_size(1)
    assert (rank_zero_only.rank, environment.global_rank(), environment.world_size()) == (3, 3, 4)


def test_arguments():
    assert SLURMEnvironment().auto_requeue
    assert SLURMEnvironment().requeue_signal == signal.SIGUSR1
    chosen = SLURMEnvironment(auto_requeue=False, requeue_signal=signal.SIGHUP)
    assert (chosen.auto_requeue, chosen.requeue_signal) == (False, signal.SIGHUP)


def test_an_address_and_a_port_of_the_user_come_first(launched):
    launched(**SRUN, MASTER_ADDR="10.0.0.9", MASTER_PORT="7777")
    assert SLURMEnvironment().main_address == "10.0.0.9"
    assert SLURMEnvironment().main_port == 7777


def test_the_nodes_of_the_step_come_before_those_of_the_job(launched):
    launched(**SRUN, SLURM_STEP_NODELIST="node06")
    assert SLURMEnvironment().main_address == "node06"


@pytest.mark.parametrize(("job", "port"), [("7", 15007), ("98765", 23765), ("abc", 12910)])
def test_ports(launched, job, port):
    launched(SLURM_JOB_ID=job)
    assert SLURMEnvironment().main_port == port


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("alpha", "alpha"),
        ("alpha,beta,gamma", "alpha"),
        ("alpha beta", "alpha"),
        ("n[1-3]", "n1"),
        ("n[5,3]", "n5"),
        ("host[22-24,9],other1", "host22"),
        ("compute-[003-010,12]-ib", "compute-003-ib"),
        ("rack[1-2]n[7-8]", "rack1n7"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert SLURMEnvironment.resolve_root_node_address(nodes) == first


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_an_interactive_job_is_one_process(launched, name):
    launched(**{**SRUN, "SLURM_JOB_NAME": name, "SLURM_PROCID": "0"})
    assert not SLURMEnvironment.detect()
    assert SLURMEnvironment.job_id() is None
    assert type(detect_environment()) is LightningEnvironment


def test_a_task_of_an_interactive_job_is_told_what_to_write(launched):
    launched(**{**SRUN, "SLURM_JOB_NAME": "interactive"})
    with pytest.raises(ValueError, match="task 3 .*`interactive`.*`plugins=SLURMEnvironment"):
        detect_environment()


def test_srun_that_is_not_used_is_mentioned_once(launched, srun, recwarn):
    assert not SLURMEnvironment.detect()
    assert not SLURMEnvironment.detect()
    said = [w for w in recwarn if issubclass(w.category, PossibleUserWarning)]
    assert len(said) == 1
    assert "The `srun` command is available on your system but is not used" in str(said[0].message)


def test_srun_that_is_used_is_not_mentioned(launched, srun, recwarn):
    launched(**SRUN)
    assert SLURMEnvironment.detect()
    assert not list(recwarn)


def test_a_job_of_one_task_needs_no_srun(launched):
    launched(SLURM_JOB_ID="7", SLURM_JOB_NAME="train", SLURM_NTASKS="1", ENVIRONMENT="BATCH")
    environment = detect_environment()
    assert type(environment) is SLURMEnvironment
    environment.validate_settings(num_devices=1, num_nodes=1)
    assert (environment.world_size(), environment.global_rank()) == (1, 0)
    assert (environment.local_rank(), environment.node_rank()) == (0, 0)


@pytest.mark.parametrize(
    "variables",
    [
        SRUN,
        {**SRUN, "SLURM_TASKS_PER_NODE": "2(x2)"},
        {**SRUN, "SLURM_NTASKS_PER_NODE": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
        {name: v for name, v in SRUN.items() if name != "SLURM_NTASKS_PER_NODE"},
        {name: v for name, v in SRUN.items() if name != "SLURM_NNODES"},
        {**SRUN, "SLURM_STEP_ID": "0", "ENVIRONMENT": "BATCH"},
    ],
)
def test_what_was_started_is_accepted(launched, variables):
    launched(**variables)
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)


@pytest.mark.parametrize(
    ("devices", "nodes", "variables", "said"),
    [
        (4, 1, {}, "`devices=4` and `num_nodes=1` ask for 4 processes, but SLURM started 4 .*"
                   "SLURM_NNODES=2, SLURM_NTASKS_PER_NODE=2.*`devices=2` and `num_nodes=2`"),
        (2, 1, {}, "`num_nodes=1` ask for 2 processes, but SLURM started 4 .SLURM_NTASKS=4"),
        (4, 2, {}, "ask for 8 processes, .*--nodes=2 --ntasks-per-node=4"),
        (1, 1, {}, "ask for 1 process, .* `plugins=LightningEnvironment"),
        (2, 2, {"SLURM_STEP_TASKS_PER_NODE": "3,1"}, "SLURM_STEP_TASKS_PER_NODE=3,1"),
        (2, 1, {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "1"},
         "ask for 2 processes, but SLURM started 1 "),
    ],
)  # fmt: skip
def test_another_number_names_both(launched, devices, nodes, variables, said):
    launched(**{**SRUN, **variables})
    with pytest.raises(ValueError, match=said):
        SLURMEnvironment().validate_settings(devices, nodes)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"},
    ],
)
def test_several_tasks_and_no_srun(launched, variables):
    launched(**variables)
    with pytest.raises(ValueError, match="`SLURM_NTASKS=2`.*Write `srun python"):
        SLURMEnvironment().validate_settings(2, 1)
    launched(OMPI_COMM_WORLD_SIZE="2")
    with pytest.raises(ValueError, match="It was `mpirun`: pass `plugins=MPIEnvironment"):
        SLURMEnvironment().validate_settings(2, 1)
