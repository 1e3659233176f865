from __future__ import annotations

import random

import pytest

from moreton.envoy.process.launch import Lineage

# A socket of Envoy is named by the base id times ten plus an epoch's last digit, less one for the
# parent; printed with ten digits at most while that is a positive number of 31 bits.
_NUMBER_MAX = 2**31 - 1


class Drawn(random.Random):
    """Draws the bits that it was told."""

    def __init__(self, *, ones: bool) -> None:
        super().__init__()
        self._ones = ones

    def getrandbits(self, bits: int, /) -> int:
        return 2**bits - 1 if self._ones else 0


@pytest.mark.parametrize("ones", [False, True])
def test_lineage_keeps_the_numbers_of_sockets_short_whatever_is_drawn(*, ones: bool) -> None:
    drawn = Lineage.begin(Drawn(ones=ones)).base_id
    assert drawn * 10 - 1 >= 0
    assert drawn * 10 + 9 <= _NUMBER_MAX
