"""The last round of an evaluation, in which some ranks have no batch left."""

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from pytorch_lightning.data.feed import Feed, open_source
from pytorch_lightning.data.generators import GlobalGenerators
from pytorch_lightning.data.indices import OrderState
from pytorch_lightning.data.position import Source
from pytorch_lightning.loops.metric_objects import put_aside
from pytorch_lightning.loops.results import Results
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.seed import isolate_rng

Call = Callable[..., Any]

_NAMESPACES = ("c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd")
_VERBS = (
    "all_gather",
    "barrier",
    "broadcast",
    "gather_objects",
    "reduce",
    "reduce_boolean_decision",
)
_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict, Counter)
_OF_TORCH = frozenset(vars(nn.Module()))


class LastRound:
    """What is different in a round for which only some ranks have a batch.

    A collective in a step would wait for the others forever: it is an error there. Where the
    forward of the module communicates, a rank without a batch calls the step all the same, with
    one that it had before, and nothing of that remains.

    Args:
        step: The name of the step.
        part: The loader as the user gave it.
    """

    def __init__(self, run: Run, step: str, source: Source | Feed, part: Any) -> None:
        self.run = run
        self.name = step
        self.source = source
        self.part = part
        self._last: Any = None
        self._has_last = False

    def batches(self) -> Iterator[Any]:
        """The batches of the source, of which the last one is kept where it may be needed."""
        if not self.run.strategy.forward_communicates:
            return self.source
        return self._remembered()

    def _remembered(self) -> Iterator[Any]:
        for batch in self.source:
            self._last, self._has_last = batch, True
            yield batch

    def watched(self, name: str, call: Call) -> Call:
        """A step or a hook of a batch, with collectives forbidden in the round that is not whole.

        Args:
            call: Takes the indices of batch and loader last.
        """
        is_ragged = self.source.is_ragged

        def watched_call(*args: Any) -> Any:
            if not is_ragged(args[-2]):
                return call(*args)
            with self._without_collectives(name, args[-2]):
                return call(*args)

        return watched_call

    def _without_collectives(self, name: str, batch: int) -> AbstractContextManager[Any]:
        def refuse(call: str) -> MisconfigurationException:
            return MisconfigurationException(
                f"Rank {self.run.strategy.global_rank}, batch {batch}: `{name}` calls "
                f"`{call}`, for which ranks that have no batch in this last round would be waited "
                "for without end. Gather or reduce when the epoch ends, log with "
                "`sync_dist=True`, or pass `Trainer(use_distributed_sampler='pad')`, which "
                "repeats samples."
            )

        if self.run.strategy.forward_communicates:
            return _without_verbs(self.run.strategy, refuse)
        return _NoCollectives(refuse)

    def take_part(self, step: Call, transfer: Callable[[Any, int], Any], loader: int) -> None:
        """Call the step for its forward alone, if this rank has no batch but others have.

        Args:
            step: As it is watched.
        """
        run, number = self.run, self.source.batches
        if not (run.strategy.forward_communicates and self.source.is_ragged(number)):
            return
        with unchanged(run):
            batch = self._last if self._has_last else _first_batch(self.part, run.state.epoch)
            batch = transfer(batch, loader)
            run.session.new_batch(batch)
            run.session.hook = self.name
            step(batch, number, loader)
        run.session.hook = ""
        run.session.no_batch()
        self._last, self._has_last = None, False


class _NoCollectives(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Raises on every operation that waits for other processes."""

    def __init__(self, refuse: Callable[[str], Exception]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self._refuse = refuse

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.namespace in _NAMESPACES:
            raise self._refuse(str(func).removesuffix(".default"))
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_verbs(strategy: Any, refuse: Callable[[str], Exception]) -> Iterator[None]:
    """The strategy's own collectives raise; what its modules do in their forward goes on."""

    def refusing(verb: str) -> Callable[..., Any]:
        def raises(*args: Any, **kwargs: Any) -> Any:
            raise refuse(f"strategy.{verb}")

        return raises

    own = strategy.__dict__
    before = {verb: own[verb] for verb in _VERBS if verb in own}
    own.update({verb: refusing(verb) for verb in _VERBS})
    try:
        yield
    finally:
        for verb in _VERBS:
            del own[verb]
        own.update(before)


@contextmanager
def unchanged(run: Run) -> Iterator[None]:
    """Put everything back that a step may change: logs, metric objects, attributes, draws."""
    session, before = run.session, run.session.enter(Results(training=False))
    kept = [_Kept(child) for child in run.module.modules()]
    try:
        with isolate_rng(), put_aside(run.module):
            yield
    finally:
        session.enter(before)
        for one in kept:
            one.put_back()


class _Kept:
    """The attributes of one module: those of the user, and its buffers."""

    def __init__(self, module: nn.Module) -> None:
        self.own = vars(module)
        self.values = {name: v for name, v in self.own.items() if name not in _OF_TORCH}
        self.filled = [(v, copy.copy(v)) for v in self.values.values() if type(v) in _CONTAINERS]
        tensors = [*self.values.values(), *module._buffers.values()]
        self.tensors = [(t, t.detach().clone()) for t in tensors if isinstance(t, Tensor)]

    def put_back(self) -> None:
        for name in [n for n in self.own if n not in _OF_TORCH and n not in self.values]:
            del self.own[name]
        self.own.update(self.values)
        for value, before in self.filled:
            value.clear()
            value.extend(before) if hasattr(value, "extend") else value.update(before)
        with torch.no_grad():
            for tensor, number in self.tensors:
                tensor.detach().copy_(number)


def _first_batch(part: Any, epoch: int) -> Any:
    """The first batch of a loader, read aside: samplers and generators stay where they are."""
    loader = part
    if isinstance(part, DataLoader):
        loader = copy.copy(part)
        loader.__dict__.update(  # past `DataLoader.__setattr__`; no worker is started for one batch
            num_workers=0,
            prefetch_factor=None,
            persistent_workers=False,
            timeout=0,
            _iterator=None,
        )
    order = OrderState(loader, GlobalGenerators())
    before = order.capture()
    source = open_source(loader)
    source.begin(epoch)
    try:
        return next(source)
    finally:
        source.close()
        order.restore(before)
