"""What a command says, in a JSON file (`--json`), too: an earlier one of its kind is replaced, nothing else ever."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from diffdenoise.errors import ConfigError, LeftAlone, ScanError, reason_of
from diffdenoise.run_folder import write_json

Kind = Literal["figures", "descriptions"]
MARKS: dict[Kind, set[str]] = {"figures": {"data_range", "scans"}, "descriptions": {"models", "scans"}}  # keys


def check_json(path: Path | None, kind: Kind) -> None:
    """ConfigError where it cannot be written, or would replace what is no file of this kind; asked before the work.

    None: none is wanted.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise ConfigError(f"--json {path}: its folder is not there. Make it, or give another name.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # rights do not tell: the disk may be read-only
            earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else dict.fromkeys(MARKS[kind])
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written ({reason_of(error)}). Give another name.") from error
    except (ValueError, RecursionError):
        earlier = None
    if not (isinstance(earlier, dict) and earlier.keys() >= MARKS[kind]):
        raise ConfigError(f"--json {path}: is there already, and holds no {kind}. Give another name, or move it.")


def write_checked(path: Path | None, kind: Kind, content: dict[str, Any], errors: Sequence[ScanError | str]) -> None:
    """The content and the errors, each once, without what was left alone. Raises ConfigError as `check_json` does."""
    check_json(path, kind)
    if path is None:
        return
    failed = [_plain(error) for error in errors if not isinstance(error, LeftAlone)]
    write_json(path, {**content, "errors": [one for n, one in enumerate(failed) if one not in failed[:n]]})


def _plain(error: ScanError | str) -> dict[str, str]:
    if isinstance(error, ScanError):
        return {"path": str(error.path), "fault": error.fault, "remedy": error.remedy}
    return {"fault": error}
