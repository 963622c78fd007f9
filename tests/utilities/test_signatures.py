import functools
import math
from unittest.mock import Mock

import pytest

from pytorch_lightning.utilities.signatures import (
    accepts_parameter,
    is_param_in_hook_signature,
    positional_capacity,
)


class Net:
    def step(self, batch, batch_idx=0, *, flag=False):
        return batch

    def loose(self, *args, **kwargs):
        return args


def decorated(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


class Decorated:
    @decorated
    def step(self, batch, batch_idx):
        return batch


@pytest.mark.parametrize(
    ("function", "required", "maximum", "names"),
    [
        (Net().step, 1, 2, ("batch", "batch_idx")),
        (Net().loose, 0, math.inf, ()),
        (Decorated().step, 2, 2, ("batch", "batch_idx")),
        (lambda x, *rest: x, 1, math.inf, ("x",)),
        (functools.partial(lambda a, b, c: a, 1), 2, 2, ("b", "c")),
        (Mock(), 0, math.inf, ()),
        (lambda: None, 0, 0, ()),
    ],
)
def test_capacity_counts_what_may_be_given(function, required, maximum, names):
    assert positional_capacity(function) == (required, maximum, names)


def test_a_function_set_on_an_object_is_read_as_it_is():
    net = Net()
    net.step = lambda batch: batch
    assert positional_capacity(net.step) == (1, 1, ("batch",))


def test_a_function_that_cannot_be_read_takes_anything():
    assert positional_capacity(dict.update) == (0, math.inf, ())
    assert accepts_parameter(dict.update, "x", by_kwargs=True)


def test_accepts_parameter_by_name_and_by_kwargs():
    assert accepts_parameter(Net().step, "flag")
    assert not accepts_parameter(Net().step, "self")
    assert not accepts_parameter(Net().loose, "args")
    assert not accepts_parameter(Net().loose, "flag")
    assert accepts_parameter(Net().loose, "flag", by_kwargs=True)


def test_hook_signature_looks_at_names_varargs_and_counts():
    assert is_param_in_hook_signature(Net().step, "batch_idx")
    assert is_param_in_hook_signature(Net().loose, "batch_idx")
    assert not is_param_in_hook_signature(Net().loose, "batch_idx", explicit=True)
    assert is_param_in_hook_signature(Net().step, "other", min_args=2)
    assert not is_param_in_hook_signature(Net().step, "other", min_args=4)
