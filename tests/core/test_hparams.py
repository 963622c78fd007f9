"""What `save_hyperparameters` keeps."""

import argparse
import copy
import dataclasses
import functools
import inspect
import pickle
import threading
import warnings

import pytest
from torch import nn

from pytorch_lightning.core.hparams import save_hyperparameters
from pytorch_lightning.core.mixins import HyperparametersMixin
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.parsing import AttributeDict
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.warnings import PossibleUserWarning


class Base(HyperparametersMixin, nn.Module):
    def __init__(self, x=1):
        super().__init__()
        self.save_hyperparameters()


def saving(*args, **options):
    """A class whose `__init__` saves what it is told to."""

    class Saving(HyperparametersMixin, nn.Module):
        def __init__(self, conf=None, width=2, **rest):
            super().__init__()
            self.save_hyperparameters(*args, **options)

    return Saving


def test_every_argument_is_kept_and_kwargs_one_by_one():
    module = saving()(1, depth=3)
    assert module.hparams == {"conf": 1, "width": 2, "depth": 3}
    assert isinstance(module.hparams, AttributeDict)
    assert module.hparams.depth == 3
    assert module._hparams_name == "kwargs"


def test_positional_rest_is_left_out():
    class Net(HyperparametersMixin):
        def __init__(self, a, *rest, b=2, **named):
            self.save_hyperparameters()

    assert Net(1, 8, 9, c=3).hparams == {"a": 1, "b": 2, "c": 3}


def test_keyword_only_and_positional_only_arguments():
    class Net(HyperparametersMixin):
        def __init__(self, a, /, *, frame=2, logger=5):
            self.save_hyperparameters()

    assert Net(1).hparams == {"a": 1, "frame": 2, "logger": 5}


def test_arguments_of_all_classes_and_the_made_class_has_the_last_word():
    class Sub(Base):
        def __init__(self, x=2, y=3):
            super().__init__(x=x * 10)

    assert Sub().hparams == {"x": 2, "y": 3}


def test_a_subclass_may_ignore_what_its_parent_kept():
    class Sub(Base):
        def __init__(self, x=2, y=3):
            super().__init__(x)
            self.save_hyperparameters(ignore="y")

    sub = Sub()
    assert sub.hparams == {"x": 2}
    assert sub.hparams_initial == {"x": 2}


def test_values_are_those_of_the_moment_of_the_call():
    class Net(HyperparametersMixin):
        def __init__(self, width):
            width = width * 2
            self.save_hyperparameters()
            width = -1
            self.width = width

    assert Net(4).hparams.width == 8


def test_an_argument_that_a_closure_holds_is_kept():
    class Net(HyperparametersMixin):
        def __init__(self, width):
            self.double = lambda: (self, width * 2)
            self.save_hyperparameters()

    assert Net(4).hparams == {"width": 4}


def test_called_through_a_method():
    class Net(HyperparametersMixin):
        def __init__(self, width):
            self.keep()

        def keep(self):
            self.save_hyperparameters()

    assert Net(4).hparams == {"width": 4}


def test_arguments_of_another_object_on_the_stack_are_not_taken():
    class Outer(HyperparametersMixin, nn.Module):
        def __init__(self, conf=1):
            super().__init__()
            self.inner = Base(x=5)
            self.save_hyperparameters()

    outer = Outer()
    assert outer.inner.hparams == {"x": 5}
    assert outer.hparams == {"conf": 1}


def test_partial_and_mixins():
    class Mixin:
        def __init__(self, *args, extra="e", **kwargs):
            super().__init__(*args, **kwargs)

    class Net(Mixin, Base):
        def __init__(self, x, depth=3):
            super().__init__(x, extra="f")

    assert functools.partial(Net, depth=4)(7).hparams == {"x": 7, "depth": 4, "extra": "f"}


def test_a_dataclass_module():
    @dataclasses.dataclass(eq=False)
    class Net(HyperparametersMixin, nn.Module):
        width: int
        depth: float = 2.0

        def __post_init__(self):
            super().__init__()
            self.save_hyperparameters()

    assert Net(3).hparams == {"width": 3, "depth": 2.0}


def test_names():
    assert saving("width", "deep")(1, 5, deep=6).hparams == {"width": 5, "deep": 6}


def test_a_name_that_does_not_exist_is_refused_with_a_hint():
    with pytest.raises(MisconfigurationException, match="Did you mean 'width'"):
        saving("widht")()


@pytest.mark.parametrize("ignore", ["conf", ["conf"], ("conf", "unknown"), {"conf"}])
def test_ignore(ignore):
    assert saving(ignore=ignore)(1).hparams == {"width": 2}


def test_ignore_wins_over_a_name():
    assert saving("conf", "width", ignore="conf")(1).hparams == {"width": 2}


@dataclasses.dataclass
class Config:
    a: int = 1
    b: tuple = (2, 3)


@pytest.mark.parametrize(
    "container", [{"a": 1, "b": (2, 3)}, argparse.Namespace(a=1, b=(2, 3)), Config()]
)
def test_one_container_is_kept_with_the_name_it_came_under(container):
    class Net(HyperparametersMixin):
        def __init__(self, conf, width=2):
            self.save_hyperparameters(conf)

    net = Net(container)
    assert net.hparams == {"a": 1, "b": (2, 3)}
    assert net.hparams.a == 1
    assert net._hparams_name == "conf"


def test_a_container_made_on_the_spot_has_no_name():
    class Net(HyperparametersMixin):
        def __init__(self, conf):
            self.save_hyperparameters({"conf": conf, "k": 1})

    net = Net(3)
    assert net.hparams == {"conf": 3, "k": 1}
    assert net._hparams_name is None


def test_a_container_loses_ignored_keys():
    class Net(HyperparametersMixin):
        def __init__(self, conf):
            self.save_hyperparameters(conf, ignore=["secret"])

    assert Net({"a": 1, "secret": 2}).hparams == {"a": 1}


def test_several_containers_are_kept_side_by_side():
    class Net(HyperparametersMixin):
        def __init__(self, left, right):
            self.save_hyperparameters(left, right)

    assert Net({"a": 1}, {"b": 2}).hparams == {"left": {"a": 1}, "right": {"b": 2}}


def test_an_omegaconf_container_is_kept_as_it_is():
    class Foreign:
        __module__ = "omegaconf.dictconfig"

    class Net(HyperparametersMixin):
        def __init__(self, conf):
            self.save_hyperparameters(conf)

    conf = Foreign()
    net = Net(conf)
    assert net.hparams is conf
    assert net._hparams_name == "conf"


@pytest.mark.parametrize("value", [3, 2.5, True, [1], object()])
def test_what_has_no_names_is_refused(value):
    class Net(HyperparametersMixin):
        def __init__(self, conf):
            self.save_hyperparameters(conf)

    with pytest.raises(ValueError, match="save_hyperparameters"):
        Net(value)


@pytest.mark.parametrize("empty", [None, {}])
def test_an_empty_container_keeps_nothing(empty):
    assert saving(empty)().hparams == {}


def test_a_second_call_adds_and_overwrites():
    class Net(HyperparametersMixin):
        def __init__(self, conf, z):
            self.save_hyperparameters(conf)
            self.save_hyperparameters("z")
            self.save_hyperparameters({"z": 6})

    net = Net({"a": 1}, 5)
    assert net.hparams == {"a": 1, "z": 6}
    assert net.hparams_initial == {"a": 1, "z": 6}
    assert net._hparams_name == "kwargs"


def test_logger_flag():
    assert saving(logger=False)()._log_hyperparams is False
    assert saving()()._log_hyperparams is True
    assert HyperparametersMixin()._log_hyperparams is False


def test_frame():
    class Net(HyperparametersMixin):
        def __init__(self, a):
            keep(self)

    def keep(net):
        net.save_hyperparameters(frame=inspect.currentframe().f_back)

    assert Net(4).hparams == {"a": 4}


def test_the_function_form():
    class Net(HyperparametersMixin):
        def __init__(self, a):
            save_hyperparameters(self)

    assert Net(4).hparams == {"a": 4}
    net = HyperparametersMixin()
    save_hyperparameters(net, given_hparams={"b": 1})
    assert net.hparams == {"b": 1}


def test_outside_of_init_it_warns():
    net = HyperparametersMixin()
    with pytest.warns(PossibleUserWarning, match="inside the `__init__`"):
        net.save_hyperparameters()
    assert net.hparams == {}
    net.save_hyperparameters({"a": 1})
    assert net.hparams == {"a": 1}


def test_a_module_among_the_values_is_warned_about_once():
    warnings_given.clear()
    with pytest.warns(UserWarning, match=r"'conf' is an `nn.Module`.*ignore=\['conf'\]"):
        saving()(nn.Linear(1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saving()(nn.Linear(1, 1))
        saving(ignore="conf")(nn.ReLU())


def test_initial_values_are_a_deep_copy():
    net = saving()([1, 2])
    net.hparams.conf.append(3)
    net.hparams.width = 9
    assert net.hparams_initial == {"conf": [1, 2], "width": 2}
    net.hparams_initial["conf"].append(4)
    assert net.hparams_initial.conf == [1, 2]


def test_values_that_cannot_be_copied_are_kept():
    lock, numbers = threading.Lock(), (i for i in range(3))
    net = saving()(lock, numbers)
    assert net.hparams == {"conf": lock, "width": numbers}
    assert net.hparams_initial.width is numbers


def test_a_class_that_never_called_it_has_empty_ones():
    net = HyperparametersMixin()
    assert net.hparams == {}
    assert net.hparams_initial == {}
    net.hparams["a"] = 1
    assert net.hparams.a == 1


def test_copies_and_pickles_keep_them():
    for other in (copy.deepcopy(Base(4)), pickle.loads(pickle.dumps(Base(4)))):
        assert other.hparams == {"x": 4}
        assert other.hparams_initial == {"x": 4}
        other.hparams.x = 5
        assert other.hparams_initial == {"x": 4}


def test_remove_ignored_hparams():
    net = saving()(1)
    net.remove_ignored_hparams(["conf", "unknown"])
    assert net.hparams == {"width": 2}
