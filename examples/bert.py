"""Tell by a paragraph of documentation which package of the standard library it is from.

python examples/bert.py                             # a small BERT from scratch
python examples/bert.py --precision bf16-mixed
python examples/bert.py --data glue --task mrpc --model distilbert-base-uncased   # needs a network
"""

from __future__ import annotations

import argparse
import ast
import socket
import sys
import sysconfig
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

PACKAGES = [
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "xml",
]
Sample = tuple[list[int], int]  # token numbers and the class
Loaded = tuple[dict[str, list[Sample]], list[str], dict[str, int]]


def paragraphs_of(package: str) -> list[str]:
    """Those of all docstrings of a package, from five words on."""
    found = set()
    for path in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            for part in (text or "").split("\n\n"):
                found.add(" ".join(part.split()))
    return sorted(text for text in found if len(text.split()) >= 5)


def load_docstrings() -> Loaded:
    """Parts by name, names of classes, and sizes for the model."""
    from tokenizers import BertWordPieceTokenizer

    texts = [(text, label) for label, name in enumerate(PACKAGES) for text in paragraphs_of(name)]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    held_out, train = order[: len(texts) // 6], order[len(texts) // 6 :]
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator([texts[i][0] for i in train], 4000, show_progress=False)
    tokenizer.enable_truncation(64)
    numbered = [(tokenizer.encode(text).ids, label) for text, label in texts]
    parts = {"train": [numbered[i] for i in train], "short": [], "long": []}
    for ids, label in (numbered[i] for i in held_out):
        parts["short" if len(ids) < 20 else "long"].append((ids, label))
    return parts, PACKAGES, {"vocab_size": tokenizer.get_vocab_size()}


def load_glue(task: str, model: str) -> Loaded:
    """A task of GLUE; `mnli` has two held-out parts."""
    socket.create_connection(("huggingface.co", 443), timeout=2).close()
    import datasets
    from transformers import AutoTokenizer

    data = datasets.load_dataset("glue", task)
    columns = [c for c in data["train"].column_names if c not in ("label", "idx")]
    tokenizer = AutoTokenizer.from_pretrained(model)
    parts = {}
    for name in (name for name in data if not name.startswith("test")):
        texts = [data[name][column] for column in columns]
        ids = tokenizer(*texts, truncation=True, max_length=128)["input_ids"]
        parts[name] = list(zip(ids, data[name]["label"], strict=True))
    return parts, data["train"].features["label"].names, {}


def padded(samples: list[Sample]) -> dict[str, Tensor]:
    """A batch of shape (samples, longest)."""
    ids, labels = zip(*samples, strict=True)
    inputs = nn.utils.rnn.pad_sequence([torch.tensor(line) for line in ids], batch_first=True)
    mask = (inputs != 0).long()
    return {"input_ids": inputs, "attention_mask": mask, "labels": torch.tensor(labels)}


class LitBert(pl.LightningModule):
    """A BERT with a head for classes; the rate of learning warms up and goes down by steps."""

    def __init__(
        self, names: list[str], model: str | None = None, vocab_size: int = 0, rate: float = 2e-3
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        from transformers import AutoModelForSequenceClassification as Model
        from transformers import BertConfig

        if model is None:
            sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
            sizes |= {"vocab_size": vocab_size, "intermediate_size": 256}
            self.net = Model.from_config(BertConfig(**sizes, num_labels=len(names)))
        else:
            self.net = Model.from_pretrained(model, num_labels=len(names))
        self.register_buffer("confusion", torch.zeros(len(names), len(names)), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.net(batch["input_ids"], batch["attention_mask"]).logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch), batch["labels"])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if batch_idx == dataloader_idx == 0:
            self.confusion.zero_()
        labels, found = batch["labels"], self(batch).argmax(1)
        self.log("acc", (found == labels).float().mean(), batch_size=len(labels))
        ones = torch.ones(len(labels), device=self.device)
        self.confusion.index_put_((labels, found), ones, accumulate=True)

    def on_validation_epoch_end(self) -> None:
        self.log("val_acc", self.confusion.trace() / self.confusion.sum(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        groups = [{"params": [p for p in self.parameters() if p.dim() > 1]}]
        groups += [{"params": [p for p in self.parameters() if p.dim() <= 1], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, self.hparams.rate, weight_decay=0.05)
        steps = int(self.trainer.estimated_stepping_batches)

        def rate(step: int, warm: int = steps // 10 + 1) -> float:
            return min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def draw(counts: Tensor, names: list[str], path: Path) -> None:
    """Which class was taken for which."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="tight")
    axes = figure.add_subplot(xlabel="found", ylabel="true")
    axes.imshow((counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Train, and measure the best checkpoint on texts that were held out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["docstrings", "glue"], default="docstrings")
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--model", default="distilbert-base-uncased", help="for glue")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("demo/bert"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    ours = options.data == "docstrings"
    try:
        parts, names, sizes = load_docstrings() if ours else load_glue(options.task, options.model)
        model = LitBert(names, **sizes) if ours else LitBert(names, options.model, rate=3e-5)
    except Exception as failure:
        reason = str(failure).partition("\n")[0]
        print(f"`--data {options.data}` cannot be loaded here: {reason}", file=sys.stderr)
        return 2
    train = DataLoader(parts.pop("train"), 32, shuffle=True, collate_fn=padded)
    held_out = [DataLoader(part, 64, collate_fn=padded) for part in parts.values()]
    best = ModelCheckpoint(monitor="val_acc", mode="max")
    run = {"max_epochs": options.epochs, "precision": options.precision, "gradient_clip_val": 1.0}
    run |= {"logger": CSVLogger(options.out), "callbacks": [best]}
    trainer = pl.Trainer(accelerator="cpu", **run)
    trainer.fit(model, train, held_out)
    scores = trainer.validate(model, held_out, ckpt_path="best", verbose=False)
    counts = model.confusion
    print(f"\naccuracy on {counts.sum():.0f} held-out texts")
    print(f"  always the most common class  {counts.sum(1).max() / counts.sum():.3f}")
    print(f"  BERT                          {scores[0]['val_acc']:.3f}")
    for number, name in enumerate(parts):
        print(f"    {name:27} {scores[number][f'acc/dataloader_idx_{number}']:.3f}")
    draw(counts, names, options.out / "confusion.png")
    print(f"drawn       {options.out / 'confusion.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
