"""Errors that a user can act on: each message names the thing, the fault and the remedy."""


class DiffdenoiseError(Exception):
    """Base of all errors raised on purpose; the command line prints its text without a traceback."""


class ScanError(DiffdenoiseError):
    """A scan cannot be read or written."""

    def __init__(self, path: object, fault: str, remedy: str) -> None:
        self.path, self.fault, self.remedy = path, fault, remedy
        super().__init__(f"{path}: {fault}. {remedy}")


class OtherKind(ScanError):
    """A file that is no image to denoise, but a report, a mask, a colour picture, ..."""


class OwnResult(OtherKind):
    """A result of our own that lies among the scans."""


class DiscList(OtherKind):
    """A DICOMDIR: passed over in a folder without a word, as the images that it lists are found beside it."""


OWN_RESULT = "is a result of diffdenoise already", "Denoise the original image it was made from."
DISC_LIST = "is the list of a disc (DICOMDIR), no image", "Name the folder it lies in."


class LeftAlone(ScanError):
    """Such a file that was found in a folder: told, but no failure."""


class ModelError(DiffdenoiseError):
    """A model file is missing, damaged, or not one of ours."""


class ConfigError(DiffdenoiseError):
    """A setting or a combination of settings makes no sense."""


class RunError(DiffdenoiseError):
    """A run folder is locked, or its content does not belong to this run."""


def reason_of(error: Exception) -> str:
    """In one line, the system's own words if it spoke: libraries wrap them in theirs, some in a whole traceback."""
    cause: BaseException | None = error if isinstance(error, OSError) else None
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


_NO_MEMORY = ("out of memory", "allocate memory", "enough memory", "alloc_failed")


def is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch says so in a RuntimeError of many words, and of other things with "memory"."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)
