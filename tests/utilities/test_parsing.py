import copy
import inspect
import pickle
from argparse import Namespace
from types import SimpleNamespace

import pytest

from pytorch_lightning.utilities.parsing import (
    AttributeDict,
    clean_namespace,
    collect_init_args,
    flatten_dict,
    get_init_args,
    is_picklable,
    lightning_getattr,
    lightning_hasattr,
    lightning_setattr,
    parse_class_init_keys,
    str_to_bool,
    str_to_bool_or_int,
    str_to_bool_or_str,
)


def test_attribute_dict_reads_and_writes_both_ways():
    hparams = AttributeDict({"lr": 0.1}, width=3)
    hparams.depth = 2
    hparams["lr"] = 0.2
    del hparams.width
    assert hparams == {"lr": 0.2, "depth": 2}
    assert hparams.lr == 0.2


def test_attribute_dict_names_what_was_meant():
    hparams = AttributeDict(learning_rate=0.1)
    with pytest.raises(AttributeError, match="no attribute 'learning_rat'.*'learning_rate'"):
        _ = hparams.learning_rat
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        del hparams.other


def test_attribute_dict_copies_and_pickles():
    hparams = AttributeDict(layers=[1, 2])
    clone = copy.deepcopy(hparams)
    clone.layers.append(3)
    assert hparams.layers == [1, 2]
    again = pickle.loads(pickle.dumps(hparams))
    assert type(again) is AttributeDict
    assert again == hparams


def test_attribute_dict_prints_one_aligned_line_for_each_key():
    assert repr(AttributeDict(x=1, long_name="s")) == '"long_name": s\n"x":         1'
    assert repr(AttributeDict()) == ""


class Inner:
    def __init__(self, a, b=2, *rest, **options):
        super().__init__()
        a = a * 10
        self.found = collect_init_args(inspect.currentframe(), [])
        self.own = get_init_args(inspect.currentframe())


class Outer(Inner):
    def __init__(self, c, **options):
        super().__init__(c + 1, extra=4, **options)


class Builder:
    def __init__(self, name):
        super().__init__()
        self.part = Outer(5, b=9)


def test_init_args_are_taken_as_they_are_now_with_kwargs_flattened():
    assert Inner(1).own == {"a": 10, "b": 2}
    assert Inner(1, 3, 4, x=5).own == {"a": 10, "b": 3, "x": 5}


def test_init_args_of_the_whole_chain_but_not_of_who_builds_the_object():
    assert Outer(1, b=7).found == [{"a": 20, "b": 7, "extra": 4}, {"c": 1, "b": 7}]
    assert Builder("name").part.found == [{"a": 60, "b": 9, "extra": 4}, {"c": 5, "b": 9}]


def test_a_frame_outside_of_a_constructor_has_no_init_args():
    assert get_init_args(inspect.currentframe()) == {}
    assert collect_init_args(inspect.currentframe(), []) == []


def test_names_of_self_args_and_kwargs():
    assert parse_class_init_keys(Inner) == ("self", "rest", "options")
    assert parse_class_init_keys(Builder) == ("self", None, None)


@pytest.mark.parametrize("make", [dict, lambda **items: Namespace(**items)])
def test_what_cannot_be_pickled_is_removed_with_a_warning(make):
    hparams = make(lr=0.1, function=lambda: None)
    with pytest.warns(UserWarning, match="'function' cannot be pickled"):
        clean_namespace(hparams)
    items = hparams if isinstance(hparams, dict) else vars(hparams)
    assert items == {"lr": 0.1}
    assert is_picklable(items)
    assert not is_picklable(lambda: None)


def holder():
    datamodule = SimpleNamespace(batch_size=8)
    hparams = AttributeDict(lr=0.1, both=1)
    return SimpleNamespace(both=2, hparams=hparams, _trainer=SimpleNamespace(datamodule=datamodule))


def test_attributes_are_found_in_model_hparams_and_datamodule():
    model = holder()
    assert lightning_hasattr(model, "lr")
    assert not lightning_hasattr(model, "nothing")
    assert lightning_getattr(model, "batch_size") == 8
    assert lightning_getattr(model, "both") == 1
    with pytest.raises(AttributeError, match="'nothing' is neither"):
        lightning_getattr(model, "nothing")


def test_attributes_are_set_wherever_they_are():
    model = holder()
    lightning_setattr(model, "both", 5)
    lightning_setattr(model, "batch_size", 16)
    assert (model.both, model.hparams.both) == (5, 5)
    assert model._trainer.datamodule.batch_size == 16
    with pytest.raises(AttributeError, match="'nothing' is neither"):
        lightning_setattr(model, "nothing", 1)


def test_text_to_values():
    assert [str_to_bool_or_str(text) for text in ("Yes", "off", "1", "auto")] == [
        True,
        False,
        True,
        "auto",
    ]
    assert [str_to_bool_or_int(text) for text in ("true", "5", "x")] == [True, 5, "x"]
    assert str_to_bool("n") is False
    with pytest.raises(ValueError, match="'maybe' is no truth value"):
        str_to_bool("maybe")


def test_nested_dictionaries_become_flat():
    assert flatten_dict({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "c": 2, "e": 3}
