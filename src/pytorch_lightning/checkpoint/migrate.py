"""Older checkpoints, brought to today's layout in memory."""

from typing import Any


def migrate_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Bring a checkpoint of an earlier release to today's layout."""
    return checkpoint
