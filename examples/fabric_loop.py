"""The image classifier by a loop of one's own, with the same weights as from the Trainer.

python examples/fabric_loop.py
python examples/fabric_loop.py --devices 2 --strategy ddp_fork     # two processes on the CPU
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import pytorch_lightning as pl
from image_classifier import Digits, LitClassifier

try:
    from pytorch_lightning.fabric import Fabric
except ImportError:  # a release of the original
    from lightning_fabric import Fabric


def train_by_hand(fabric: Fabric, digits: Digits, epochs: int, path: Path) -> dict[str, float]:
    """Forty lines of loop: the training, and the accuracy on the test images."""
    fabric.seed_everything(1)
    digits.setup("fit")
    train, test = fabric.setup_dataloaders(digits.train_dataloader(), digits.test_dataloader())
    network = LitClassifier().net
    optimizer = torch.optim.AdamW(network.parameters(), 0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs * len(train))
    network, optimizer = fabric.setup(network, optimizer)
    for epoch in range(epochs):
        network.train()
        total = torch.zeros((), device=fabric.device)
        for images, labels in train:
            logits = network(LitClassifier.shift(images))
            loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += loss.detach()
        mean = fabric.all_reduce(total / len(train))
        fabric.print(f"epoch {epoch}: train_loss {mean:.4f}")
        fabric.save(path, {"network": network, "optimizer": optimizer, "epoch": epoch})
    network.eval()
    right, count = torch.zeros(2, device=fabric.device)
    with torch.no_grad():
        for images, labels in test:
            right += (network(images).argmax(1) == labels).sum()
            count += len(labels)
    right, count = fabric.all_reduce(torch.stack([right, count]), reduce_op="sum")
    return {"accuracy": float(right / count)}


def train_by_trainer(options: argparse.Namespace, digits: Digits) -> LitClassifier:
    """The same with the Trainer."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=options.devices,
        strategy=options.strategy,
        max_epochs=options.epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    pl.seed_everything(1)
    model = LitClassifier()
    trainer.fit(model, datamodule=digits)
    return model


def main(arguments: list[str] | None = None) -> int:
    """Train both ways and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--out", type=Path, default=Path("demo/fabric"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    digits = Digits()
    path = options.out / "by_hand.ckpt"
    fabric = Fabric(accelerator="cpu", devices=options.devices, strategy=options.strategy)
    scores = fabric.launch(train_by_hand, digits, options.epochs, path)
    trained = train_by_trainer(options, digits).net.state_dict()
    by_hand = torch.load(path, weights_only=True)["network"]
    same = all(torch.equal(by_hand[name], value) for name, value in trained.items())
    print(f"accuracy on the test images  {scores['accuracy']:.3f}")
    print(f"weights as with the Trainer  {'equal, bit for bit' if same else 'different'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
