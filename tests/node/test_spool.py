"""Whatever is killed when: what was acknowledged is delivered or set aside, and not again once that was noted."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.errors import RunError
from diffdenoise.node.room import Bounds
from diffdenoise.node.spool import MARKER, Spool, make_spool_folder, mark_of

SERIES, IMAGES = ("s0", "s1"), ("i0", "i1", "i2")


class Death(BaseException):
    """The process is killed; nothing it does afterwards reaches the disk."""


@contextmanager
def dies_after(steps: int) -> Iterator[None]:
    """So many changes of the disk succeed, then no more."""
    left = [steps]

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise Death
            left[0] -= 1
            return function(*arguments, **named)

        return call

    changes = [(Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (Path, "write_bytes")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [*changes, (shutil, "rmtree"), (os, "utime")]:
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        yield


@dataclass
class World:
    """A spool, what its senders were told, and what its receiver got."""

    folder: Path
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    delivered: list[tuple[str, str]] = field(default_factory=list)
    noted: set[tuple[str, str]] = field(default_factory=set)
    cut_off: int = 0

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder)

    def receive(self, series: str, image: str) -> None:
        content = f"{series} {image}".encode()
        assert self.spool.add(series, image, content) in (None, content)
        self.acknowledged.add((series, image))

    def work(self, series: str) -> None:
        waiting, _ = self.spool.sources(series)
        self.spool.begin(series)
        place, results = self.spool.workplace(series), {}
        for source in waiting:
            results[source.name] = place / source.name
            results[source.name].write_bytes(b"derived " + source.read_bytes())
        self.spool.denoised(series, results)
        self.spool.end(series)

    def fail(self, series: str) -> None:
        waiting, _ = self.spool.sources(series)
        self.spool.fail(series, [path.name for path in waiting], "no good")

    def send(self) -> None:
        for path in self.spool.outgoing():
            which = (path.parent.name, path.stem)
            assert which not in self.noted, "sent again after it was noted as acknowledged"
            assert path.read_bytes() == f"derived {which[0]} {which[1]}".encode()
            self.delivered.append(which)
            self.spool.sent(path)
            self.noted.add(which)

    def do(self, action: str, series: str, image: str, steps: int | None) -> None:
        call = {
            "receive": lambda: self.receive(series, image),
            "work": lambda: self.work(series),
            "fail": lambda: self.fail(series),
            "send": self.send,
        }[action]
        if steps is None:
            return call()
        try:
            with dies_after(steps):
                call()
        except Death:
            self.cut_off += 1
        with suppress(Death), dies_after(steps):  # a start may be killed, too
            Spool(self.folder)
        self.spool = Spool(self.folder)


ACTIONS = st.tuples(
    st.sampled_from(["receive", "receive", "work", "send", "fail"]),
    st.sampled_from(SERIES),
    st.sampled_from(IMAGES),
    st.none() | st.integers(0, 12),
)


@given(st.lists(ACTIONS, max_size=25))
@settings(max_examples=150)
def test_nothing_acknowledged_is_lost_and_nothing_noted_is_sent_again(
    actions: list[tuple[str, str, str, int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)  # a killed process leaves what it wrote
        world = World(Path(folder))
        for action in actions:
            world.do(*action)
        for series in SERIES:
            world.work(series)
        world.send()
        failed = {(path.parent.name, path.stem) for path in Path(folder).glob("failed/*/*.dcm")}
        assert world.acknowledged <= set(world.delivered) | failed
        assert len(world.delivered) - len(set(world.delivered)) <= world.cut_off
        sources = [path.relative_to(path.parents[1]) for path in Path(folder).glob("[!o]*/*/*.dcm")]
        assert len(sources) == len(set(sources)), "a source is in one state only"
        usage = world.spool.room.usage()
        assert (usage.waiting, usage.outgoing) == (0, 0)
        assert not [*Path(folder).glob("incoming/*"), *Path(folder).glob("work/*/*")]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(make_spool_folder(tmp_path / "spool"))


def test_the_folder_is_the_owners_alone_and_no_other_folder_is_taken(spool: Spool, tmp_path: Path) -> None:
    spool.add("s", "i", b"pixels")
    for path in [spool.folder, *spool.folder.rglob("*")]:
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(RunError, match="no spool"):
        make_spool_folder(tmp_path / "other")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / f".0123-{MARKER}").touch()  # killed when it made the marker
    assert make_spool_folder(tmp_path / "begun") == tmp_path / "begun"


def test_a_folder_that_the_system_refuses_is_told_with_whom_it_has_to_belong_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_there = make_spool_folder(tmp_path / "others"), Path.exists

    def refused(path: Path) -> bool:
        if path.parent == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_there(path)

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(RunError, match=r"others: cannot be used \(Permission denied\)\. The user of the node"):
        make_spool_folder(folder)


def test_what_is_known_already_is_given_back_and_what_failed_is_taken_again(spool: Spool) -> None:
    assert spool.add("s", "i", b"one") is None
    assert spool.add("s", "i", b"two") == b"one"
    spool.fail("s", ["i.dcm"], "no good")
    assert (spool.folder / "failed" / "s" / "reason.txt").read_text() == "no good\n"
    assert spool.add("s", "i", b"two") is None
    assert not (spool.folder / "failed" / "s").exists()
    assert spool.room.usage().waiting == 1


def test_a_series_is_ready_when_it_was_quiet_and_the_least_tried_comes_first(spool: Spool) -> None:
    for series in ("a", "b", "c"):
        spool.add(series, "i", b"")
    assert spool.ready(60) == []
    now = time.time()
    for series, age in (("a", 100), ("b", 90), ("c", 10)):
        os.utime(spool.folder / "waiting" / series, (now - age, now - age))
    assert spool.ready(60) == ["a", "b"]
    assert [spool.begin("a"), spool.begin("a")] == [0, 1]
    assert Spool(spool.folder).ready(60) == ["b", "a"]
    spool.end("a")
    assert spool.ready(60) == ["a", "b"]


def test_a_resent_image_that_is_known_does_not_hold_up_its_series(spool: Spool) -> None:
    spool.add("a", "i", b"")
    before = time.time() - 100
    os.utime(spool.folder / "waiting" / "a", (before, before))
    spool.add("a", "i", b"")
    assert spool.ready(60) == ["a"]


def test_sources_are_forgotten_only_when_all_was_sent_long_ago(spool: Spool, tmp_path: Path) -> None:
    spool.add("s", "i", b"")
    (tmp_path / "derived").touch()
    spool.denoised("s", {"i.dcm": tmp_path / "derived"})
    assert spool.forget(0) == 0
    spool.sent(spool.outgoing()[0])
    assert spool.forget(60) == 0
    assert spool.forget(0) == 1
    assert spool.room.usage().done == 0


def test_sources_are_forgotten_where_the_derived_image_was_deleted_by_hand(spool: Spool, tmp_path: Path) -> None:
    spool.add("s", "i", b"")
    (tmp_path / "derived").touch()
    spool.denoised("s", {"i.dcm": tmp_path / "derived"})
    spool.outgoing()[0].unlink()
    assert (spool.folder / "outgoing" / "s").is_dir()
    assert spool.forget(60) == 0
    assert spool.forget(0) == 1


@pytest.mark.parametrize("state", ["waiting", "outgoing"])
def test_with_other_rules_what_was_done_may_be_done_again_though_the_series_is_busy(
    spool: Spool, tmp_path: Path, state: str
) -> None:
    spool.adopt("rules")
    spool.add("s", "i", b"")
    (tmp_path / "derived").touch()
    spool.denoised("s", {"i.dcm": tmp_path / "derived"})
    if state == "waiting":
        spool.sent(spool.outgoing()[0])
        spool.add("s", "late", b"")
    Spool(spool.folder).adopt("other rules")
    assert spool.add("s", "i", b"") is None


def done(spool: Spool, tmp_path: Path, series: str, age: float, size: int = 10) -> None:
    """A series whose one image was sent so long ago."""
    spool.add(series, "i", size * b".")
    (tmp_path / "derived").touch()
    spool.denoised(series, {"i.dcm": tmp_path / "derived"})
    spool.sent(next(path for path in spool.outgoing() if path.parent.name == series))
    os.utime(spool.folder / "done" / series, 2 * (time.time() - age,))


def test_an_image_that_took_the_place_of_one_on_its_way_is_still_sent(spool: Spool, tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        (tmp_path / "derived").write_bytes(content)
        assert spool.add("s", "i", b"source") is None
        spool.denoised("s", {"i.dcm": tmp_path / "derived"})
        if content == b"old":
            (on_its_way,) = spool.outgoing()
            mark = mark_of(on_its_way)
            spool.adopt("other rules")
            spool.adopt("yet others")  # the source counts as unknown again
    spool.sent(on_its_way, mark)
    assert [path.read_bytes() for path in spool.outgoing()] == [b"new"]
    spool.sent(on_its_way, mark_of(on_its_way))
    assert spool.outgoing() == []


def test_files_of_a_file_manager_are_no_series(spool: Spool) -> None:
    for state in ("waiting", "done", "outgoing", "failed"):
        (spool.folder / state / ".DS_Store").touch()
    again = Spool(spool.folder)
    assert again.ready(0) == again.outgoing() == []
    again.adopt("rules")
    again.adopt("others")
    assert again.forget(0) == 0


def test_where_bytes_are_short_the_sources_sent_longest_ago_are_forgotten_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool", Bounds(bytes=40))
    for series, age in (("a", 10), ("b", 30), ("own", 40), ("busy", 50)):
        done(spool, tmp_path, series, age)
    spool.add("busy", "late", b"")
    spool.room.usage()
    spool.room._next = float("inf")  # not counted again: carried on
    kept = lambda: {path.name for path in (spool.folder / "done").iterdir()}  # noqa: E731
    assert spool.make_room(0, "own")
    assert kept() == {"a", "b", "own", "busy"}
    assert spool.make_room(10, "own")
    assert kept() == {"a", "own", "busy"}
    assert spool.make_room(30, "own")
    assert kept() == {"busy"}
    assert not spool.make_room(31, "own")
    assert spool.room.usage().bytes == 10


def test_what_is_deleted_by_hand_while_it_is_listed_is_passed_over(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for series in ("a", "b", "c"):
        spool.add(series, "i", b"")
        (tmp_path / series).touch()
        spool.denoised(series, {"i.dcm": tmp_path / series})
    (spool.folder / "outgoing" / "a" / "j.dcm").touch()
    image, folder = spool.folder / "outgoing" / "a" / "i.dcm", spool.folder / "outgoing" / "b"
    stat, iterdir = Path.stat, Path.iterdir

    def gone_first(path: Path, **named: Any) -> os.stat_result:
        if path == image:
            os.unlink(path) if os.path.lexists(path) else None  # noqa: PTH108
        return stat(path, **named)

    def listed(path: Path) -> Iterator[Path]:
        if path == folder:
            shutil.rmtree(path, ignore_errors=True)
        return iterdir(path)

    monkeypatch.setattr(Path, "stat", gone_first)
    monkeypatch.setattr(Path, "iterdir", listed)
    assert {f"{path.parent.name}/{path.name}" for path in spool.outgoing()} == {"a/j.dcm", "c/i.dcm"}
    assert Spool(spool.folder).room.usage().outgoing == 2


def test_with_other_rules_what_was_done_may_be_done_again(spool: Spool, tmp_path: Path) -> None:
    spool.adopt("rules")
    spool.add("s", "i", b"")
    (tmp_path / "derived").touch()
    spool.denoised("s", {"i.dcm": tmp_path / "derived"})
    spool.sent(spool.outgoing()[0])
    Spool(spool.folder).adopt("rules")
    assert spool.add("s", "i", b"") == b""
    Spool(spool.folder).adopt("other rules")
    assert spool.add("s", "i", b"") is None
