"""What plain ASGI alone can do over HTTP, right and wrong."""

from typing import Any

from tests.differential.client import Visit
from tests.differential.exchanges.registry import PLAIN, Exchanges

EXCHANGES = Exchanges(*PLAIN)


@EXCHANGES.add
def receive_after_the_answer(visit: Visit) -> Any:
    with visit.connect() as client:
        client.send(visit.head("/after"))
        return client.answer()


@EXCHANGES.add
def state_of_lifespan(visit: Visit) -> Any:
    return visit.ask("/state")


@EXCHANGES.add
def duplex(visit: Visit) -> Any:
    """Each piece is answered before the next is sent."""
    with visit.connect() as client:
        client.send(visit.head("/duplex", "transfer-encoding: chunked", method="POST"))
        seen: list[Any] = []
        for size in (1, 20, 300):
            client.send(b"%x\r\n%b\r\n" % (size, b"x" * size))
            seen.append(client.head() if not seen else None)
            seen.append((client.chunk() or b"").decode())
        client.send(b"0\r\n\r\n")
        return [*seen, (client.chunk() or b"").decode()]


@EXCHANGES.add
def leaves_while_the_application_waits(visit: Visit) -> Any:
    client = visit.connect()
    client.send(visit.head("/wait"))
    status = client.head()["status"]
    piece = client.chunk()
    client.leave()
    return [status, str(piece)]


@EXCHANGES.add
def large_body_not_read(visit: Visit) -> Any:
    """The client sends on, and sees the answer all the same."""
    with visit.connect() as client:
        client.send(visit.head("/ignore", "content-length: 300000", method="POST"))
        answer = client.answer()
        client.send(b"x" * 300_000)
        return answer


def _add(name: str, path: str, method: str = "GET") -> None:
    def run(visit: Visit) -> Any:
        return visit.ask(path, method=method)

    run.__name__ = name
    EXCHANGES.add(run)


for _name, _path in {
    "returns_without_answer": "/sends/",
    "returns_after_the_head": "/sends/s",
    "returns_within_the_body": "/sends/sB",
    "body_before_the_head": "/sends/b",
    "head_twice": "/sends/ss",
    "body_after_the_end": "/sends/sbb",
    "head_after_the_end": "/sends/sbs",
    "body_of_promised_length": "/sends/hBb",
    "body_shorter_than_promised": "/sends/hb",
    "body_longer_than_promised": "/sends/hBBb",
    "own_transfer_encoding": "/head?transfer-encoding=chunked",
    "own_transfer_encoding_and_length": "/head?transfer-encoding=chunked&content-length=13",
    "own_connection_close": "/head?connection=close",
    "own_connection_keep_alive": "/head?connection=keep-alive&content-length=13",
    "own_date": "/head?date=today&content-length=13",
    "own_server": "/head?server=mine&content-length=13",
    "upper_case_field_name": "/head?X-Upper=1&content-length=13",
    "field_name_with_space": "/head?x%20y=1",
    "field_value_with_line_break": "/head?x-split=a%0d%0ab:c",
    "malformed_length": "/head?content-length=many",
    "two_lengths": "/head?content-length=13&content-length=13",
    "no_content_with_body": "/head?status=204",
    "not_modified_with_length": "/head?status=304&content-length=13&body=",
    "status_without_name": "/head?status=299&content-length=13",
    "status_of_four_digits": "/head?status=1000",
    "early_hints": "/head?status=103",
}.items():
    _add(_name, _path)

_add("head_with_body", "/head?content-length=13", method="HEAD")
_add("head_without_length", "/head", method="HEAD")
