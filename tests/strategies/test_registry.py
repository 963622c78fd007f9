import pytest

from pytorch_lightning.fabric.resolve import resolve
from pytorch_lightning.strategies import SingleDeviceStrategy, StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Mine(SingleDeviceStrategy):
    def __init__(self, flavour: str = "none") -> None:
        super().__init__()
        self.flavour = flavour


@pytest.fixture
def mine():
    StrategyRegistry.register("mine", Mine, description="a third party's", flavour="salt")
    yield
    StrategyRegistry.remove("mine")


def test_a_registered_name_makes_the_class_with_its_arguments(mine):
    found = StrategyRegistry.get("mine")
    assert (type(found), found.flavour) == (Mine, "salt")
    assert StrategyRegistry["mine"].description == "a third party's"
    assert {"mine", "single_device", "ddp"} <= set(StrategyRegistry.available_strategies())


def test_the_strategy_argument_finds_it(mine):
    assert isinstance(resolve(strategy="mine").strategy, Mine)


def test_a_name_is_not_taken_twice_unless_asked(mine):
    with pytest.raises(MisconfigurationException, match="already"):
        StrategyRegistry.register("mine", Mine)
    StrategyRegistry.register("mine", Mine, override=True, flavour="sugar")
    assert StrategyRegistry.get("mine").flavour == "sugar"


def test_an_unknown_name_says_what_is_near(mine):
    with pytest.raises(KeyError, match="single_device"):
        StrategyRegistry.get("single_devise")
    assert StrategyRegistry.get("other", default=3) == 3
    with pytest.raises(TypeError, match="string"):
        StrategyRegistry.register(None, Mine)
