import pytest

from diffdenoise.errors import is_memory_error, reason_of


def wrapped(cause: Exception, said: str) -> Exception:
    """As pydicom does it: the same kind of error again, with a traceback for its text."""
    try:
        raise type(cause)(said) from cause
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (wrapped(OSError(27, "File too large"), "With tag (7fe0,0010) got\nTraceback (most recent"), "File too large"),
        (OSError("the tape tore"), "the tape tore"),
        (wrapped(ValueError("odd"), "With tag (0028,0010) got exception: odd\nTraceback"), "With tag (0028,0010)"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_reason_is_one_line_and_the_systems_own_if_it_spoke(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
    assert "\n" not in reason_of(error)


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("memory order"), False),
    ],
)
def test_not_all_that_names_memory_ran_out_of_it(error: Exception, ran_out: bool) -> None:
    assert is_memory_error(error) == ran_out
