"""What is said on the terminal: names of files, whatever is in them, and messages in plain lines."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NOTICE = "Research use only, not a medical device"
NAMED = 3  # of many
OF_A_SERVICE = "%(asctime)s %(levelname)s %(message)s"  # its log is read days later


def printable(text: str) -> str:
    """The text, with what standard output cannot show (bytes of a name that are no text) written as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    """The same for rich, which takes square brackets for markup."""
    from rich.markup import escape

    return escape(printable(text))


def print_table(table: Any) -> None:
    """A table of rich, on standard output: as wide as a terminal; a pipe or a file has no width."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    console.width = 10_000
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that puts "slice9" before "slice10"."""
    parts = re.split(r"(\d+)", text.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def typed(path: Path) -> str:
    """A path as it is typed on a command line: quoted where it has to be, and in full where it is the current one."""
    return shlex.quote(str(path if path.name else path.resolve()))


def some_of(names: Sequence[object]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def tell_in_plain_lines(form: str = "%(message)s") -> None:
    """Let what the package logs appear on stderr, each message in this form of `logging`."""
    package, teller = logging.getLogger("diffdenoise"), _Tell()
    teller.setFormatter(logging.Formatter(form, "%Y-%m-%d %H:%M:%S%z"))
    package.handlers = [teller]
    package.setLevel(logging.INFO)


class _Tell(logging.Handler):
    """Messages of the package as lines on stderr, whatever that is at the moment (progress bars replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)
