"""Huge memory pages for the CPU backend: a training step is a fifth to a third faster with them.

XLA's CPU backend takes one large buffer from malloc and gives it back at every call, and with pages of 4 KiB the
kernel spends up to a third of the step on page faults. glibc asks for huge pages if told so before the process
starts, hence the second start.
"""

import os
import sys
from pathlib import Path

VARIABLE, VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def wanted() -> bool:
    """True where the kernel gives huge pages on request only and the user has set no tunables."""
    offered = SETTING.exists() and "[madvise]" in SETTING.read_text()
    return sys.platform == "linux" and offered and VARIABLE not in os.environ


def restart_with_huge_pages() -> None:
    """Replace this process by the same command with huge pages; returns where they are of no use."""
    if wanted():
        os.environ[VARIABLE] = VALUE
        os.execv(sys.executable, [sys.executable, "-P", "-m", "cdm_jax", *sys.argv[1:]])
