from __future__ import annotations

import json
import os
from dataclasses import replace as replaced
from pathlib import Path
from random import Random
from typing import IO

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffdenoise.errors import ConfigError, LeftAlone, OwnResult, ScanError
from diffdenoise.scans.files import check_folder, check_target, find, is_done, read_scan, result_path, write_scan
from diffdenoise.scans.scan import Provenance
from diffdenoise.scans.sidecar import sidecar_path
from tests.scans.dicom_checks import series
from tests.scans.format_checks import PROVENANCE, REMOVED, read


def image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.full((2, 3), value, np.int16))
    return path


def names(*inputs: str | Path) -> list[str]:
    return [item.name for item in find(list(inputs))[0]]


def saved(path: Path, stored: np.ndarray) -> Path:
    """In the format that the name says; in NIfTI the unit is two steps."""
    match path.suffix:
        case ".npy":
            np.save(path, stored)
        case ".npz":
            np.savez(path, stored)
        case ".h5":
            with h5py.File(path, "w") as file:
                file["reconstruction_rss" if path.stem == "fastmri" else "image"] = stored
        case ".tif":
            tifffile.imwrite(path, stored, imagej=path.stem == "imagej", photometric="minisblack")
        case ".nii":
            volume = nibabel.Nifti1Image(stored, np.eye(4))
            volume.header.set_slope_inter(0.5, 0)
            nibabel.save(volume, path)
        case _:
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored), path)
    return path


def test_folders_are_searched_in_natural_order(tmp_path: Path) -> None:
    for name in ("sub-10/a.npy", "sub-2/b.NPY", "sub-2/a10.npy", "sub-2/a9.npy"):
        image(tmp_path / "x.npy").rename(tmp_path / name) if (tmp_path / name).parent.exists() else (
            image(tmp_path / name.lower()).rename(tmp_path / name)
        )
    assert names(tmp_path) == ["sub-2/a9.npy", "sub-2/a10.npy", "sub-2/b.NPY", "sub-10/a.npy"]


def test_hidden_files_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    image(tmp_path / "a.npy")
    image(tmp_path / ".diffdenoise" / "b.npy")
    image(tmp_path / ".hidden.npy")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a.json").write_text("{}")
    assert names(tmp_path) == ["a.npy"]


def test_known_suffix_that_cannot_be_read_is_found_and_then_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"nonsense")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    found, errors = find([tmp_path])
    assert not errors
    for item in found:
        with pytest.raises(ScanError, match=item.paths[0].name):
            read_scan(item)
    assert len(found) == 2


@pytest.mark.parametrize("name", ["a.npy", "a.nii.gz", "a.tif", "a.nrrd", "a.h5"])
def test_a_file_whose_noise_float32_rounds_away_is_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    pixels = 1e9 + np.random.default_rng(0).normal(size=(4, 32, 24))
    if name.endswith("npy"):
        np.save(tmp_path / name, pixels)
    elif name.endswith("nii.gz"):
        nibabel.Nifti1Image(pixels, np.eye(4)).to_filename(tmp_path / name)
    elif name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")
    elif name.endswith("nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(tmp_path / name))
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["reconstruction"] = pixels
    with pytest.raises(ScanError, match=rf"{name}: .* round away .* Subtract a constant"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "doubted"),
    [
        ("a.npy", True), ("a.npz", True), ("a.h5", True), ("a.tif", True), ("imagej.tif", False), ("fastmri.h5", False),
        ("a.nii", False), ("a.nrrd", False),
    ],
)  # fmt: skip
def test_what_the_axes_of_an_array_are_is_doubted_where_nothing_tells_it(
    tmp_path: Path, name: str, doubted: bool
) -> None:
    assert bool(read(saved(tmp_path / name, np.zeros((24, 24, 6), np.float32))).doubt) == doubted


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.tif", "a.nii", "a.nrrd"])
def test_the_step_of_stored_integers_is_known(tmp_path: Path, name: str, dtype: str) -> None:
    scan = read(saved(tmp_path / name, np.arange(5 * 24 * 24).reshape(5, 24, 24).astype(dtype)))
    assert scan.step == (0 if dtype == "float32" else 0.5 if name == "a.nii" else 1)


def test_patterns(tmp_path: Path) -> None:
    for name in ("s1/anat.npy", "s2/anat.npy", "s2/func.npy", "s[3]/anat.npy"):
        image(tmp_path / name)
    assert names(str(tmp_path / "s?" / "anat.npy")) == ["s1/anat.npy", "s2/anat.npy"]
    assert names(str(tmp_path / "**" / "func.npy")) == ["s2/func.npy"]
    assert names(str(tmp_path / "s2*")) == ["s2/anat.npy", "s2/func.npy"]
    assert names(str(tmp_path / "s[3]" / "anat.npy")) == ["anat.npy"]  # a file that is really called so


def test_links_to_folders_are_followed_each_folder_once_and_none_in_a_circle(tmp_path: Path) -> None:
    user, data, store = tmp_path / "user", tmp_path / "user" / "data", tmp_path / "store"
    image(data / "real" / "a.npy")
    image(store / ".annex" / "s1" / "b.npy")
    image(store / "s2" / "c.npy")
    image(user / "not-asked-for.npy")
    links = {data / "1": "real", data / "2": store / ".annex" / "s1", data / "3": store, data / "4": store / "s2"}
    links |= {data / "up": ".", data / "real" / "up": "..", data / "disk": tmp_path, store / "s2" / "home": user}
    links |= {data / "circle": "circle", data / "lost": "nowhere"}
    for link, target in links.items():
        link.symlink_to(target)
    found, errors = find([data])
    assert not errors
    assert [item.name for item in found] == ["2/b.npy", "3/s2/c.npy", "real/a.npy"]
    (tmp_path / "whole").symlink_to(data)
    assert names(tmp_path / "whole") == names(data)


def test_what_has_several_names_is_found_once_by_the_one_without_links(tmp_path: Path) -> None:
    """So that no slice is in a series twice."""
    folder = series(tmp_path / "b" / "knee", {"1.dcm": 1, "2.dcm": 2})
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b" / "again").symlink_to("knee")
    (tmp_path / "b" / "0.dcm").symlink_to(folder / "1.dcm")
    for item in (tmp_path, str(tmp_path / "?"), str(tmp_path / "*" / "*"), str(tmp_path / "*" / "*" / "*")):
        (found,) = find([item])[0]
        assert len(found.paths) == 2
        assert found.name == "b/knee"
    (found,) = find([folder / "1.dcm", folder / "2.dcm", tmp_path / "b" / "0.dcm"])[0]
    assert len(found.paths) == 2


def test_folders_that_all_link_to_each_other_are_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every way to each of them there would be 6! searches and more."""
    calls, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda *given, **more: (calls.append(given), walk(*given, **more))[1])
    folders = [image(tmp_path / name / "a.npy").parent for name in "abcdef"]
    for folder in folders:
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    assert len(names(tmp_path)) == 6
    assert len(calls) <= 1 + 36


def test_a_link_may_have_the_suffix_that_its_file_lacks(tmp_path: Path) -> None:
    image(tmp_path / "x.npy").rename(tmp_path / "4f1c")
    (tmp_path / "a.npy").symlink_to("4f1c")
    assert names(tmp_path) == ["a.npy"]


def test_bad_inputs_do_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    good = image(tmp_path / "a.npy")
    inputs = [tmp_path / "missing.nii", tmp_path / "empty", tmp_path / "notes.txt", str(tmp_path / "*.nii"), good]
    found, errors = find(inputs)
    assert [item.name for item in found] == ["a.npy"]
    assert len(errors) == 4
    assert "does not exist" in str(errors[0])
    assert "holds no images" in str(errors[1])
    assert "NIfTI" in str(errors[2])
    assert "matches no images" in str(errors[3])


def test_what_looks_like_images_but_is_not_read_here_is_told_and_other_files_are_not(tmp_path: Path) -> None:
    image(tmp_path / "a.npy")
    for name in ("scans.zip", "photo.JPG", "brain.mgz", "notes.txt", "participants.tsv", "run.log"):
        (tmp_path / name).write_text("x")
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["a.npy"]
    assert [(type(error), Path(error.path).name) for error in errors] == [
        (LeftAlone, "brain.mgz"), (LeftAlone, "photo.JPG"), (LeftAlone, "scans.zip"),
    ]  # fmt: skip
    (tmp_path / "a.npy").unlink()
    assert "3 of other kinds" in str(find([tmp_path])[1][-1])


def test_names_differ_and_repeats_are_dropped(tmp_path: Path) -> None:
    first, second = image(tmp_path / "s1" / "anat.npy"), image(tmp_path / "s2" / "anat.npy")
    third = image(tmp_path / "more" / "s2" / "anat.npy")
    assert names(first, second, third, first, tmp_path / "s1") == ["s1/anat.npy", "s2/anat.npy", "more/s2/anat.npy"]
    assert names(second, first) == ["s2/anat.npy", "s1/anat.npy"]  # whatever the order


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["C"], ["anat/t1.npy", "t2.npy"]),
        (["C", "D"], ["C/anat/t1.npy", "C/t2.npy", "D/anat/t1.npy"]),
        (["C/anat/t1.npy", "D/anat"], ["C/anat/t1.npy", "D/anat/t1.npy"]),
        (["C", "E/s/t2.npy"], ["C/anat/t1.npy", "C/t2.npy", "s/t2.npy"]),
        (["C/t2.npy", "D"], ["t2.npy", "anat/t1.npy"]),
        (["C/anat", "C", "C"], ["anat/t1.npy", "t2.npy"]),
        (["*/anat/t1.npy"], ["C/anat/t1.npy", "D/anat/t1.npy"]),
    ],
)
def test_where_inputs_have_results_of_one_name_all_get_the_folders_that_tell_them_apart(
    tmp_path: Path, inputs: list[str], expected: list[str]
) -> None:
    for name in ("C/anat/t1.npy", "C/t2.npy", "D/anat/t1.npy", "E/s/t2.npy"):
        image(tmp_path / name)
    assert names(*(tmp_path / name for name in inputs)) == expected


def test_a_series_right_inside_a_folder_is_told_apart_from_others_by_that_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("C", "C/loc", "D", "D/loc")):
        series(tmp_path / name, {f"a{number}": 0, f"b{number}": 1}, SeriesInstanceUID=f"1.2.{number}")
    assert sorted(names(tmp_path / "C", tmp_path / "D")) == ["C/1", "C/loc", "D/1", "D/loc"]


PLACES = ("a/x.npy", "a/X.npy", "a/x.png", "a/x.tiff", "a/x-2.npy", "b/a/x.npy", "b/A/x.npy", "b/x.nii", "b/x.mnc")
PLACES += ("c/a/x.npy", "c/b/a/x.tif", "c/b/x.nii.gz", "c/x.npy/x.npy")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files of few names (empty: nothing is read)."""
    root = tmp_path_factory.mktemp("places")
    for name in PLACES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "b" / "link.npy").symlink_to(root / "a" / "x.npy")
    return root


EVERYWHERE = sorted({*PLACES, "b/link.npy", *(str(above) for name in PLACES for above in Path(name).parents)})


@given(st.lists(st.sampled_from(EVERYWHERE), min_size=1, max_size=5), st.randoms())
def test_names_of_results_differ_and_do_not_depend_on_the_order_of_inputs(
    places: Path, inputs: list[str], random: Random
) -> None:
    found, errors = find([places / name for name in inputs])
    assert not errors
    results = [result_path(item, places, quantity) for item in found for quantity in ("denoised", "removed")]
    assert len({path.as_posix().lower() for path in results}) == len(results)
    random.shuffle(inputs)
    again, _ = find([places / name for name in inputs])
    assert {item.paths: item.name for item in again} == {item.paths: item.name for item in found}


def test_names_differ_in_what_their_maps_are_called_too(tmp_path: Path) -> None:
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tiff", np.eye(20, dtype=np.uint16))
    found, _ = find([tmp_path])
    assert len({result_path(item, tmp_path, "removed") for item in found}) == 2


@pytest.mark.parametrize("marker", ["diffdenoise-run.json", "diffdenoise-spool.json"])
def test_working_folders_of_our_own_hold_no_scans(tmp_path: Path, marker: str) -> None:
    image(tmp_path / "a.npy")
    image(tmp_path / "RUN" / "slices" / "00000.npy")
    (tmp_path / "RUN" / marker).write_text("{}")
    assert names(tmp_path) == names(str(tmp_path / "**" / "*.npy")) == ["a.npy"]


def test_result_names() -> None:
    from diffdenoise.scans.find import Found

    cases = {("a/anat.nii.gz", "nifti"): "a/anat_spread.nii.gz", ("x.png", "png"): "x_spread.tiff"}
    cases |= {("s/T1", "dicom"): "s/T1_spread", ("1.2.34", "dicom_file"): "1.2.34_spread"}
    for (name, form), expected in cases.items():
        found = Found((Path(name),), form, name)
        assert result_path(found, Path("out"), "spread") == Path("out") / expected
        assert result_path(found, Path("out")) == Path("out") / name


def test_sidecar_traces_the_result(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "a.npy"))
    result = write_scan(scan, tmp_path / "out", PROVENANCE)
    text = (tmp_path / "out" / "a.npy.json").read_text()
    record = json.loads(text)
    assert record["sources"][0]["name"] == "a.npy"
    assert len(record["sources"][0]["sha256"]) == 64
    assert record["settings"] == {"seed": 1, "sampler": "student"}
    assert "not a medical device" in record["notice"]
    assert str(tmp_path) not in text
    assert sorted(path.name for path in result.parent.iterdir()) == ["a.npy", "a.npy.json"]


def test_done_means_same_source_same_settings_untouched_result(tmp_path: Path) -> None:
    source, out = image(tmp_path / "a.npy"), tmp_path / "out"
    (found,), _ = find([source])
    assert not is_done(found, out, PROVENANCE)
    result = write_scan(read_scan(found), out, PROVENANCE)
    assert is_done(found, out, PROVENANCE)
    assert is_done(read_scan(found), out, PROVENANCE)
    assert not is_done(found, out, Provenance("0.1.0", "beef", PROVENANCE.settings))
    assert not is_done(found, out, REMOVED)
    image(source, 7)
    assert not is_done(found, out, PROVENANCE)
    image(source)
    assert is_done(found, out, PROVENANCE)
    result.write_bytes(result.read_bytes()[:-1])
    assert not is_done(found, out, PROVENANCE)


def test_a_scan_that_changed_while_it_was_denoised_gets_no_result(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "a.npy"))
    image(tmp_path / "a.npy", 9)
    with pytest.raises(ScanError, match="changed while it was denoised"):
        write_scan(scan, tmp_path / "out", PROVENANCE)
    assert not (tmp_path / "out").exists()


def test_names_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "~nobody-is-called-so.npy")
    monkeypatch.chdir(tmp_path)
    assert names("~nobody-is-called-so.npy") == ["~nobody-is-called-so.npy"]
    (error,) = find(["~$missing.npy"])[1]
    assert "does not exist" in str(error)


def test_links_that_share_a_name_are_told_apart_by_where_they_lie(tmp_path: Path) -> None:
    for number, place in enumerate(("one", "two")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "T1.npy").symlink_to(image(tmp_path / "store" / f"key{number}" / "T1.npy", number))
    assert names(tmp_path / "one" / "T1.npy", tmp_path / "two" / "T1.npy") == ["one/T1.npy", "two/T1.npy"]


def test_users_own_files_are_never_overwritten(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "a.npy"))
    mine = image(tmp_path / "out" / "a.npy", 42)
    (tmp_path / "other").mkdir()
    notes = tmp_path / "other" / "a.npy.json"
    notes.write_text('{"mine": 1}')
    for folder, kept in ((mine.parent, mine), (notes.parent, notes)):
        before = kept.read_bytes()
        with pytest.raises(ScanError, match="not a result of diffdenoise"):
            write_scan(scan, folder, PROVENANCE)
        assert kept.read_bytes() == before
        assert list(folder.iterdir()) == [kept]


def test_the_original_is_never_overwritten(tmp_path: Path) -> None:
    source = image(tmp_path / "a.npy")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(ScanError, match="is the original"):
            write_scan(read(source), folder, PROVENANCE)


def test_results_of_other_scans_are_kept(tmp_path: Path) -> None:
    write_scan(read(image(tmp_path / "a_removed.npy")), tmp_path / "out", PROVENANCE)
    with pytest.raises(ScanError, match="another scan"):
        write_scan(read(image(tmp_path / "a.npy")), tmp_path / "out", REMOVED)


def test_results_of_scans_with_the_same_name_are_kept(tmp_path: Path) -> None:
    mine = write_scan(read(image(tmp_path / "a" / "anat.npy", 1)), tmp_path / "out", PROVENANCE)
    before = mine.read_bytes()
    with pytest.raises(ScanError, match="another scan"):
        write_scan(read(image(tmp_path / "b" / "anat.npy", 2)), tmp_path / "out", PROVENANCE)
    assert mine.read_bytes() == before
    write_scan(read(image(tmp_path / "c" / "anat.npy", 1)), tmp_path / "out", Provenance("0.1.0", "beef"))  # a copy


@pytest.mark.parametrize(("second", "refused"), [({"a": 3, "b": 4}, True), ({"a": 1, "b": 4}, False)])
def test_a_series_may_be_mended_but_not_be_another(tmp_path: Path, second: dict[str, int], refused: bool) -> None:
    for name, seeds in {"one": {"a": 1, "b": 2}, "two": second}.items():
        series(tmp_path / name / "knee", seeds)
        (found,), _ = find([tmp_path / name])
        if name == "two" and refused:
            with pytest.raises(ScanError, match="another scan"):
                write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
        else:
            write_scan(read_scan(found), tmp_path / "out", PROVENANCE)


def test_foreign_files_in_a_result_folder_are_kept(tmp_path: Path) -> None:
    series(tmp_path / "in" / "knee", {"a": 1, "b": 2})
    (found,), _ = find([tmp_path / "in"])
    result = write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
    write_scan(read_scan(found), tmp_path / "out", Provenance("0.1.0", "beef"))
    (result / ".DS_Store").write_text("a file manager's")
    assert is_done(found, tmp_path / "out", Provenance("0.1.0", "beef"))
    (result / "notes.txt").write_text("mine")
    with pytest.raises(ScanError, match="did not write"):
        write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
    assert (result / "notes.txt").read_text() == "mine"


def test_an_edited_result_is_the_users(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.npy")
    series(tmp_path / "in" / "knee", {"a": 1, "b": 2})
    for found in find([tmp_path / "in"])[0]:
        result = write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
        edited = result / "a" if result.is_dir() else result
        edited.write_bytes(edited.read_bytes() + b"mine")
        for provenance in (PROVENANCE, Provenance("0.1.0", "beef")):
            with pytest.raises(ScanError, match="was changed after diffdenoise wrote it"):
                write_scan(read_scan(found), tmp_path / "out", provenance)
        assert edited.read_bytes().endswith(b"mine")
        edited.unlink()  # what has gone is made again
        write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
        assert is_done(found, tmp_path / "out", PROVENANCE)


def test_results_inside_the_input_folder_are_not_denoised_again(tmp_path: Path) -> None:
    image(tmp_path / "a.npy")
    series(tmp_path / "knee", {"a": 1, "b": 2})
    before = names(tmp_path)
    for found in find([tmp_path])[0]:
        write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
    assert names(tmp_path) == before == ["a.npy", "knee"]


def test_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = read(image(tmp_path / "a.npy"))
    out = tmp_path / "out"

    def full(target: IO[bytes], *_: object, **__: object) -> None:
        target.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(ScanError, match="No space left"):
            write_scan(scan, out, PROVENANCE)
    assert list(out.iterdir()) == []


def test_cut_off_between_record_and_result_the_next_run_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, out = read(image(tmp_path / "a.npy")), tmp_path / "out"
    old = write_scan(scan, out, Provenance("0.1.0", "old"))
    content = old.read_bytes()
    changed = scan.with_pixels(scan.pixels + 1)
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == old:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        for version in ("0.1.1", PROVENANCE.version):
            with pytest.raises(KeyboardInterrupt):
                write_scan(changed, out, replaced(PROVENANCE, version=version))
    assert old.read_bytes() == content
    assert not is_done(changed, out, PROVENANCE)
    write_scan(changed, out, PROVENANCE)
    assert is_done(changed, out, PROVENANCE)
    again = write_scan(changed, tmp_path / "other", PROVENANCE)
    assert sidecar_path(again).read_bytes() == sidecar_path(old).read_bytes()  # of what was before nothing is left


def test_pixels_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "a.npy"))
    with pytest.raises(ScanError, match="NaN"):
        write_scan(scan.with_pixels(scan.pixels * np.float32("nan")), tmp_path / "out", PROVENANCE)
    assert not (tmp_path / "out").exists()


def test_a_link_behind_a_closed_door_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "data" / "a.npy")
    (tmp_path / "data" / "b.npy").symlink_to(tmp_path / "closed" / "b.npy")
    stat = os.stat

    def closed(path: object, *more: object, **named: object) -> os.stat_result:
        if str(path).endswith("b.npy") and named.get("follow_symlinks", True):  # root may go anywhere
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", closed)
    open_, shut = find([tmp_path / "data"])[0]
    assert read_scan(open_).name == "a.npy"
    with pytest.raises(ScanError, match=r"b\.npy: does not exist"):
        read_scan(shut)


def test_a_folder_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = read(image(tmp_path / "a.npy"))
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "out" or not mode & os.W_OK)  # root's may
    with pytest.raises(ScanError, match="out: cannot be written to: its rights forbid it"):
        check_target(scan, tmp_path / "out" / "below")


def test_a_file_in_the_place_of_a_folder_is_told_before_the_work(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "a.npy"))
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ScanError, match="out: is no folder"):
        check_target(scan, tmp_path / "out" / "below")


def test_an_output_that_is_named_like_a_file_is_refused_unless_it_is_a_folder(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.NPY", "model.safetensors", "1.2.840.dcm"):
        with pytest.raises(ConfigError, match="names a folder"):
            check_folder(tmp_path / name)
        (tmp_path / name).mkdir()
        check_folder(tmp_path / name)
    for name in ("out", "v1.2", "sub-01.denoised"):
        check_folder(tmp_path / name)
    with pytest.raises(ConfigError, match="is a file"):
        check_folder(image(tmp_path / "c.npy"))


def test_a_series_named_file_by_file_is_one_scan(tmp_path: Path) -> None:
    folder = series(tmp_path / "head", {"a.dcm": 0, "b.dcm": 1, "c.dcm": 2})
    found, errors = find(sorted(folder.iterdir()))
    assert not errors
    assert [(item.format, len(item.paths), item.name) for item in found] == [("dicom", 3, "head")]
    assert [item.format for item in find([folder / "a.dcm"])[0]] == ["dicom_file"]


def test_files_named_by_way_of_the_folder_above_have_results_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path / "day1", {"a.dcm": 0}, SeriesInstanceUID="1.2.3")
    series(tmp_path / "here" / "day2", {"b.dcm": 0}, SeriesInstanceUID="1.2.4")
    monkeypatch.chdir(tmp_path / "here")
    found, errors = find(["../day1/a.dcm", "day2/b.dcm"])
    assert not errors
    for item in found:
        assert (tmp_path / "out").resolve() in write_scan(read_scan(item), Path("../out"), PROVENANCE).resolve().parents


def test_own_results_are_found_when_asked_for_but_only_the_denoised(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "in" / "a.npy"))
    for provenance in (PROVENANCE, REMOVED):
        write_scan(scan, tmp_path / "out", provenance)
    assert names(tmp_path / "out") == []
    found, errors = find([tmp_path / "out"], own_results=True)
    assert [item.name for item in found] == ["a.npy"]
    assert not errors


def test_a_result_that_is_named_is_an_error_until_somebody_changes_it(tmp_path: Path) -> None:
    scan = read(image(tmp_path / "in" / "a.npy"))
    for provenance in (PROVENANCE, REMOVED):
        result = write_scan(scan, tmp_path / "out", provenance)
        found, errors = find([result])
        assert not found
        assert isinstance(errors[0], OwnResult)
        assert find([result], own_results=True)[0][0].paths == (result,)
    image(result)  # now it is the user's
    assert find([result])[0][0].paths == (result,)


@pytest.mark.parametrize(
    "content",
    [
        '{"tool": "diffdenoise", "sources": 7}',
        '{"tool": "diffdenoise", "sources": ["a.npy"]}',
        '{"tool": "diffdenoise", "sources": [{"name": 1}]}',
        '{"tool": "diffdenoise", "sources": [], "result": []}',
        "[" * 100_000,
    ],
)
def test_a_record_that_only_looks_like_ours_is_the_users(tmp_path: Path, content: str) -> None:
    scan = read(image(tmp_path / "a.npy"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npy.json").write_text(content)
    assert not is_done(scan, tmp_path / "out", PROVENANCE)
    with pytest.raises(ScanError, match="not a result of diffdenoise"):
        write_scan(scan, tmp_path / "out", PROVENANCE)
