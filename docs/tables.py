"""Writes the generated parts of docs/hooks.md: python docs/tables.py."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.core.hooks import HOOKS

DOCS = Path(__file__).parent
GOLDEN = DOCS.parent / "tests/loops/golden"
TRACES = ("fit", "manual", "validate", "predict")
OWNERS = {"DM": "datamodule", "CB": "callbacks", "LM": "module"}


def logging_table() -> str:
    """Who has each hook, and what `self.log` does in it, from the table of hooks."""
    lines = ["| Hook | Owners | `self.log` there |", "|---|---|---|"]
    for name, hook in HOOKS.items():
        flags = (hook.datamodule, hook.callback, hook.module)
        owners = [owner for owner, has in zip(OWNERS.values(), flags, strict=True) if has]
        rule = hook.logging
        if rule is None:
            word = "an error"
        else:
            word = "on the step" if rule.on_step else "on the epoch"
            word += "" if rule.step_allowed else "; `on_step=True` is an error"
        lines.append(f"| `{name}` | {', '.join(owners)} | {word} |")
    return "\n".join(lines)


def trace(name: str) -> str:
    """A golden trace, with the owners of one moment in a line and repeats counted."""
    events = [line.split(".", 1) for line in (GOLDEN / f"{name}.txt").read_text().splitlines()]
    moments: list[tuple[str, list[str]]] = []
    for owner, hook in events:
        if moments and moments[-1][0] == hook and OWNERS[owner] not in moments[-1][1]:
            moments[-1][1].append(OWNERS[owner])
        else:
            moments.append((hook, [OWNERS[owner]]))
    steps = [f"{hook}  ({', '.join(owners)})" for hook, owners in moments]
    return "```text\n" + "\n".join(_folded(steps, "")) + "\n```"


def _folded(steps: Sequence[str], indent: str) -> list[str]:
    """Write what comes several times in a row once, with a count; the longest repeats first."""
    for length in range(len(steps) // 2, 0, -1):
        for start in range(len(steps) - 2 * length + 1):
            block = steps[start : start + length]
            times = 1
            while steps[start + times * length : start + (times + 1) * length] == block:
                times += 1
            if times > 1:
                return [
                    *_folded(steps[:start], indent),
                    f"{indent}{times} times:",
                    *_folded(block, indent + "    "),
                    *_folded(steps[start + times * length :], indent),
                ]
    return [indent + step for step in steps]


def filled(text: str) -> str:
    """The page with each part between its markers made anew."""
    parts = {"logging": logging_table(), **{name: trace(name) for name in TRACES}}
    for name, content in parts.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"docs/hooks.md lacks the markers of {name!r}")
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


if __name__ == "__main__":
    page = DOCS / "hooks.md"
    page.write_text(filled(page.read_text()))
