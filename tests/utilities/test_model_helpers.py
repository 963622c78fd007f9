from unittest.mock import Mock

import pytest

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.model_helpers import is_overridden


class Own(Callback):
    def on_fit_start(self, trainer, pl_module):
        self.called = True


class Child(Own):
    pass


def test_methods_of_subclasses_override():
    assert is_overridden("on_fit_start", Own())
    assert is_overridden("on_fit_start", Child())
    assert not is_overridden("on_fit_end", Own())
    assert not is_overridden("on_fit_start", Child(), parent=Own)


@pytest.mark.parametrize("function", [lambda trainer, module: None, Mock()])
def test_a_function_set_on_the_object_overrides(function):
    callback = Callback()
    callback.on_fit_start = function
    assert is_overridden("on_fit_start", callback)


def test_unknown_names_and_nothing():
    assert not is_overridden("no_such_hook", Own())
    assert not is_overridden("on_fit_start", None)


def test_any_class_may_be_the_parent():
    class Base:
        def run(self): ...

    class Derived(Base):
        def run(self): ...

        def more(self): ...

    assert is_overridden("run", Derived(), parent=Base)
    assert not is_overridden("run", Base(), parent=Base)
    with pytest.raises(ValueError, match="`Base` has no method `more`"):
        is_overridden("more", Derived(), parent=Base)


def test_an_object_of_another_kind_needs_a_parent():
    with pytest.raises(ValueError, match="derives from none of LightningModule"):
        is_overridden("run", object())
