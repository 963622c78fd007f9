"""Signals end a run after its batch, keep its state, and the run that follows is the same."""

import os
import signal
import sys
import threading
import time
import warnings

import pytest
import torch
from tests.faults.forks import forked
from tests.resume.matrix import Cell, Net, assert_same, train
from tests.small_runs import Memory, Small, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error:While ending a failed run"),
]
ENDING = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(autouse=True)
def _handlers_as_found():
    found = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGINT)}
    yield
    now = {number: signal.getsignal(number) for number in found}
    for number, handler in found.items():
        signal.signal(number, handler)
    assert now == found


class Sends(Callback):
    """Sends signals to this process in a hook, the nth time that it comes; notes all batches."""

    def __init__(self, *numbers, hook="on_train_batch_start", at=2, pause=0.0):
        self.numbers, self.hook, self.left, self.pause = numbers, hook, at, pause
        self.heard = []
        before = getattr(self, hook, lambda *args: None)

        def send(trainer, *args, **kwargs):
            before(trainer, *args, **kwargs)
            if trainer.sanity_checking:
                return
            self.left -= 1
            if self.left == 0:
                for number in self.numbers:
                    os.kill(os.getpid(), number)
                    time.sleep(self.pause)

        setattr(self, hook, send)

    def on_train_batch_end(self, trainer, *args):
        self.heard.append(trainer.global_step)

    def on_exception(self, trainer, module, exception):
        self.heard.append(type(exception).__name__)

    def teardown(self, trainer, module, stage):
        self.heard.append("teardown")


def fit(*callbacks, verb="fit", **options):
    of = trainer(callbacks=[*callbacks], enable_checkpointing=any(map(keeps, callbacks)), **options)
    getattr(of, verb)(Small())
    return of


def keeps(callback):
    return isinstance(callback, pl.callbacks.Checkpoint)


# --- Ctrl-C -------------------------------------------------------------------------------------


def test_ctrl_c_stops_after_the_batch(tally, capfd):
    tally("SIGINT")
    sends, logger = Sends(signal.SIGINT), Memory()
    with pytest.raises(SystemExit) as caught:
        fit(sends, logger=logger)
    assert caught.value.code == 130
    assert sends.heard == [1, 2, "KeyboardInterrupt", "teardown"]
    assert logger.of("finalize") == [("failed",)]
    assert "stopping after this batch. Once more stops at once." in capfd.readouterr().err


@pytest.mark.parametrize(
    "keep",
    [
        lambda: OnExceptionCheckpoint("kept"),
        lambda: ModelCheckpoint("kept", save_on_exception=True, every_n_epochs=9),
    ],
    ids=["OnExceptionCheckpoint", "save_on_exception"],
)
def test_ctrl_c_saves_what_a_callback_asks_for(tally, keep):
    tally("SIGINT")
    with pytest.raises(SystemExit):
        fit(Sends(signal.SIGINT), keep())
    (name,) = os.listdir("kept")
    assert torch.load(f"kept/{name}")["global_step"] == 2


def test_ctrl_c_keeps_nothing_that_nobody_asked_for(tally):
    tally("SIGINT")
    with pytest.raises(SystemExit):
        fit(Sends(signal.SIGINT), ModelCheckpoint("kept"))
    assert not os.path.exists("kept")


def test_who_catches_a_keyboard_interrupt_gets_it(tally):
    tally("SIGINT")
    with pytest.raises(KeyboardInterrupt):
        fit(Sends(signal.SIGINT))


def test_the_second_ctrl_c_stops_at_once(tally):
    tally("SIGINT", 2)
    sends = Sends(signal.SIGINT, signal.SIGINT, pause=0.35)
    with pytest.raises(SystemExit) as caught:
        fit(sends)
    assert caught.value.code == 130
    assert sends.heard == [1, "KeyboardInterrupt", "teardown"]


def test_one_key_press_that_comes_twice_is_one(tally):
    tally("SIGINT", 2)
    sends = Sends(signal.SIGINT, signal.SIGINT)
    with pytest.raises(SystemExit):
        fit(sends)
    assert sends.heard == [1, 2, "KeyboardInterrupt", "teardown"]


@pytest.mark.parametrize("hook", ["setup", "on_train_start", "on_validation_start"])
def test_before_the_first_batch_ctrl_c_stops_at_once(tally, hook):
    tally("SIGINT")
    reached = []

    class Reaches(Sends):
        def __init__(self):
            super().__init__(signal.SIGINT, hook=hook, at=1)
            send = getattr(self, hook)

            def go_on(*args, **kwargs):
                send(*args, **kwargs)
                reached.append(hook)

            setattr(self, hook, go_on)

    sends = Reaches()
    verb = "validate" if hook == "on_validation_start" else "fit"
    with pytest.raises(SystemExit):
        fit(sends, verb=verb)
    assert reached == []
    assert sends.heard == ["KeyboardInterrupt", "teardown"]


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_ctrl_c_in_an_evaluation_stops_after_the_batch(tally, verb):
    tally("SIGINT")
    ends = []
    stage = {"validate": "validation"}.get(verb, verb)
    sends = Sends(signal.SIGINT, hook=f"on_{stage}_batch_start", at=1)
    setattr(sends, f"on_{stage}_batch_end", lambda *args: ends.append(1))
    with pytest.raises(SystemExit) as caught:
        fit(sends, verb=verb)
    assert (caught.value.code, ends) == (130, [1])


def test_in_a_notebook_ctrl_c_returns_and_the_trainer_is_of_use(tally, monkeypatch):
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)  # as IPython sets it
    tally("SIGINT")
    of = fit(Sends(signal.SIGINT))
    assert (str(of.state.status), of.interrupted, of.global_step) == ("interrupted", True, 2)
    of.callbacks.clear()
    assert len(of.validate(Small(), verbose=False)) == 1
    assert str(of.state.status) == "finished"


# --- signals that ask the process to end --------------------------------------------------------


@pytest.mark.parametrize("number", ENDING, ids=lambda n: n.name)
def test_the_state_is_kept_under_the_last_name_whatever_save_last_says(tally, number):
    tally(number.name)
    keep = ModelCheckpoint("kept", monitor="val_loss", save_top_k=2)
    sends = Sends(number, at=3)
    with pytest.raises(SIGTERMException) as caught:
        fit(sends, keep, Sends(hook="setup"), ModelCheckpoint("other"))
    assert caught.value.code == 143
    assert sends.heard == [1, 2, 3, "SIGTERMException", "teardown"]
    assert os.listdir("kept") == ["last.ckpt"] and not os.path.exists("other")
    assert keep.last_model_path == os.path.abspath("kept/last.ckpt")
    assert torch.load("kept/last.ckpt")["global_step"] == 3


@pytest.mark.parametrize("word", ["last", "auto"])
def test_the_very_step_is_found(tally, word):
    keep = {"save_last": True, "every_n_train_steps": 2}
    tally("SIGTERM")
    with pytest.raises(SIGTERMException):
        fit(Sends(signal.SIGTERM, at=3), ModelCheckpoint("kept", **keep))
    after = Sends(hook="setup")
    of = trainer(callbacks=[after, ModelCheckpoint("kept", **keep)])
    of.fit(Small(), ckpt_path=word)
    assert after.heard == [4, "teardown"]


def test_without_a_checkpoint_callback_a_line_says_that_nothing_is_kept(tally):
    tally("SIGTERM")
    with (
        pytest.warns(UserWarning, match="nothing of this run is kept: it has no `ModelCheckpoint`"),
        pytest.raises(SIGTERMException),
    ):
        fit(Sends(signal.SIGTERM))


def test_a_file_that_cannot_be_written_does_not_hide_the_end(tally, tmp_path):
    tally("SIGTERM")
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.warns(UserWarning, match="its state could not be kept"),
        pytest.raises(SIGTERMException),
    ):
        fit(Sends(signal.SIGTERM), ModelCheckpoint(tmp_path / "file" / "kept"))


def test_a_signal_after_an_epoch_waits_for_no_other_batch(tally):
    tally("SIGTERM")
    sends = Sends(signal.SIGTERM, hook="on_train_epoch_end", at=1)
    with pytest.raises(SIGTERMException):
        fit(sends, ModelCheckpoint("kept"), max_epochs=2)
    assert sends.heard == [1, 2, 3, 4, "SIGTERMException", "teardown"]


class Handles:
    """A handler of the user."""

    def __init__(self, number):
        self.heard, self.number = [], number
        self.before = signal.signal(number, self.handle)

    def handle(self, number, frame):
        self.heard.append(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_handler_of_the_user_is_called_too_and_is_there_again(tally, number):
    tally(number.name)
    own = Handles(number)
    with pytest.raises(SystemExit):
        fit(Sends(number))
    assert own.heard == [number]
    assert signal.getsignal(number) == own.handle
    signal.signal(number, own.before)


def test_a_signal_that_means_something_else_to_the_user_does_not_end_the_run(tally):
    tally("SIGUSR1")
    own = Handles(signal.SIGUSR1)
    of = fit(Sends(signal.SIGUSR1))
    assert (own.heard, of.global_step) == ([signal.SIGUSR1], 4)
    signal.signal(signal.SIGUSR1, own.before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_that_is_ignored_stays_ignored(tally, number):
    before = signal.signal(number, signal.SIG_IGN)
    tally(number.name)
    assert fit(Sends(number)).global_step == 4
    assert signal.signal(number, before) is signal.SIG_IGN


def test_in_a_thread_no_handler_is_set():
    class Looks(Callback):
        def on_train_batch_end(self, *args):
            found.append([signal.getsignal(n) for n in (*ENDING, signal.SIGINT)])

    found, before = [], [signal.getsignal(n) for n in (*ENDING, signal.SIGINT)]
    thread = threading.Thread(target=fit, args=(Looks(),))
    thread.start()
    thread.join()
    assert found == [before] * 4


# --- other processes ----------------------------------------------------------------------------


class Workers(Small):
    def train_dataloader(self):
        data = super().train_dataloader().dataset
        return torch.utils.data.DataLoader(data, 2, num_workers=2)


def _all_are_told(number):
    class Told(Workers):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                os.killpg(0, number)
                time.sleep(0.2)  # time to die for whoever would
            return super().training_step(batch, batch_idx)

    os.setsid()  # as torchrun, terminals and batch systems do
    callbacks = [ModelCheckpoint("kept"), OnExceptionCheckpoint("kept")]
    trainer(callbacks=callbacks, enable_model_summary=False).fit(Told())


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGTERM, 143, "last.ckpt"), (signal.SIGINT, 130, "on_exception.ckpt")],
)
def test_a_signal_to_the_whole_group_lets_the_batch_and_its_workers_finish(
    tally, number, code, name
):
    tally(number.name)
    ended, output = forked(_all_are_told, number)
    assert ended == code
    assert "DataLoader worker" not in output
    assert torch.load(f"kept/{name}")["global_step"] == 3


def test_workers_that_die_of_the_same_signal_do_not_break_the_batch(tally):
    others = set(torch.multiprocessing.active_children())  # of other tests

    class ToAll(Sends):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                for child in set(torch.multiprocessing.active_children()) - others:
                    child.terminate()
                    child.join()

    tally("SIGTERM", 3)
    sends, keep = ToAll(), ModelCheckpoint("kept")
    with pytest.raises(SIGTERMException):
        trainer(callbacks=[sends, keep]).fit(Workers())
    assert sends.heard == [1, 2, "SIGTERMException", "teardown"]
    assert torch.load("kept/last.ckpt")["global_step"] == 2


def _sleeps(begun):
    begun.set()
    for _ in range(300):  # a signal just before a sleep is handled after it
        time.sleep(0.1)


def test_a_process_that_a_hook_forks_ends_as_it_would(tally):
    codes = []

    class Forks(Callback):
        def on_train_batch_start(self, *args):
            context = torch.multiprocessing.get_context("fork")
            begun = context.Event()
            child = context.Process(target=_sleeps, args=(begun,))
            child.start()
            begun.wait()
            child.terminate()
            child.join(10)
            codes.append(child.exitcode)

    tally("SIGTERM", 4)
    assert fit(Forks()).global_step == 4
    assert codes == [-signal.SIGTERM] * 4


# --- the run that goes on is the same -----------------------------------------------------------


class Told(Net):
    """Sends a signal in one of its hooks, the nth time that it comes there."""

    def __init__(self, place="", at=0, number=signal.SIGTERM):
        super().__init__()
        self.left = at
        if place:
            hook = getattr(self, place)

            def send(*args, **kwargs):
                self.left -= 1
                if self.left == 0:
                    os.kill(os.getpid(), number)
                return hook(*args, **kwargs)

            setattr(self, place, send)


def goes_on(tmp_path, place, at, options, number=signal.SIGTERM):
    """Train, stop by a signal, go on, and compare with a run that had none."""
    keep = lambda: [ModelCheckpoint(tmp_path / "kept", save_last=True)]  # noqa: E731
    options = {"accumulate_grad_batches": 1, "max_epochs": 2, **options}
    whole, _ = train(Cell(Told, callbacks=list, options=options), 1, tmp_path)
    modules = []

    def told():
        modules.append(Told(place, at, number))
        return modules[-1]

    with pytest.raises(SIGTERMException):
        train(Cell(told, callbacks=keep, options=options), 1, tmp_path)
    resumed, _ = train(Cell(Told, callbacks=keep, options=options), 2, tmp_path, ckpt_path="last")
    seen = [e for e in modules[0].story.events if isinstance(e, tuple)]
    seen += [e for e in resumed.events if isinstance(e, tuple)]
    assert seen == [e for e in whole.events if isinstance(e, tuple)]
    assert modules[0].story.rows + resumed.rows == whole.rows
    for name in ("weights", "optimizers", "callback_metrics", "random", "counters"):
        assert_same(whole.final[name], resumed.final[name], name)


SOME = [
    ("training_step", 2, {}),
    ("training_step", 4, {}),
    ("training_step", 2, {"accumulate_grad_batches": 3}),
    ("validation_step", 1, {}),
    ("validation_step", 3, {"val_check_interval": 2}),
    ("on_train_epoch_end", 1, {}),
]
ALL = [
    (place, at, options)
    for options in (
        *({}, {"accumulate_grad_batches": 3}, {"val_check_interval": 2}),
        {"val_check_interval": 3, "accumulate_grad_batches": 2, "max_epochs": 3},
    )
    for place, times in {"training_step": 8, "validation_step": 4, "on_train_epoch_end": 1}.items()
    for at in range(1, times + 1)
]


@pytest.mark.parametrize(("place", "at", "options"), SOME, ids=str)
def test_a_run_that_was_told_to_end_goes_on_as_if_it_had_not_been(
    tally, tmp_path, place, at, options
):
    tally("SIGTERM")
    goes_on(tmp_path, place, at, options)


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "at", "options"), [cell for cell in ALL if cell not in SOME], ids=str
)
def test_at_every_batch(tally, tmp_path, place, at, options):
    number = ENDING[at % 3]
    tally(number.name)
    goes_on(tmp_path, place, at, options, number)


# --- exit codes ---------------------------------------------------------------------------------


def _ends(how):
    warnings.simplefilter("ignore")
    if how == "error":
        raise ValueError("first")
    sends = Sends(*([] if how == "well" else [how]))
    fit(sends, ModelCheckpoint("kept"))


CODES = [("well", 0), ("error", 1), *((number, 143) for number in ENDING), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("how", "code"), CODES, ids=lambda part: getattr(part, "name", str(part)))
def test_what_a_process_leaves_with(tally, how, code):
    if isinstance(how, signal.Signals):
        tally(how.name)
    assert forked(_ends, how)[0] == code
