"""A deep Q-network learns to balance a pole, from a replay buffer that fills while it trains.

python examples/dqn.py
python examples/dqn.py --env Acrobot-v1
python examples/dqn.py --resume demo/dqn/last.ckpt --steps 20000     # goes on, with its buffer
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger


class Replay(IterableDataset[list[Tensor]]):
    """The moments that the agent has seen, as a ring of tensors; gives random batches of them.

    A moment is the state before, the action, the reward, the state after and 1.0 if the pole fell.
    """

    def __init__(self, capacity: int, size_of_state: int, batch_size: int) -> None:
        sizes = ((size_of_state,), (), (), (size_of_state,), ())
        self.columns = [torch.zeros(capacity, *size) for size in sizes]
        self.columns[1] = self.columns[1].long()
        self.count, self.capacity, self.batch_size, self.drawn = 0, capacity, batch_size, 0

    def add(self, *moment: Any) -> None:
        """Keep a moment; the oldest one goes when the ring is full."""
        for column, value in zip(self.columns, moment, strict=True):
            column[self.count % self.capacity] = torch.as_tensor(value)
        self.count += 1

    def __len__(self) -> int:
        return 500  # batches of an epoch

    def __iter__(self) -> Iterator[list[Tensor]]:
        self.drawn %= len(self)  # the epoch before has ended
        while self.drawn < len(self):
            self.drawn += 1
            chosen = torch.randint(min(self.count, self.capacity), (self.batch_size,))
            yield [column[chosen] for column in self.columns]

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}  # where a run goes on; the module keeps the moments

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]


class LitDQN(pl.LightningModule):
    """Plays one moment for each batch that it learns from."""

    def __init__(self, env: str, learning_rate: float = 1e-3, discount: float = 0.99) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.env = gymnasium.make(env)
        (inputs,), actions = self.env.observation_space.shape, self.env.action_space.n
        hidden = [nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
        self.net = nn.Sequential(*hidden, nn.Linear(128, int(actions)))
        self.target = deepcopy(self.net).requires_grad_(False)
        self.replay = Replay(10_000, inputs, batch_size=128)
        self.returns: deque[float] = deque(maxlen=20)
        self.seen, self.total = None, 0.0  # the state now; None between two episodes
        self.episode: list[int] = []  # the seed of what is being played, and all actions

    def forward(self, states: Tensor) -> Tensor:
        return self.net(states)

    def act(self, state: Any, chance: float = 0.0) -> int:
        if torch.rand(()) < chance:
            return int(torch.randint(int(self.env.action_space.n), ()))
        with torch.no_grad():
            return int(self(torch.as_tensor(state)).argmax())

    def play(self, chance: float) -> None:
        if self.seen is None:
            self.episode, self.total = [int(torch.randint(2**31, ()))], 0.0
            self.seen = self.env.reset(seed=self.episode[0])[0]
        action = self.act(self.seen, chance)
        self.episode.append(action)
        after, reward, is_over, is_cut, _ = self.env.step(action)
        self.replay.add(self.seen, action, reward, after, float(is_over))
        self.seen, self.total = after, self.total + float(reward)
        if is_over or is_cut:
            self.returns.append(self.total)
            self.seen, self.episode = None, []

    def train_dataloader(self) -> DataLoader[Any]:
        while self.replay.count < 1000:
            self.play(chance=1.0)
        return DataLoader(self.replay, batch_size=None)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        for slow, fast in zip(self.target.parameters(), self.net.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.01)
        self.play(chance=max(0.02, 1 - self.global_step / 4000))
        states, actions, rewards, after, is_over = batch
        values = self(states).gather(1, actions[:, None])[:, 0]
        with torch.no_grad():  # the one network chooses, the other one judges
            later = self.target(after).gather(1, self(after).argmax(1, keepdim=True))[:, 0]
            wanted = rewards + self.hparams.discount * (1 - is_over) * later
        loss = F.smooth_l1_loss(values, wanted)
        self.log("recent_return", sum(self.returns) / max(1, len(self.returns)), prog_bar=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("greedy_return", mean_return(self, 10, 0.0, first=1000), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), self.hparams.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["columns"], checkpoint["count"] = self.replay.columns, self.replay.count
        checkpoint["returns"], checkpoint["episode"] = list(self.returns), self.episode

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.replay.columns, self.replay.count = checkpoint["columns"], checkpoint["count"]
        self.returns.extend(checkpoint["returns"])
        self.episode = list(checkpoint["episode"])
        if self.episode:  # play it again up to where it was
            self.seen, self.total = self.env.reset(seed=self.episode[0])[0], 0.0
        for action in self.episode[1:]:
            self.seen, reward, *_ = self.env.step(action)
            self.total += float(reward)


def mean_return(model: LitDQN, episodes: int, chance: float, first: int = 0) -> float:
    """Of episodes with seeds of their own, without learning."""
    env, total = gymnasium.make(model.hparams.env), 0.0
    for number in range(episodes):
        state, done = env.reset(seed=first + number)[0], False
        while not done:
            state, reward, is_over, is_cut, _ = env.step(model.act(state, chance))
            total, done = total + float(reward), is_over or is_cut
    return total / episodes


def draw(model: LitDQN, path: Path) -> None:
    """An episode as a strip: the pole every 20 moments."""
    from matplotlib.figure import Figure

    env = gymnasium.make(model.hparams.env)
    state, states = env.reset(seed=0)[0], []
    for _ in range(200):
        states.append(state)
        state, _, is_over, is_cut, _ = env.step(model.act(state))
        if is_over or is_cut:
            break
    figure = Figure(figsize=(12, 2))
    for column, (place, _, angle, *_) in enumerate(states[::20]):
        axes = figure.add_subplot(1, 10, column + 1)
        axes.plot([place - 0.3, place + 0.3], [0, 0], linewidth=6, color="gray")
        axes.plot([place, place + math.sin(angle)], [0, math.cos(angle)], linewidth=3)
        axes.set(xlim=(-2.4, 2.4), ylim=(-0.2, 1.2), xticks=[], yticks=[], title=f"{20 * column}")
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Play and learn, then play the best network without exploring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--episodes", type=int, default=100, help="to measure with")
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--out", type=Path, default=Path("demo/dqn"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    keep = {"mode": "max", "save_last": True, "enable_version_counter": False}
    best = ModelCheckpoint(options.out, monitor="greedy_return", **keep)
    run = {"max_steps": options.steps, "callbacks": [best], "logger": CSVLogger(options.out)}
    pl.Trainer(accelerator="cpu", **run).fit(LitDQN(options.env), ckpt_path=options.resume)
    model = LitDQN.load_from_checkpoint(best.best_model_path)
    print(f"\nmean return of {options.episodes} episodes")
    print(f"  at random  {mean_return(model, options.episodes, 1.0):6.1f}")
    print(f"  learned    {mean_return(model, options.episodes, 0.0):6.1f}")
    if options.env == "CartPole-v1":
        draw(model, options.out / "episode.png")
        print(f"drawn       {options.out / 'episode.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
