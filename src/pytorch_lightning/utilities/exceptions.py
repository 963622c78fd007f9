"""The exceptions that users may catch."""


class MisconfigurationException(Exception):
    """Arguments, hooks or data that contradict each other or cannot work."""


class CheckpointError(RuntimeError):
    """A file that is no checkpoint, is damaged, or does not belong to this run."""


class DataError(RuntimeError):
    """User data code raised something that would have looked like the end of an epoch."""


class SIGTERMException(SystemExit):
    """The process was asked to terminate; carries the exit code of that signal."""

    def __init__(self) -> None:
        super().__init__(143)  # 128 + SIGTERM, what a shell reports
