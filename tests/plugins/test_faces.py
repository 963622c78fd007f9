import importlib

import pytest

from pytorch_lightning import distributed, precision
from pytorch_lightning.checkpoint import io


@pytest.mark.parametrize(
    ("path", "source", "names"),
    [
        ("plugins", precision, ["DoublePrecision", "HalfPrecision", "MixedPrecision", "Precision"]),
        (
            "plugins.precision",
            precision,
            ["DoublePrecision", "HalfPrecision", "MixedPrecision", "Precision"],
        ),
        ("plugins", io, ["CheckpointIO", "TorchCheckpointIO"]),
        ("plugins.io", io, ["CheckpointIO", "TorchCheckpointIO"]),
        (
            "plugins.environments",
            distributed,
            ["ClusterEnvironment", "LightningEnvironment"],
        ),
    ],
)
def test_the_documented_paths_give_the_same_classes(path, source, names):
    face = importlib.import_module(f"pytorch_lightning.{path}")
    for name in names:
        assert getattr(face, name) is getattr(source, name)
        assert name in face.__all__
