"""Values to plain data and back."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import math
import pathlib
import sys
import types
import uuid
import warnings

import numpy as np
import pytest
import torch

from pytorch_lightning.checkpoint.plain import (
    TAG,
    VALUE,
    drop_unplain,
    from_plain,
    is_plain,
    to_plain,
)
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import warnings_given


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


Pair = collections.namedtuple("Pair", "left right")


class Settings(dict):
    """A mapping of a user."""


class AttributeDict(dict):
    """As hyperparameters are."""


@dataclasses.dataclass
class Config:
    lr: float = 0.1


def through_torch(value):
    """What a reader that takes nothing but data gets of it."""
    file = io.BytesIO()
    torch.save(to_plain(value, "value"), file)
    file.seek(0)
    return from_plain(torch.load(file, weights_only=True))


SAME = {
    "none": None,
    "int": 10**30,
    "float": 1e-300,
    "infinite": math.inf,
    "complex": 1 + 2j,
    "text": "h\u00e9 \U0001f600",
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"z"),
    "dtype": torch.bfloat16,
    "device": torch.device("cuda", 1),
    "size": torch.Size([1, 2]),
    "set": {1, "a"},
    "set of paths": {pathlib.Path("a")},
    "set of types": {torch.float32},
    "frozenset": frozenset({(1, 2)}),
    "ordered": collections.OrderedDict(b=1, a=2),
    "path": pathlib.Path("a/b"),
    "pure posix": pathlib.PurePosixPath("/a"),
    "pure windows": pathlib.PureWindowsPath("c:\\a"),
    "namespace": argparse.Namespace(a=[pathlib.Path("x")], b=None),
    "simple namespace": types.SimpleNamespace(a=1),
    "timedelta": datetime.timedelta(-1, 2, 3),
    "datetime": datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    "aware": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "date": datetime.date(2020, 1, 2),
    "time": datetime.time(1, 2, 3),
    "deque": collections.deque([1, (2,)], maxlen=3),
    "defaultdict": collections.defaultdict(list, {"a": [1], pathlib.Path("k"): []}),
    "defaultdict without": collections.defaultdict(None, {1: 2}),
    "counter": collections.Counter("aab"),
    "range": range(1, 9, 2),
    "slice": slice(None, 3),
    "ellipsis": ...,
    "decimal": decimal.Decimal("1.50"),
    "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=7),
    "odd keys": {(1, "a"): 1, None: 2, pathlib.Path("k"): 3, 1.5: 4},
    "nested": [({"a": (pathlib.Path("x"), {"b": range(3)})},)],
}


@pytest.mark.parametrize("name", SAME)
def test_a_value_comes_back_as_it_was(name):
    back = through_torch(SAME[name])
    assert type(back) is type(SAME[name])
    assert back == SAME[name]
    assert repr(back) == repr(SAME[name])


ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided": np.arange(10)[::3],
    "none dimensional": np.array(3.5),
    "empty": np.zeros((0, 2), dtype=np.int8),
    "text": np.array(["a", "h\u00e9"]),
    "bytes": np.array([b"a", b"bc"]),
    "bool": np.array([True, False]),
    "big endian": np.arange(3, dtype=">i4"),
    "unsigned": np.arange(3, dtype=np.uint64),
    "time": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "records": np.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")]),
    "complex": np.array([1 + 2j]),
    "half": np.array([1.5], dtype=np.float16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_bit_for_bit(name):
    back = through_torch(ARRAYS[name])
    assert back.dtype == ARRAYS[name].dtype
    assert back.shape == ARRAYS[name].shape
    assert back.tobytes() == ARRAYS[name].tobytes()


def test_an_array_of_objects_is_kept_value_by_value():
    back = through_torch(np.array([[1, "a"], [None, pathlib.Path("p")]], dtype=object))
    assert back.tolist() == [[1, "a"], [None, pathlib.Path("p")]]


@pytest.mark.parametrize(
    "scalar",
    [np.float32(1.5), np.float64(0.1), np.int64(-3), np.bool_(True), np.str_("a"),
     np.datetime64("2020-01-01"), np.complex64(1j)],
    ids=lambda scalar: type(scalar).__name__,
)  # fmt: skip
def test_a_scalar_of_numpy_keeps_its_type(scalar):
    back = through_torch(scalar)
    assert type(back) is type(scalar)
    assert back == scalar


def test_random_states_of_numpy_go_on_where_they_were():
    legacy, modern = np.random.RandomState(3), np.random.default_rng(3)
    kept = through_torch({"a": legacy.get_state(), "b": modern.bit_generator.state})
    expected = legacy.rand(), modern.random()
    legacy.rand(5), modern.random(5)
    legacy.set_state(kept["a"])
    modern.bit_generator.state = kept["b"]
    assert (legacy.rand(), modern.random()) == expected


def test_an_enum_becomes_its_value():
    assert through_torch([Colour.RED, Level.LOW, {Colour.RED: 1}]) == ["red", 1, {"red": 1}]
    assert type(through_torch(Level.LOW)) is int


def test_tensors_pass_untouched():
    weight = torch.nn.Parameter(torch.ones(2))
    plain = to_plain({"a": weight, "b": [weight]}, "value")
    assert plain["a"] is weight
    assert plain["b"][0] is weight


def test_versions_of_modules_are_kept():
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert through_torch(state)._metadata == state._metadata


def test_what_is_shared_stays_shared():
    inner = [pathlib.Path("a")]
    back = through_torch({"a": inner, "b": inner})
    assert back["a"] is back["b"]


def test_twice_is_as_once():
    once = to_plain({"a": pathlib.Path("x"), "b": np.float32(1)}, "value")
    assert to_plain(once, "value") == once


def test_the_argument_is_left_as_it_is():
    value = {"a": [pathlib.Path("x")]}
    to_plain(value, "value")
    assert value == {"a": [pathlib.Path("x")]}


def test_mappings_of_users_are_kept_as_plain_ones_and_that_is_said():
    with pytest.warns(UserWarning, match="Settings` is kept as a plain dict"):
        assert through_torch(Settings(a=1)) == {"a": 1}
    with pytest.warns(UserWarning, match="Pair` is kept as a plain tuple"):
        assert through_torch(Pair(1, 2)) == (1, 2)


def test_hyperparameters_are_kept_as_a_plain_dictionary_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(through_torch(AttributeDict(a=1))) is dict


UNSAVABLE = {
    "module": (torch.nn.Linear(1, 1), "it is a module"),
    "loss": (torch.nn.CrossEntropyLoss(), "it is a module"),
    "function": (torch.nn.functional.relu, "it is the function"),
    "lambda": (lambda: 1, "<lambda>"),
    "class": (torch.optim.Adam, "it is the class `torch.optim.adam.Adam`"),
    "builtin": (len, "it is the function `len`"),
    "partial": (functools.partial(int, base=2), "functools.partial"),
    "object": (object(), "it is a `builtins.object`"),
    "generator": ((i for i in range(2)), "it is a `builtins.generator`"),
    "random generator": (torch.Generator(), "Generator"),
    "numpy generator": (np.random.default_rng(1), "Generator"),
    "file": (io.StringIO(), "StringIO"),
    "dataclass": (Config(), "dataclasses.asdict"),
    "optimizer": (torch.optim.SGD([torch.zeros(1)]), "SGD"),
    "python module": (math, "it is a `builtins.module`"),
    "lock": (__import__("threading").Lock(), "lock"),
    "default of code": (collections.defaultdict(lambda: 0), "defaultdict"),
    "exception": (ValueError("x"), "ValueError"),
    "array of objects": (np.array([len], dtype=object), "function"),
    "key": ({torch.nn.ReLU: 1}, "key"),
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_what_cannot_be_kept_is_named_with_its_key(name):
    value, reason = UNSAVABLE[name]
    with pytest.raises(CheckpointError) as caught:
        to_plain({"hyper_parameters": {"nets": [1, value]}}, "checkpoint")
    message = str(caught.value)
    assert message.startswith("checkpoint['hyper_parameters']['nets'][1]")
    assert reason in message
    assert "save_hyperparameters(ignore=" in message
    assert not is_plain(value)


def test_a_value_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(CheckpointError, match=r"value\[0\] cannot be written: it contains itself"):
        to_plain(loop, "value")
    deep = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(CheckpointError, match="nested more than 100 deep"):
        to_plain(deep, "value")


def test_hyperparameters_that_cannot_be_kept_are_dropped_with_a_warning():
    with pytest.warns(UserWarning, match=r"hparams\['net'\] is left out.*load_from_checkpoint"):
        kept = drop_unplain({"lr": 0.1, "net": torch.nn.Tanh(), "folder": pathlib.Path("a")})
    assert kept == {"lr": 0.1, "folder": pathlib.Path("a")}
    assert is_plain(kept)


@pytest.mark.parametrize(
    ("tag", "content"),
    [("os.system", "true"), (["range"], [1]), ("range", 10**9), ("deque", [10**9, None]),
     ("numpy.dtype", "O"), ("numpy.array", ["O", [1], torch.zeros(8, dtype=torch.uint8)]),
     ("numpy.scalar", ["f8", b""]), ("defaultdict", ["eval", []]), ("fraction", ["1", 2]),
     ("datetime", "now"), ("namespace", 3), ("frozenset", 3)],
)  # fmt: skip
def test_a_tag_that_is_none_is_an_error(tag, content):
    with pytest.raises(CheckpointError, match="value of the kind"):
        from_plain({"a": [{TAG: tag, VALUE: content}]})


def test_a_dictionary_that_is_only_like_a_tag_stays():
    value = {TAG: "path", VALUE: "a", "more": 1}
    assert from_plain(to_plain(value, "value")) == value


@pytest.fixture
def omegaconf(monkeypatch):
    """As much of omegaconf as is called: containers are dictionaries with a mark."""

    class DictConfig(dict):
        pass

    class OmegaConf:
        create = DictConfig

        @staticmethod
        def is_config(value):
            return isinstance(value, DictConfig)

        @staticmethod
        def to_container(value, resolve):
            assert resolve is False
            return dict(value)

    module = types.ModuleType("omegaconf")
    module.OmegaConf = OmegaConf
    monkeypatch.setitem(sys.modules, "omegaconf", module)
    return DictConfig


def test_containers_of_omegaconf_come_back_as_such(omegaconf):
    back = through_torch({"conf": omegaconf(a=1, b="${a}")})
    assert type(back["conf"]) is omegaconf
    assert back["conf"] == {"a": 1, "b": "${a}"}


@pytest.mark.parametrize("text", ["${eval:1+1}", "x ${ oc.env:HOME } y", "${a:${b}}", "${${a}:1}"])
def test_a_configuration_that_calls_resolvers_comes_back_as_plain_data(omegaconf, text):
    warnings_given.clear()
    with pytest.warns(UserWarning, match="calls resolvers of omegaconf"):
        back = through_torch({"conf": omegaconf(deep=[text])})
    assert type(back["conf"]) is dict
    assert back["conf"] == {"deep": [text]}
