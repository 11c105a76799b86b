"""What the node counts: images and events since it started, never whose they are."""

from __future__ import annotations

from collections import Counter
from threading import Lock

# name: what it counts
COUNTED = {
    "received": "Images received and safely kept",
    "repeated": "Images received again that were known already",
    "rejected": "Associations rejected, or let in with nothing that could be sent",
    "refused": "Images refused, so that the sender keeps them",
    "denoised": "Images denoised",
    "passed_over": "Images received that no rule asks to denoise",
    "failed": "Images that could not be denoised",
    "sent": "Derived images that the receiver has acknowledged",
    "send_failures": "Attempts to send that the receiver did not acknowledge",
}


class Counters:
    """Counts by name and, where there is one, reason; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, number: int = 1, reason: str = "") -> None:
        """Count `number` more; `name` is a key of `COUNTED`, `reason` a few fixed words."""
        with self._lock:
            self._counts[name, reason] += number

    def __getitem__(self, name: str) -> int:
        return sum(number for (counted, _), number in self.items() if counted == name)

    def items(self) -> list[tuple[tuple[str, str], int]]:
        """((name, reason), number) of all that was counted, and 0 of what was not."""
        with self._lock:
            counts = dict(self._counts)
        missing = COUNTED.keys() - {name for name, _ in counts}
        return sorted((counts | {(name, ""): 0 for name in missing}).items())
