"""YAML of unknown origin as plain data, at a cost that its size limits."""

from typing import Any

from pytorch_lightning.checkpoint.keys import check_keys

LARGEST = 4 << 20
_MOST_VALUES = 200_000  # counted as if no alias were shared
_DEEPEST = 100
_LONGEST_NUMBER = 1_000


def read_plain_yaml(text: str) -> Any:
    """The one document of a text; objects that Python tags name come back as plain data.

    Raises:
        ValueError: It is too large, too deep, or unfolds to far more than it looks like.
        yaml.YAMLError: It is no YAML.
    """
    import yaml

    if len(text) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    # the reader in C is ten times faster, but not in every build of yaml
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    _check_events(yaml.parse(text, Loader=kind))
    node = yaml.compose(text, Loader=kind)
    if node is None:
        return None
    _unfolded(node, {}, 0)
    loader = _plain_loader(yaml)("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_events(events: Any) -> None:
    """Refuse depth before anything is built, since building goes by recursion."""
    depth = 0
    for count, event in enumerate(events):
        name = type(event).__name__
        if name in ("MappingStartEvent", "SequenceStartEvent"):
            depth += 1
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            depth -= 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        if count > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES} values")


def _unfolded(node: Any, sizes: dict[int, int], depth: int) -> int:
    """How many values there are below a node, with what aliases repeat."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply, or contains itself")
    known = sizes.get(id(node))
    if known is None:
        children = node.value if isinstance(node.value, list) else []
        known = 1
        for child in children:
            for item in child if isinstance(child, tuple) else (child,):
                known += _unfolded(item, sizes, depth + 1)
                if known > _MOST_VALUES:
                    raise ValueError(f"it unfolds to more than {_MOST_VALUES} values")
        sizes[id(node)] = known
    return known


def _plain_loader(yaml: Any) -> Any:
    """A safe loader that also reads files with Python tags, without making what they name."""

    class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is imported on use
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                self.flatten_mapping(node)
                check_keys(self.construct_object(key, deep=True) for key, _ in node.value)
            return super().construct_mapping(node, deep=deep)

        def construct_yaml_int(self, node: Any) -> int:
            if len(node.value) > _LONGEST_NUMBER:
                raise ValueError(f"it has a number of {len(node.value)} digits")
            return int(super().construct_yaml_int(node))

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    def tuple_of(loader: Any, node: Any) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
    PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", tuple_of)
    PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    return PlainLoader
