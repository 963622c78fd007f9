"""What DeepSpeed needs and what it is told, without the package; tests/extras trains with it."""

import importlib.util

import pytest
import torch
from tests.checkpoint import hostile

from pytorch_lightning import Trainer
from pytorch_lightning.plugins import DeepSpeedPrecision
from pytorch_lightning.strategies import DeepSpeedStrategy, StrategyRegistry
from pytorch_lightning.utilities.deepspeed import convert_zero_checkpoint_to_fp32_state_dict
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException

missing = importlib.util.find_spec("deepspeed") is None
NAMES = [name for name in StrategyRegistry.available_strategies() if "deepspeed" in name]


@pytest.mark.skipif(not missing, reason="the package is there")
@pytest.mark.parametrize("name", NAMES)
def test_without_the_package_a_sentence_says_how_to_get_it(name):
    with pytest.raises(MisconfigurationException, match="pip install deepspeed"):
        Trainer(accelerator="cpu", strategy=name)


def test_the_names_and_what_they_mean():
    assert NAMES == [
        "deepspeed",
        "deepspeed_stage_1",
        "deepspeed_stage_2",
        "deepspeed_stage_2_offload",
        "deepspeed_stage_3",
        "deepspeed_stage_3_offload",
        "deepspeed_stage_3_offload_nvme",
    ]
    assert {StrategyRegistry[name].provider for name in NAMES} == {DeepSpeedStrategy}
    nvme = StrategyRegistry["deepspeed_stage_3_offload_nvme"].init_params
    assert (nvme["stage"], nvme["remote_device"], nvme["offload_params_device"]) == (
        3,
        "nvme",
        "nvme",
    )


def test_its_precision_knows_five_names_and_needs_its_engine():
    with pytest.raises(ValueError, match="'64-true'"):
        DeepSpeedPrecision("64-true")
    precision = DeepSpeedPrecision("bf16-mixed")
    with pytest.raises(MisconfigurationException, match="precision='bf16-mixed'"):
        precision.optimizer_step(None, None, None)


def test_a_folder_without_files_is_told(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "latest").write_text("checkpoint")
    with pytest.raises(FileNotFoundError, match="model_states"):
        convert_zero_checkpoint_to_fp32_state_dict(tmp_path, tmp_path / "one.ckpt")


@pytest.mark.faults
@pytest.mark.parametrize("file", ["mp_rank_00_model_states.pt", "zero_pp_rank_0_optim_states.pt"])
@pytest.mark.parametrize("trick", ["reduce", "newobj", "stack global", "nested module name"])
def test_a_hostile_folder_runs_nothing_and_is_refused(file, trick, tmp_path, tally):
    # VU#252619: DeepSpeed's folders were read with `pickle`
    tally("hostile file")
    folder, marker = tmp_path / "checkpoint", tmp_path / "marker"
    folder.mkdir()
    torch.save({"module": {}}, folder / "mp_rank_00_model_states.pt")
    hostile.archive(folder / file, hostile.pickled(hostile.opcodes(marker)[trick]))
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        convert_zero_checkpoint_to_fp32_state_dict(tmp_path, tmp_path / "one.ckpt", "checkpoint")
    assert not marker.exists() and not (tmp_path / "one.ckpt").exists()
