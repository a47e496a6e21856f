"""The bytes that streaming moves: the same at both ends, and different at every position."""

import functools
import hashlib
import random
from collections.abc import Iterator

CHUNK_BYTES = 65_536
_BLOCK_BYTES = 2**20
_STRIDE = 40_961  # prime, so that neighbouring chunks differ and repeat late


def chunks(total: int) -> Iterator[bytes]:
    """Yield the first `total` bytes of the content, in chunks of at most 64 KiB.

    A chunk lost, doubled or out of order changes the hash of the whole.
    """
    block = _block()
    for number, start in enumerate(range(0, total, CHUNK_BYTES)):
        offset = number * _STRIDE % (_BLOCK_BYTES - CHUNK_BYTES)
        yield block[offset : offset + min(CHUNK_BYTES, total - start)]


def sha256_of(total: int) -> str:
    """Return the SHA-256 of the first `total` bytes of the content, in hex."""
    digest = hashlib.sha256()
    for chunk in chunks(total):
        digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def _block() -> bytes:
    return random.Random(1).randbytes(_BLOCK_BYTES)  # test content, the same on every run
