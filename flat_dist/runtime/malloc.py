"""The C library's memory, for processes whose batches come and go."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
LARGEST = 2**30
"""Bytes; blocks up to this size are kept when they are freed."""


def _library() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next batch.

    By itself glibc gives large blocks back to the kernel, which has to clear them again for the next batch: about a
    sixth of the time of a sentence encoder's batch. Does nothing where there is no glibc.
    """
    if library := _library():
        library.mallopt(M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(M_TRIM_THRESHOLD, LARGEST)


def give_back_freed_memory() -> None:
    """Have the C library give back what is free now, so that gaps between what is in use do not add up over hours."""
    if library := _library():
        library.malloc_trim(0)
