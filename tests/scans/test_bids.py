"""Results of BIDS inputs are BIDS derivatives, and are as safe and as traceable as others."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.errors import LeftAlone, OtherKind, ScanError
from diffdenoise.evaluate import evaluate_scans
from diffdenoise.scans import bids
from diffdenoise.scans.files import Found, check_target, find, is_done, read_scan, result_path, write_scan
from diffdenoise.scans.scan import MAPS, Provenance
from diffdenoise.scans.sidecar import sidecar_path
from tests.scans.format_checks import PROVENANCE, REMOVED

T1W, DWI = "sub-01/anat/sub-01_T1w", "sub-01/ses-1/dwi/sub-01_ses-1_dir-AP_dwi"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One anatomical image, and one diffusion series that inherits what stands at the root."""
    root = tmp_path / "dataset"
    for name, volumes in ((T1W, ()), (DWI, (3,))):
        (root / name).parent.mkdir(parents=True)
        pixels = np.arange(280 * int(np.prod(volumes)), dtype=np.int16).reshape(7, 8, 5, *volumes)
        nibabel.Nifti1Image(pixels, np.eye(4)).to_filename(root / f"{name}.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "Knees", "BIDSVersion": "1.8.0"}')
    (root / f"{T1W}.json").write_text('{"RepetitionTime": 2.3, "Manufacturer": "Ours"}')
    (root / "dwi.json").write_text('{"RepetitionTime": 9.0, "EchoTime": 0.08}')
    (root / "dir-PA_dwi.json").write_text('{"EchoTime": 99}')
    (root / "sub-01" / "ses-1" / "sub-01_ses-1_dwi.json").write_text('{"EchoTime": 0.07}')
    (root / "dwi.bval").write_text("0 1000 1000\n")
    (root / f"{DWI}.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    return root


def written(dataset: Path, out: Path, provenance: Provenance = PROVENANCE) -> list[Path]:
    found, errors = find([dataset])
    assert not errors
    return [write_scan(read_scan(item), out, provenance) for item in found]


def relative(paths: list[Path], folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_names_companions_and_description(dataset: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    for provenance in (PROVENANCE, REMOVED):
        written(dataset, out, provenance)
    anat, dwi = "sub-01/anat/sub-01_desc-{}_T1w", "sub-01/ses-1/dwi/sub-01_ses-1_dir-AP_desc-{}_dwi"
    expected = [
        stem.format(word) + ending
        for stem in (anat, dwi)
        for word in ("denoised", "removed")
        for ending in (".nii.gz", ".json")
    ]
    expected += [dwi.format("denoised") + ending for ending in (".bval", ".bvec")]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert relative(files, out) == sorted([*expected, "dataset_description.json"])
    assert (out / f"{dwi.format('denoised')}.bval").read_text() == "0 1000 1000\n"
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"] == [{"Name": "diffdenoise", "Version": "0.1.0"}]
    assert (description["Name"], description["BIDSVersion"]) == ("Knees, denoised", "1.8.0")
    assert {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()} == before


def test_the_sidecar_says_what_the_data_set_says_and_how_the_result_was_made(dataset: Path, tmp_path: Path) -> None:
    anat, dwi = (path.with_name(bids.stem_of(path.name) + ".json") for path in written(dataset, tmp_path / "out"))
    of_anat, of_dwi = json.loads(anat.read_text()), json.loads(dwi.read_text())
    record = of_anat.pop("diffdenoise")
    assert of_anat == {"RepetitionTime": 2.3, "Manufacturer": "Ours"}
    assert record["sources"][0]["name"] == "sub-01_T1w.nii.gz"
    assert record["settings"] == PROVENANCE.settings
    assert {key: of_dwi[key] for key in ("RepetitionTime", "EchoTime")} == {"RepetitionTime": 9.0, "EchoTime": 0.07}


def test_a_result_is_done_until_something_changes(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(dataset, out)
    done = lambda: [is_done(item, out, PROVENANCE) for item in find([dataset])[0]]  # noqa: E731
    assert done() == [True, True]
    bval = next(out.rglob("*.bval"))
    kept = bval.read_text()
    bval.write_text("0 0 0\n")
    assert done() == [True, False]
    with pytest.raises(ScanError, match="was changed after"):
        written(dataset, out)
    bval.unlink()
    written(dataset, out)
    assert bval.read_text() == kept
    (dataset / "dwi.bval").write_text("0 500 500\n")
    assert done() == [True, False]
    written(dataset, out)
    assert bval.read_text() == "0 500 500\n"


def test_names_in_two_data_sets_do_not_depend_on_their_order(tmp_path: Path) -> None:
    places = []
    for name in ("first", "second"):
        (tmp_path / name / "sub-01" / "anat").mkdir(parents=True)
        (tmp_path / name / "dataset_description.json").write_text("{}")
        places.append(tmp_path / name / "sub-01" / "anat" / "sub-01_T1w.nii")
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), places[-1])
    for inputs in (places, places[::-1]):
        found = {item.name for item in find(inputs)[0]}
        assert found == {f"{name}/sub-01/anat/sub-01_T1w.nii" for name in ("first", "second")}


def test_results_inside_the_data_set_are_not_denoised_again(dataset: Path) -> None:
    names = relative([item.paths[0] for item in find([dataset])[0]], dataset)
    out = dataset / "derivatives" / "denoised"
    written(dataset, out)
    assert relative([item.paths[0] for item in find([dataset])[0]], dataset) == names
    own, _ = find([out], own_results=True)
    assert [result_path(item, out) for item in own] == [item.paths[0] for item in own]


def test_what_lies_beside_the_data_is_taken_only_by_name(dataset: Path) -> None:
    (before, errors), names = find([dataset]), []
    assert not errors
    for beside in ("derivatives/fmriprep", "sourcedata"):
        (dataset / beside).mkdir(parents=True)
        shutil.copy(before[0].paths[0], dataset / beside / "again.nii.gz")
        names.append(dataset / beside.split("/")[0])
    found, errors = find([dataset])
    assert [item.paths for item in found] == [item.paths for item in before]
    assert [(type(error), error.path) for error in errors] == [(LeftAlone, name) for name in names]
    assert all(len(find([name])[0]) == 1 for name in names)
    (dataset / "dataset_description.json").unlink()  # such names mean nothing elsewhere
    assert len(find([dataset])[0]) == len(before) + 2


def test_results_are_evaluated_against_the_data_set_they_came_from(dataset: Path, tmp_path: Path) -> None:
    written(dataset, tmp_path / "out")
    rows, errors = evaluate_scans(tmp_path / "out", dataset, None, "fastMRI")
    assert not errors
    assert len(rows) == 2


def test_nothing_of_the_users_is_overwritten(dataset: Path, tmp_path: Path) -> None:
    found, _ = find([dataset])
    out = tmp_path / "out"
    for ending in (".nii.gz", ".json", ".bval", ".bvec"):
        mine = result_path(found[1], out).with_name(bids.stem_of(result_path(found[1], out).name) + ending)
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(ScanError, match="not a result of diffdenoise"):
            check_target(found[1], out)
        mine.unlink()
    (out / "dataset_description.json").write_text('{"Name": "mine"}')
    written(dataset, out)
    assert (out / "dataset_description.json").read_text() == '{"Name": "mine"}'


def test_a_broken_description_of_the_image_is_told_before_the_work(dataset: Path, tmp_path: Path) -> None:
    (dataset / f"{T1W}.json").write_text("{")
    found, _ = find([dataset])
    with pytest.raises(ScanError, match=r"T1w\.json: cannot be read as JSON"):
        check_target(found[0], tmp_path / "out")


@pytest.mark.parametrize("content", [b'{"Name": "Knees",}', b'{"Name": "M\xfcller"}', b"[]", b""])
def test_a_broken_description_of_the_data_set_is_told_before_the_work(
    dataset: Path, tmp_path: Path, content: bytes
) -> None:
    (dataset / "dataset_description.json").write_bytes(content)
    (item, _), _ = find([dataset])
    scan = read_scan(item)
    with pytest.raises(ScanError, match=r"dataset_description\.json: .* JSON.*\. Mend it"):
        check_target(item, tmp_path / "out")
    with pytest.raises(ScanError, match="Mend it"):
        write_scan(scan, tmp_path / "out", PROVENANCE)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text("{}")
    check_target(item, tmp_path / "out")  # that of the results is there, so nothing is taken from the data set's


def test_json_files_may_begin_with_a_mark_of_their_encoding(dataset: Path, tmp_path: Path) -> None:
    for path in (dataset / "dataset_description.json", dataset / f"{T1W}.json"):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    result, _ = written(dataset, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["Name"] == "Knees, denoised"
    assert json.loads(sidecar_path(result).read_text())["RepetitionTime"] == 2.3


def test_outside_of_data_sets_and_with_other_names_nothing_changes(dataset: Path, tmp_path: Path) -> None:
    (dataset / f"{T1W}.nii.gz").rename(dataset / "sub-01" / "anat" / "knee.nii.gz")
    (dataset / "dataset_description.json").rename(tmp_path / "elsewhere.json")
    names = relative(written(dataset, tmp_path / "out"), tmp_path / "out")
    assert names == ["sub-01/anat/knee.nii.gz", f"{DWI}.nii.gz"]
    assert not (tmp_path / "out" / "dataset_description.json").exists()
    assert not list((tmp_path / "out").rglob("*.bval"))
    assert (tmp_path / "out" / f"{DWI}.nii.gz.json").exists()


def test_two_data_sets_stay_apart(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "sub-01" / "anat").mkdir(parents=True)
    (other / "dataset_description.json").write_text("{}")
    nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)).to_filename(other / f"{T1W}.nii.gz")
    found, _ = find([dataset, other])
    results = [result_path(item, tmp_path / "out") for item in found]
    assert len(set(results)) == 3
    one, errors = find([dataset / f"{T1W}.nii.gz"])
    assert not errors
    assert result_path(one[0], Path()) == Path("sub-01/anat/sub-01_desc-denoised_T1w.nii.gz")


LABEL = st.from_regex(r"[a-zA-Z0-9]{1,8}", fullmatch=True)
ENTITIES = st.lists(
    st.tuples(st.sampled_from(["ses", "task", "run", "acq"]), LABEL), unique_by=lambda entity: entity[0], max_size=4
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    (folder / "dataset_description.json").write_text("{}")
    return folder


@settings(max_examples=50)
@given(LABEL, ENTITIES, LABEL)
def test_derived_names_parse_as_bids_and_keep_every_entity(
    root: Path, subject: str, entities: list[tuple[str, str]], suffix: str
) -> None:
    parts = [f"sub-{subject}", *(f"{key}-{label}" for key, label in entities)]
    source = root / f"{'_'.join([*parts, suffix])}.nii"
    for quantity in ("denoised", *MAPS):
        name = bids.derived_name(source, source.name, quantity)
        assert name == f"{'_'.join([*parts, f'desc-{quantity}', suffix])}.nii"
        assert bids.ours(name)
    preproc = bids.derived_name(source, f"sub-{subject}_desc-preproc_bold.nii", "denoised")
    assert preproc == f"sub-{subject}_desc-preprocDenoised_bold.nii"
    assert bids.derived_name(source, preproc, "denoised") == preproc


@pytest.mark.parametrize("quantity", ["denoised", *MAPS])
def test_the_schema_of_bids_takes_the_names(quantity: str, tmp_path: Path) -> None:
    schema, rules = pytest.importorskip("bidsschematools.schema"), pytest.importorskip("bidsschematools.rules")
    whole = schema.load_schema()
    groups = whole.rules.files.deriv.values()
    patterns = [pattern for group in groups for pattern in rules.regexify_filename_rules(group, whole, level=1)]
    fits = lambda name: any(re.fullmatch(pattern["regex"], name) for pattern in patterns)  # noqa: E731
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in (T1W, DWI, "sub-01/func/sub-01_task-rest_run-1_bold"):
        found = Found((tmp_path / f"{name}.nii.gz",), "nifti", f"{name}.nii.gz")
        result = result_path(found, Path())
        assert fits(result.as_posix())
        assert fits(sidecar_path(result).as_posix())
        assert not fits(result.as_posix().replace("desc-", ""))


@pytest.mark.parametrize("suffix", ["phasediff", "fieldmap", "mask", "defacemask", "part-phase_bold", "dseg"])
def test_other_kinds_are_left_alone_in_a_folder_and_an_error_where_they_are_named(dataset: Path, suffix: str) -> None:
    other = dataset / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz"
    shutil.copy(dataset / f"{T1W}.nii.gz", other)
    before = [item.paths for item in find([dataset / f"{T1W}.nii.gz"])[0]]
    for inputs, kind in (([dataset / "sub-01" / "anat"], LeftAlone), (sorted(other.parent.glob("*.gz")), OtherKind)):
        found, (told,) = find(inputs)
        assert [item.paths for item in found] == before
        assert type(told) is kind
        assert (Path(told.path), "as its BIDS name says" in told.fault) == (other, True)
    assert [item.paths for item in find([other], own_results=True)[0]] == [(other,)]  # `info` and `evaluate` take it


def test_what_dcm2niix_calls_a_phase_is_left_alone_in_any_folder(tmp_path: Path) -> None:
    for name, words in {"e1": ["ORIGINAL", "PRIMARY", "M"], "e1_ph": ["ORIGINAL", "PRIMARY", "P", "PHASE"]}.items():
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 2), np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps({"ImageType": words}))
    (found,), (told,) = find([tmp_path])
    assert found.name == "e1.nii.gz"
    assert isinstance(told, LeftAlone)
    assert "phase" in told.fault


def test_a_companion_that_is_not_fetched_is_told_before_the_work(dataset: Path, tmp_path: Path) -> None:
    (dataset / "dwi.bval").unlink()
    (dataset / "dwi.bval").symlink_to(tmp_path / "gone")
    found, _ = find([dataset])
    (dwi,) = (item for item in found if "dwi" in item.name)
    with pytest.raises(ScanError, match=r"dwi\.bval: is not there.*Fetch it"):
        check_target(dwi, tmp_path / "out")


def test_mended_metadata_makes_a_result_anew_and_what_a_user_added_to_it_stays(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(dataset, out)
    (scan,) = (item for item in find([dataset])[0] if "dwi" in item.name)
    beside = sidecar_path(result_path(scan, out))
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"SkullStripped": False}))
    assert is_done(scan, out, PROVENANCE)
    (dataset / "dwi.json").write_text(
        json.dumps(json.loads((dataset / "dwi.json").read_text()) | {"RepetitionTime": 8.0})
    )
    assert not is_done(scan, out, PROVENANCE)
    written(dataset, out)
    told = json.loads(beside.read_text())
    assert (told["RepetitionTime"], told["SkullStripped"]) == (8.0, False)
    assert is_done(scan, out, PROVENANCE)
