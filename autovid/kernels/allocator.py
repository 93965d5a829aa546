"""A setting of glibc's allocator that keeps large tensors from going back to the system after every layer.

By default glibc maps each block above 128 KiB (at most 32 MiB) afresh and unmaps it when freed, so that every layer's
output is page-faulted in and zeroed again: up to half of a CPU forward pass.
"""

from __future__ import annotations

import ctypes
import platform

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MIB = 2**20


def keep_memory() -> bool:
    """Keep freed memory for the next tensors of this process. Call it at start-up; again does no harm.

    Returns False, and does nothing, where the C library is not glibc (macOS, Windows, musl).
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2048 * MIB - 1), (M_TOP_PAD, 256 * MIB))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
