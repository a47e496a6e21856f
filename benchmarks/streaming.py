"""Streaming: 1 GiB down to a slow reader, 1 GiB up to a slow application; who keeps it?

The slow side first does nothing at all, so that everything before it fills up to its bounds, and
then takes a bounded rate. Count and SHA-256 of the bytes are checked at the far end.
"""

import hashlib
import http.client
import json
import time

from benchmarks.content import chunks, sha256_of
from benchmarks.harness import BenchmarkError, Settings, Subject, under_test
from benchmarks.procfs import RssWatch
from benchmarks.report import Row, Target

PAUSE_S = 3.0
RATE_BYTES_PER_S = 128 * 2**20
_WARM_UP_BYTES = 8 * 2**20
_READ_BYTES = 2**18
_TIMEOUT_S = 60.0
_LIMIT = Target("<=", 32)


def run(settings: Settings) -> list[Row]:
    """Measure both directions, one after the other, each on servers started afresh."""
    total = 2**28 if settings.quick else 2**30
    size = f"{total // 2**20} MiB"
    with under_test(settings, "download") as subject:
        _download(subject, _WARM_UP_BYTES, pause_s=0)
        with RssWatch(subject.parts) as watch:
            seconds = _download(subject, total, pause_s=PAUSE_S)
        down = _row(f"{size} down to a slow reader", watch, total, seconds)
    with under_test(settings, "upload") as subject:
        _upload(subject, _WARM_UP_BYTES, pause_s=0)
        with RssWatch(subject.parts) as watch:
            seconds = _upload(subject, total, pause_s=PAUSE_S)
        up = _row(f"{size} up to a slow application", watch, total, seconds)
    return [down, up]


def _row(name: str, watch: RssWatch, total: int, seconds: float) -> Row:
    growth = {part: grown / 2**20 for part, grown in watch.growth().items()}
    most = max(growth, key=growth.__getitem__)
    return Row(
        name=f"streaming {name}: RSS growth of any process",
        values=[growth[most]],
        unit="MiB",
        target=_LIMIT,
        note=f"most: {most}; {total / 2**20 / seconds:.0f} MiB/s with the pause",
        details={"growth_mib": growth, "seconds": seconds, "bytes": total},
    )


def _download(subject: Subject, total: int, *, pause_s: float) -> float:
    """Read `total` bytes slowly and return the seconds it took.

    Raises:
        BenchmarkError: Other bytes than were sent.
    """
    expected = sha256_of(total)
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=_TIMEOUT_S)
    started = time.monotonic()
    try:
        connection.request("GET", f"/?bytes={total}")
        response = connection.getresponse()
        time.sleep(pause_s)
        digest, count, reading_since = hashlib.sha256(), 0, time.monotonic()
        while data := response.read(_READ_BYTES):
            digest.update(data)
            count += len(data)
            ahead_s = count / RATE_BYTES_PER_S - (time.monotonic() - reading_since)
            if ahead_s > 0.01:
                time.sleep(ahead_s)
    except (OSError, http.client.HTTPException) as error:
        raise BenchmarkError(f"download of {total} bytes: {error!r}") from error
    finally:
        connection.close()
    _check("download", total, expected, count, digest.hexdigest())
    return time.monotonic() - started


def _upload(subject: Subject, total: int, *, pause_s: float) -> float:
    """Send `total` bytes to an application that takes them slowly; return the seconds it took.

    Raises:
        BenchmarkError: The application had other bytes than were sent, or answered an error.
    """
    expected = sha256_of(total)
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=_TIMEOUT_S)
    started = time.monotonic()
    try:
        connection.request(
            "POST",
            f"/?pause={pause_s}&rate={RATE_BYTES_PER_S}",
            body=chunks(total),
            headers={"Content-Length": str(total)},
        )
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchmarkError(f"upload of {total} bytes: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise BenchmarkError(f"upload of {total} bytes: status {response.status}, {body[:200]!r}")
    answer = json.loads(body)
    _check("upload", total, expected, answer["bytes"], answer["sha256"])
    return time.monotonic() - started


def _check(what: str, total: int, expected: str, count: int, digest: str) -> None:
    if (count, digest) != (total, expected):
        raise BenchmarkError(f"{what}: {count} of {total} bytes came, or they were other bytes")
