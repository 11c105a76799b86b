"""What is said on the terminal: names of files, whatever is in them, and messages in plain lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

NAMED = 3  # of many


def printable(text: str) -> str:
    """The text, with what standard output cannot show (bytes of a name that are no text) written as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    """The same for rich, which takes square brackets for markup."""
    from rich.markup import escape

    return escape(printable(text))


def some_of(names: Sequence[object]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def tell_in_plain_lines() -> None:
    """Let what the package logs appear on stderr."""
    package = logging.getLogger("diffdenoise")
    package.handlers = [_Tell()]
    package.setLevel(logging.INFO)


class _Tell(logging.Handler):
    """Messages of the package as plain lines on stderr, whatever that is at the moment (progress bars replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)
