"""What moves a run."""

__all__: list[str] = []
