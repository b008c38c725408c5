"""Settings of the C library's memory allocator, for processes that allocate many batches."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
MAX_KEPT_BLOCK = 2**30
"""Bytes: freed blocks up to this size are kept."""


def _library() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None


def keep_freed_memory() -> None:
    """Keep freed memory for the next batch.

    By default glibc returns large blocks to the kernel, which clears them again for the next batch: about a sixth of
    the time of a sentence encoder's batch. Does nothing without glibc.
    """
    if library := _library():
        library.mallopt(M_MMAP_THRESHOLD, MAX_KEPT_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, MAX_KEPT_BLOCK)


def return_freed_memory() -> None:
    """Return free memory to the kernel, so that fragmentation does not grow over hours."""
    if library := _library():
        library.malloc_trim(0)
