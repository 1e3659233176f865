"""The operations that a search has still to place."""

from __future__ import annotations

from collections.abc import Sequence


class Queue:
    """Operations in the order in which they began, given as (began, ended) lines.

    A doubly linked list, so that placing one and taking it back are O(1); `placed` names the set
    of those placed, in as many bits as lie between the first that is not and the last that is.
    """

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        # A stop at the end: it begins after everything, so that no walk needs a test for it.
        last = max((ended for _, ended in spans), default=0) + 1
        self._began = [began for began, _ in spans] + [last]
        self._ended = [ended for _, ended in spans] + [last]
        count = len(spans)
        # The place before the first is -1, which Python takes for the last of count + 2.
        self._next = [*range(1, count + 1), count, 0]
        self._previous = [*range(-1, count), count]
        self._base = 0
        self._bits = 0
        self._left = count

    def __len__(self) -> int:
        return self._left

    @property
    def placed(self) -> tuple[int, int]:
        """The set of those placed: all below the first number, and the bits from there on."""
        return self._base, self._bits

    def candidates(self) -> tuple[list[int], int]:
        """Numbers of those that may come next; the line where the first of all the rest ended."""
        began, ended, after = self._began, self._ended, self._next
        first_end = ended[-1]
        found = []
        number = after[-1]
        while began[number] < first_end:
            found.append(number)
            first_end = min(first_end, ended[number])
            number = after[number]
        return found, first_end

    def place(self, number: int) -> None:
        """Take *number* out of the queue."""
        before, after = self._previous[number], self._next[number]
        self._next[before] = after
        self._previous[after] = before
        self._left -= 1
        self._bits |= 1 << (number - self._base)
        ones = (~self._bits & (self._bits + 1)).bit_length() - 1
        self._base += ones
        self._bits >>= ones

    def take_back(self, number: int) -> None:
        """Undo `place` of *number*, which was the last one placed."""
        self._next[self._previous[number]] = number
        self._previous[self._next[number]] = number
        self._left += 1
        if number < self._base:
            self._bits = ((self._bits + 1) << (self._base - number)) - 1
            self._base = number
        self._bits &= ~(1 << (number - self._base))
