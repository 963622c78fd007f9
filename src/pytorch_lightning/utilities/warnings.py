"""Warning categories, and how to silence them."""

import warnings

from pytorch_lightning.utilities.environ import read_flag


class PossibleUserWarning(UserWarning):
    """Something that is likely, but not certainly, a mistake."""


class LightningDeprecationWarning(DeprecationWarning):
    """A spelling of an earlier release that still works."""


def disable_possible_user_warnings(module: str = "") -> None:
    """Silence every `PossibleUserWarning`.

    Args:
        module: A regular expression for the modules to silence; empty means all.
    """
    warnings.filterwarnings("ignore", category=PossibleUserWarning, module=module)


def possible_user_warnings_allowed() -> bool:
    """Whether `POSSIBLE_USER_WARNINGS` leaves the category switched on."""
    return read_flag("POSSIBLE_USER_WARNINGS", default=True)
