"""The code blocks of a page in reStructuredText, and what they need to run offline."""

import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path

import torch

PAGE = Path(__file__).with_name("introductory-level-1.rst")
_DIRECTIVES = ("testsetup", "testcode", "code-block")


@dataclass(frozen=True)
class Block:
    """A code block as printed."""

    language: str
    source: str
    line: int

    def compile(self):
        """Code whose tracebacks point at the line of the page."""
        return compile("\n" * (self.line - 1) + self.source, str(PAGE), "exec")


def blocks(text):
    """All code blocks of a page, in order."""
    lines = text.splitlines()
    found = []
    for index, line in enumerate(lines):
        head, colons, argument = line.strip().partition("::")
        directive = head.removeprefix("..").strip()
        if not colons or not head.startswith("..") or directive not in _DIRECTIVES:
            continue
        margin = len(line) - len(line.lstrip())
        start = index + 1
        while lines[start].strip().startswith(":") or not lines[start].strip():
            start += 1
        end = start
        while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > margin):
            end += 1
        language = argument.strip() if directive == "code-block" else "python"
        source = textwrap.dedent("\n".join(lines[start:end])).strip() + "\n"
        found.append(Block(language, source, start + 1))
    return found


def _indent(line):
    return len(line) - len(line.lstrip())


class Digits(torch.utils.data.Dataset):
    """Stands in for torchvision's MNIST: a few images that are the same on every machine."""

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        generator = torch.Generator().manual_seed(5)
        self.data = torch.randint(0, 256, (8, 28, 28), generator=generator, dtype=torch.uint8)
        self.transform = transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.transform(self.data[index]), index % 10


class ToTensor:
    """Bytes from 0 to 255 to numbers from 0 to 1, with an axis for the channel."""

    def __call__(self, image):
        return image.float().unsqueeze(0) / 255


def install_torchvision(monkeypatch):
    """Put a `torchvision` of these two into `sys.modules`."""
    root = types.ModuleType("torchvision")
    root.transforms = types.ModuleType("torchvision.transforms")
    root.datasets = types.ModuleType("torchvision.datasets")
    root.transforms.ToTensor = ToTensor
    root.datasets.MNIST = Digits
    for module in (root, root.transforms, root.datasets):
        monkeypatch.setitem(sys.modules, module.__name__, module)
