"""Change good bytes in a few places, by chance that is drawn from a seed; and what a refusal must look like."""

from __future__ import annotations

import random

NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"-1",
    b"99999999999999999999",
    b"1e999",
)


def mutated(data: bytes, chance: random.Random, words: tuple[bytes, ...] = NUMBERS) -> bytes:
    """Change a file in one to six places: a bit, a byte, a word, a piece cut out, doubled, moved or filled; or cut its tail off."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made) + 1)
        length = min(len(made) - at, int(chance.expovariate(1 / 16)) + 1)
        match chance.randrange(8):
            case 0 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(made):
                made[at] = chance.randrange(256)
            case 2:
                made[at : at + length] = chance.choice(words)
            case 3:
                made[at:at] = chance.choice(words)
            case 4:
                del made[at : at + length]
            case 5:
                made[at:at] = made[at : at + length]
            case 6:
                made[at : at + length] = bytes(length)
            case 7 if chance.random() < 0.3:
                del made[at:]
    return bytes(made)


def refused(error: Exception, where: str = "") -> str:
    """Hold a refusal to its form: one line, not without end, that says where the fault is."""
    told = str(error)
    assert where in told, f"does not say {where!r}: {told[:200]}"
    assert "\n" not in told, f"more than one line: {told[:200]!r}"
    assert len(told) < 2000, f"{len(told)} characters: {told[:200]}"
    return "refused"
