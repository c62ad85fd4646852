"""Remembers which names of a long list were seen, in little memory."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class SeenNames:
    """A set of texts that holds only 128 bits of each one's digest: at most 32 bytes, where a set of texts takes some 200.

    Two texts are taken for one with a probability of 1e-24 among ten million.
    """

    def __init__(self) -> None:
        self._count, self._mask = 0, 255
        self._slots = array("Q", bytes(16 * 256))  # two numbers for each slot; a free one has zeros

    def add(self, text: str) -> bool:
        """Add a text; return whether it is new."""
        digest = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "little")
        low, high = digest & 0xFFFF_FFFF_FFFF_FFFF | 1, digest >> 64  # never zero
        at = self._slot(low, high)
        if self._slots[at]:
            return False
        self._slots[at], self._slots[at + 1] = low, high
        self._count += 1
        if self._count * 4 > self._mask * 3:
            self._grow()
        return True

    def _slot(self, low: int, high: int) -> int:
        """Return where a digest is, or the free place for it."""
        slots, mask = self._slots, self._mask
        at = high & mask
        while (found := slots[2 * at]) and not (found == low and slots[2 * at + 1] == high):
            at = (at + 1) & mask
        return 2 * at

    def _grow(self) -> None:
        before = self._slots
        self._mask = 2 * self._mask + 1
        self._slots = array("Q", bytes(16)) * (self._mask + 1)
        for at in range(0, len(before), 2):
            if before[at]:
                place = self._slot(before[at], before[at + 1])
                self._slots[place], self._slots[place + 1] = before[at], before[at + 1]
