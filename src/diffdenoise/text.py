"""Names of files on the terminal, whatever is in them."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """The text, with what standard output cannot show (bytes of a name that are no text) written as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    """The same for rich, which takes square brackets for markup."""
    from rich.markup import escape

    return escape(printable(text))
