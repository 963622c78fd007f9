"""Parameters that have several names."""

from collections import defaultdict

from torch.nn import Module, Parameter


def find_shared_parameters(module: Module) -> list[list[str]]:
    """The groups of names that mean the same parameter.

    >>> from torch import nn
    >>> layer = nn.Linear(2, 2, bias=False)
    >>> find_shared_parameters(nn.Sequential(layer, layer))
    [['0.weight', '1.weight']]
    """
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return [group for group in names.values() if len(group) > 1]


def set_shared_parameters(module: Module, shared_params: list[list[str]]) -> Module:
    """Make each group of names mean the parameter of its first name again."""
    for first, *others in shared_params:
        parameter = module.get_parameter(first)
        for name in others:
            _put(module, name, parameter)
    return module


def _put(module: Module, name: str, parameter: Parameter) -> None:
    path, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(path), attribute, parameter)
