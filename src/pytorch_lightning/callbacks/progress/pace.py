"""When a bar looks at the clock, and when it draws."""

import math
from time import monotonic

_LONGEST_STRIDE = 16


class Pace:
    """Chooses the batches at which a bar looks at the clock.

    A bar compares the index of a batch with `next` and does nothing before it, so that
    a batch between two looks costs one comparison.

    Args:
        batches: Draw only after so many batches (and after the last one); 0 never draws.
        seconds: The shortest time between two drawings.
        longest: After this time draw at any batch, whatever `batches` says.
    """

    def __init__(
        self, batches: int = 1, *, seconds: float = 0.1, longest: float = math.inf
    ) -> None:
        self.next: float = math.inf
        self._batches = batches
        self._seconds = seconds
        self._longest = longest
        self._total: float = math.inf
        self._drawn_at = -1e9  # long ago
        self._looked_at = 0.0
        self._looked = 0

    def start(self, total: float) -> None:
        """Begin a pass over `total` batches; the first one is always looked at."""
        self.next = 0 if self._batches > 0 else math.inf
        self._total = total
        self._looked_at, self._looked = monotonic(), 0

    def stop(self) -> None:
        """Look at no batch until the next start."""
        self.next = math.inf

    def due(self, done: int) -> bool:
        """Say whether to draw after `done` batches, and choose the next look."""
        now = monotonic()
        per_batch = (now - self._looked_at) / max(done - self._looked, 1)
        self._looked_at, self._looked = now, done
        # eight looks per drawing keep the drawings even when batches get slower
        longest = _LONGEST_STRIDE if self._total < math.inf else 1  # an end nobody knows is now
        stride = 1 + min(longest - 1, int(self._seconds / 8 / max(per_batch, 1e-9)))
        self.next = self._look_after(done, stride) - 1
        since = now - self._drawn_at
        aligned = done % self._batches == 0 or since >= self._longest
        if done != self._total and not (aligned and since >= self._seconds):
            return False
        self._drawn_at = now
        return True

    def _look_after(self, done: int, stride: int) -> float:
        look: float = done + stride
        if self._longest == math.inf:
            look = math.ceil(look / self._batches) * self._batches
        return min(look, self._total) if done < self._total else look
