"""The chain of directories in a TIFF, one a page: whether it is whole. What lies behind a break is lost unseen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

MOST_TAGS = 4096  # of a directory; tifffile reads no more either


@dataclass(frozen=True)
class _Layout:
    """How numbers lie in the file: byte order, and the bytes of an offset, of the number of tags, and of a tag."""

    order: Literal["little", "big"]
    offset: int = 4
    count: int = 2
    tag: int = 12

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)


def broken_chain(path: Path) -> str | None:
    """What is wrong with the chain, or None if it is whole; files that are no TIFF are for others to judge."""
    with path.open("rb") as file:
        layout = _layout(file.read(4))
        if layout is None:
            return None
        file.seek(4 if layout.offset == 4 else 8)
        offset, seen = layout.number(file.read(layout.offset)), set[int]()
        while offset:
            if offset in seen:
                return "leads from one page back to an earlier one"
            following = _following(file, offset, layout)
            if following is None:
                return f"breaks off after {len(seen)} page(s)"
            seen.add(offset)
            offset = following
    return None


def _layout(head: bytes) -> _Layout | None:
    classic = {b"II*\0": _Layout("little"), b"MM\0*": _Layout("big")}
    return {**classic, b"II+\0": _Layout("little", 8, 8, 20), b"MM\0+": _Layout("big", 8, 8, 20)}.get(head)


def _following(file: BinaryIO, offset: int, layout: _Layout) -> int | None:
    """Where the next directory lies, 0 after the last; None if this one is not whole."""
    file.seek(min(offset, 2**62))
    count = file.read(layout.count)
    tags = layout.number(count)
    if len(count) < layout.count or tags > MOST_TAGS:
        return None
    following = file.read(tags * layout.tag + layout.offset)[tags * layout.tag :]
    return layout.number(following) if len(following) == layout.offset else None
