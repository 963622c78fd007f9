"""What the arguments ask for against what a launcher started."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """The arguments about processes.

    Args:
        devices: Processes on each machine.
        nodes: Machines.
    """

    devices: int
    nodes: int

    def __str__(self) -> str:
        some = "process" if self.count == 1 else "processes"
        return f"`devices={self.devices}` and `num_nodes={self.nodes}` ask for {self.count} {some}"

    @property
    def count(self) -> int:
        """The number of processes."""
        return self.devices * self.nodes

    @property
    def way_out(self) -> str:
        """The end of a sentence: how one process runs by itself on purpose."""
        if self.count > 1:
            return ""
        return " For a run of this process alone pass `plugins=LightningEnvironment()`."

    def check_count(self, started: int, *, by: str, told_by: str) -> None:
        """Compare with the number of all processes.

        Args:
            by: Who started them.
            told_by: The variables that say how many.

        Raises:
            ValueError: If the numbers differ.
        """
        if self.count != started:
            raise ValueError(
                f"{self}, but {by} started {started} ({told_by}). Pass numbers whose product is "
                f"{started}, or start {self.count}.{self.way_out}"
            )

    def check_here(self, started: int, *, by: str, told_by: str) -> None:
        """Compare with the number of processes on this machine.

        Raises:
            ValueError: If the numbers differ.
        """
        if self.devices != started:
            raise ValueError(
                f"`devices={self.devices}` asks for {self.devices} on each machine, but {by} "
                f"started {started} here ({told_by}). Pass `devices={started}`, or start "
                f"{self.devices} on each.{self.way_out}"
            )
