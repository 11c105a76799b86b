"""Tables in Markdown and plots in PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


@contextmanager
def panels(path: Path, count: int = 1, width: float = 4.5, **options: Any) -> Iterator[Any]:
    """Axes side by side (one, or an array of them), saved as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, count, figsize=(count * width, 3.4), layout="constrained", **options)
    yield axes
    figure.savefig(path, dpi=110)
    plt.close(figure)
