"""The first difference between two stories, in plain words."""

from collections.abc import Sequence

from pytorch_lightning.testing.digests import Texts
from pytorch_lightning.testing.story import Seen


def say_difference(whole: Sequence[Seen], other: Sequence[Seen], ignore: Sequence[str]) -> str:
    """The first thing in which another run differs from the whole one; nothing if none does."""
    left = [seen for seen in whole if not _is_ignored(seen.what, ignore)]
    right = [seen for seen in other if not _is_ignored(seen.what, ignore)]
    for one, two in zip(left, right, strict=False):
        if one[:2] != two[:2]:
            return f"{_name(two)} comes where the whole run has {_name(one)}."
        if one.texts != two.texts and (said := _leaf(one, two, ignore)):
            return said
    if len(left) > len(right):
        return f"it ends where the whole run goes on with {_name(left[len(right)])}."
    if len(right) > len(left):
        return f"it goes on with {_name(right[len(left)])} where the whole run ends."
    return ""


def _is_ignored(what: str, ignore: Sequence[str]) -> bool:
    return any(word in what for word in ignore)


def _name(seen: Seen) -> str:
    return f"{seen.what} ({seen.place})"


def _leaf(one: Seen, two: Seen, ignore: Sequence[str]) -> str:
    was, now = one.texts, two.texts
    paths = [path for path in [*was, *now] if was.get(path) != now.get(path)]
    paths = [path for path in dict.fromkeys(paths) if not _starts(path, ignore)]
    if not paths:
        return ""
    path = paths[0]
    rest = f" ({len(paths) - 1} more differ in it)" if len(paths) > 1 else ""
    name = f"{one.what}: `{path}`" if path else one.what
    return (
        f"{name} ({one.place}) is {_value(now, path)}, in the whole run {_value(was, path)}{rest}."
    )


def _starts(path: str, ignore: Sequence[str]) -> bool:
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in ignore)


def _value(texts: Texts, path: str) -> str:
    return texts.get(path, "missing")
