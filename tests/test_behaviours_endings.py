"""How runs end: by an error, an interrupt, a signal, a limit or a request."""

import copy
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from tests.small_runs import Memory, Small, loader, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException


class Stopping(Small):
    """Asks to stop in the batch with this number, counted over the whole run."""

    def __init__(self, at):
        super().__init__()
        self.at, self.seen, self.validations = at, 0, 0

    def training_step(self, batch, batch_idx):
        self.seen += 1
        if self.seen == self.at:
            self.trainer.should_stop = True
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self):
        self.validations += 1


class Failing(Small):
    """Raises in the second training batch."""

    def __init__(self, error):
        super().__init__()
        self.error, self.events = error, []

    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            raise self.error
        return super().training_step(batch, batch_idx)

    def teardown(self, stage):
        self.events.append(("module", stage))


class Listening(Callback):
    """Keeps what it hears of the end."""

    def __init__(self):
        self.events = []

    def on_exception(self, trainer, pl_module, exception):
        self.events.append(("exception", exception, str(trainer.state.status)))

    def teardown(self, trainer, pl_module, stage):
        self.events.append(("teardown", stage))


def test_an_error_is_told_to_everybody_then_raised():
    error = ValueError("broken")
    module, callback, logger = Failing(error), Listening(), Memory()
    of = trainer(callbacks=[callback], logger=logger)
    with pytest.raises(ValueError, match="broken") as caught:
        of.fit(module)
    assert caught.value is error
    assert callback.events == [("exception", error, "interrupted"), ("teardown", "fit")]
    assert module.events == [("module", "fit")]
    assert logger.of("finalize") == [("failed",)]
    assert of.state.status == "interrupted"
    assert of.interrupted


def test_an_error_while_tearing_down_does_not_hide_the_first():
    class Worse(Failing):
        def teardown(self, stage):
            raise RuntimeError("second")

    logger = Memory()
    with (
        pytest.warns(UserWarning, match="RuntimeError: second"),
        pytest.raises(ValueError, match="first"),
    ):
        trainer(logger=logger).fit(Worse(ValueError("first")))
    assert logger.of("finalize") == [("failed",)]


def test_the_trainer_can_go_on_after_an_error():
    module = Failing(ValueError("once"))
    of = trainer()
    with pytest.raises(ValueError, match="once"):
        of.fit(module)
    module.training_step = lambda batch, batch_idx: module.loss(batch)
    of.fit(module)
    assert of.state.status == "finished"
    assert of.current_epoch == 1


def test_an_interrupt_in_a_script_ends_the_process_after_tearing_down():
    module, callback, logger = Failing(KeyboardInterrupt()), Listening(), Memory()
    of = trainer(callbacks=[callback], logger=logger)
    with pytest.raises(SystemExit) as caught:
        of.fit(module)
    assert caught.value.code == 130  # 128 + SIGINT, as shells have it
    assert [event[0] for event in callback.events] == ["exception", "teardown"]
    assert isinstance(callback.events[0][1], KeyboardInterrupt)
    assert logger.of("finalize") == [("failed",)]


def test_an_interrupt_in_an_interactive_session_gives_the_prompt_back(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    module = Failing(KeyboardInterrupt())
    of = trainer()
    of.fit(module)
    assert of.interrupted
    assert len(of.validate(module, verbose=False)) == 1


class Terminated(Small):
    """Is told to terminate in its second batch."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        loss = super().training_step(batch, batch_idx)
        self.batches.append((batch_idx, self.trainer.received_sigterm))
        return loss


def test_sigterm_ends_the_run_after_the_batch():
    batches, callback, logger, of_before = [], Listening(), Memory(), []

    def own_handler(number, frame):
        of_before.append(number)

    signal.signal(signal.SIGTERM, own_handler)
    of = trainer(
        callbacks=[callback, ModelCheckpoint("files", save_on_exception=True)], logger=logger
    )
    with pytest.raises(SIGTERMException) as caught:
        of.fit(Terminated(batches))
    assert isinstance(caught.value, SystemExit)
    assert caught.value.code == 143
    assert batches == [(0, False), (1, True)]
    assert of.global_step == 2
    assert of_before == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is own_handler
    assert [event[0] for event in callback.events] == ["exception", "teardown"]
    assert logger.of("finalize") == [("failed",)]
    assert sorted(os.listdir("files")) == ["epoch=0-step=2.ckpt", "last.ckpt"]
    for name in os.listdir("files"):
        assert torch.load(os.path.join("files", name))["global_step"] == 2


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_sigterm_ends_evaluation_and_prediction_too(verb):
    batches = []

    class Evaluated(Small):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            batches.append(verb)
            os.kill(os.getpid(), signal.SIGTERM)
            return batch

    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with pytest.raises(SIGTERMException):
        getattr(trainer(), verb)(Evaluated())
    assert batches == [verb]


def test_sigterm_ends_a_process_with_143():
    program = """
        import os, signal
        import pytorch_lightning as pl
        from pytorch_lightning.demos.boring_classes import BoringModel

        class Terminated(BoringModel):
            def training_step(self, batch, batch_idx):
                os.kill(os.getpid(), signal.SIGTERM)
                return super().training_step(batch, batch_idx)

        pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False,
                   enable_progress_bar=False, enable_model_summary=False).fit(Terminated())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False
    )
    assert done.returncode == 143, done.stderr.decode()


def test_a_handler_that_was_there_stays_and_none_is_installed_before_a_run():
    before = signal.getsignal(signal.SIGTERM)
    of = trainer()
    assert signal.getsignal(signal.SIGTERM) is before
    of.fit(Small())
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_request_to_stop_ends_after_the_batch_with_one_more_validation():
    module = Stopping(at=6)
    of = trainer(max_epochs=5)
    of.fit(module)
    assert module.seen == 6
    assert module.validations == 2
    assert of.current_epoch == 2


def test_a_request_to_stop_waits_for_the_minimum():
    module = Stopping(at=1)
    trainer(max_epochs=5, min_epochs=2).fit(module)
    assert module.seen == 8
    module = Stopping(at=1)
    trainer(max_epochs=5, min_steps=6).fit(module)
    assert module.seen == 6


def test_a_request_to_stop_before_fit_is_not_heard():
    of = trainer()
    of.should_stop = True
    of.fit(Small())
    assert of.global_step == 4


def test_a_second_fit_has_nothing_to_do_until_the_limit_is_raised():
    module, of = Stopping(at=0), trainer(max_epochs=2)
    of.fit(module)
    with pytest.warns(UserWarning, match=r"fit_loop\.max_epochs"):
        of.fit(module)
    assert module.seen == 8
    of.fit_loop.max_epochs = 3
    of.fit(module)
    assert module.seen == 12
    assert of.current_epoch == 3
    assert of.global_step == 12


def test_the_epoch_counts_finished_ones_after_fit():
    seen = []

    class Ends(Small):
        def on_train_epoch_end(self):
            seen.append(self.trainer.current_epoch)

        def on_train_end(self):
            seen.append(("end", self.trainer.current_epoch))

    of = trainer(max_epochs=3)
    of.fit(Ends())
    assert seen == [0, 1, 2, ("end", 3)]
    assert of.current_epoch == 3


@pytest.mark.parametrize("limit", [{"max_epochs": 0}, {"max_steps": 0}])
def test_a_limit_of_nothing_still_checks_the_validation(limit):
    events = []

    class All(Small):
        def on_fit_start(self):
            events.append("fit_start")

        def on_sanity_check_end(self):
            events.append("no hook of modules")

        def on_validation_end(self):
            events.append(f"validation, sanity check: {self.trainer.sanity_checking}")

        def on_train_start(self):
            events.append("train_start")

        def on_train_end(self):
            events.append("train_end")

        def on_fit_end(self):
            events.append("fit_end")

    module = All()
    of = trainer(num_sanity_val_steps=1, **limit)
    of.fit(module)
    assert events == ["fit_start", "validation, sanity check: True", "fit_end"]
    assert of.global_step == 0


def test_no_limit_at_all_is_a_thousand_epochs_said_aloud():
    with pytest.warns(UserWarning, match=r"1000 epochs.*max_epochs=-1"):
        trainer(max_epochs=None, limit_train_batches=0).fit(Small())
    module = Stopping(at=4 * 1001 + 1)
    of = trainer(max_epochs=-1, limit_val_batches=0)
    of.fit(module, loader(2, batch_size=1))
    assert of.current_epoch > 1000


def test_minus_one_ends_the_epoch_without_validation():
    events = []

    class Leaving(Small):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 2 else None

        def on_train_batch_end(self, outputs, batch, batch_idx):
            events.append(batch_idx)

        def on_validation_start(self):
            events.append("validation")

        def on_train_epoch_end(self):
            events.append("epoch")

    of = trainer(max_epochs=2)
    of.fit(Leaving())
    assert events == [0, 1, "epoch", 0, 1, "epoch"]
    assert of.global_step == 4


def test_no_validation_for_an_epoch_that_steps_cut_short():
    module = Stopping(at=0)
    of = trainer(max_epochs=-1, max_steps=6)
    of.fit(module)
    assert (module.seen, module.validations) == (6, 1)


def test_a_write_that_is_refused_is_an_error(tmp_path):
    target = tmp_path / "file"
    target.write_text("not a folder")
    of = trainer()
    of.fit(Small())
    with pytest.raises(OSError, match="file"):
        of.save_checkpoint(target / "x.ckpt")
    if os.getuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            of.save_checkpoint(locked / "x.ckpt")


def test_an_exhausted_validation_interval_is_refused_early():
    with pytest.raises((ValueError, MisconfigurationException), match="val_check_interval"):
        trainer(val_check_interval=100).fit(Small())
    module = Stopping(at=0)
    of = trainer(val_check_interval=6, check_val_every_n_epoch=None, max_epochs=3)
    of.fit(module)
    assert module.validations == 2


def test_the_module_comes_home():
    module, of = Small(), trainer()
    of.fit(module)
    assert module.device == torch.device("cpu")
    assert module.trainer is of
    assert of.lightning_module is module
    assert isinstance(of, pl.Trainer)


def test_sigterm_during_the_sanity_check_ends_before_training():
    trained = []

    class Early(Small):
        def validation_step(self, batch, batch_idx):
            os.kill(os.getpid(), signal.SIGTERM)

        def training_step(self, batch, batch_idx):
            trained.append(batch_idx)
            return super().training_step(batch, batch_idx)

    signal.signal(signal.SIGTERM, lambda number, frame: None)
    of = trainer(num_sanity_val_steps=2)
    with pytest.raises(SIGTERMException):
        of.fit(Early())
    assert trained == []
    assert of.received_sigterm
    of.fit(Small())
    assert not of.received_sigterm
    assert of.global_step == 4


def test_sigterm_reaches_a_run_inside_another_and_the_outer_one_too():
    inner, outer = trainer(max_epochs=5), trainer(max_epochs=5)

    class Outer(Small):
        def training_step(self, batch, batch_idx):
            with pytest.raises(SIGTERMException):
                inner.fit(Terminated([]))
            return super().training_step(batch, batch_idx)

    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with pytest.raises(SIGTERMException):
        outer.fit(Outer())
    assert (inner.global_step, outer.global_step) == (2, 1)


def test_a_run_in_a_thread_leaves_signals_alone():
    before, of = signal.getsignal(signal.SIGTERM), trainer()
    thread = threading.Thread(target=of.fit, args=(Small(),))
    thread.start()
    thread.join()
    assert of.global_step == 4
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_file_that_was_due_at_the_batch_of_sigterm_is_written():
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    of = trainer(callbacks=[ModelCheckpoint("files", every_n_train_steps=2)])
    with pytest.raises(SIGTERMException):
        of.fit(Terminated([]))
    assert sorted(os.listdir("files")) == ["epoch=0-step=2.ckpt", "last.ckpt"]
    module, more = Stopping(at=0), trainer(callbacks=[ModelCheckpoint("files")])
    more.fit(module, ckpt_path="files/epoch=0-step=2.ckpt")
    assert (module.seen, more.global_step) == (2, 4)


def test_a_logger_that_fails_at_the_end_does_not_hide_the_error():
    class Broken(Memory):
        def finalize(self, status):
            raise RuntimeError("no disk")

    with (
        pytest.warns(UserWarning, match="no disk"),
        pytest.raises(ValueError, match="first"),
    ):
        trainer(logger=Broken()).fit(Failing(ValueError("first")))


def test_a_trainer_does_not_run_inside_its_own_run():
    class Inside(Small):
        def on_train_epoch_end(self):
            self.trainer.validate(self, verbose=False)

    of = trainer()
    with pytest.raises(RuntimeError, match="middle of `fit`.*another `Trainer`"):
        of.fit(Inside())
    of.fit(Small())
    assert of.state.status == "finished"


def test_another_trainer_may_run_inside_a_run():
    class Inside(Small):
        def on_train_epoch_end(self):
            self.found = trainer().validate(copy.deepcopy(self), verbose=False)

    module, of = Inside(), trainer(max_epochs=2)
    of.fit(module)
    assert of.global_step == 8
    assert len(module.found) == 1


def test_a_copy_of_a_trainer_goes_on_by_itself():
    first = trainer(callbacks=[ModelCheckpoint("x")])
    first.fit(Small())
    second = copy.deepcopy(first)
    second.fit_loop.max_epochs = 2
    second.fit(Small())
    assert (first.global_step, second.global_step) == (4, 8)
    assert second.callbacks[0] is not first.callbacks[0]
    second.save_checkpoint("y.ckpt")
    assert torch.load("y.ckpt", weights_only=True)["global_step"] == 8
