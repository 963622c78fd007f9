import pytest

from pytorch_lightning.utilities.deepspeed import ds_checkpoint_dir


def test_the_latest_step_is_read_from_its_file(tmp_path):
    (tmp_path / "step_3").mkdir()
    (tmp_path / "latest").write_text("step_3\n")
    assert ds_checkpoint_dir(tmp_path) == str(tmp_path / "step_3")
    assert ds_checkpoint_dir(tmp_path, tag="step_3") == str(tmp_path / "step_3")


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="No file 'latest'"):
        ds_checkpoint_dir(tmp_path)
    with pytest.raises(FileNotFoundError, match="step_9"):
        ds_checkpoint_dir(tmp_path, tag="step_9")
