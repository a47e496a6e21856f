"""Something that takes a while: small pictures of the Mandelbrot set, as PNG."""

import struct
import zlib
from collections.abc import Iterable

WIDTH, HEIGHT = 160, 120  # pixels
STEPS = 120


def thumbnail(x: float, y: float, width: float) -> bytes:
    """Draw the part of the plane around (x, y) that is `width` wide.

    Returns:
        A PNG file of 160 x 120 pixels, after a tenth of a second or more.
    """
    step = width / WIDTH
    left, top = x - width / 2, y + step * HEIGHT / 2
    return png(
        b"".join(colour(complex(left + step * column, top - step * row)) for column in range(WIDTH))
        for row in range(HEIGHT)
    )


def colour(point: complex) -> bytes:
    """Red, green and blue of a point: black within the set, brighter the closer to it."""
    z = 0j
    for count in range(STEPS):
        z = z * z + point
        if z.real * z.real + z.imag * z.imag > 4:
            share = count / STEPS
            return bytes((int(255 * share**0.4), int(255 * share**0.7), 60 + int(195 * share)))
    return b"\0\0\0"


def png(rows: Iterable[bytes]) -> bytes:
    """Pack rows of RGB pixels into a file (RFC 2083)."""
    header = struct.pack(">2I5B", WIDTH, HEIGHT, 8, 2, 0, 0, 0)  # 8 bits a colour, RGB
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))  # each row is unfiltered
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
