"""Caches of Envoy's allocator for each CPU, where the kernel lets it have them.

TCMalloc finds the CPU that it is on by the kernel's restartable sequences, which glibc takes for
itself from 2.35 on; then there is a cache for each thread, and a gateway serves 3 to 8 % less
(docs/adr/0019). Linux 6.19 changed what TCMalloc relies on, and it crashes there.
Source: https://github.com/google/tcmalloc/issues/292.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.pthread.rseq"
_CHANGED_IN = (6, 19)


def allocator_environment(given: Mapping[str, str], *, system: str, release: str) -> dict[str, str]:
    """What to add to the environment *given*, on the kernel *release* of *system* (as of `uname`).

    Nothing where the kernel may have the change, or where somebody has decided already.
    """
    tunables = given.get(VARIABLE, "")
    found = re.match(r"(\d+)\.(\d+)", release)
    if system != "Linux" or found is None or _TUNABLE in tunables:
        return {}
    if (int(found[1]), int(found[2])) >= _CHANGED_IN:
        return {}
    return {VARIABLE: ":".join(filter(None, [tunables, f"{_TUNABLE}=0"]))}
