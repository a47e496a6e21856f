"""The opening handshake: RFC 6455 4.2, RFC 7692 7.1."""

import pytest
from tests.interface_server.unit.websocket.peer import (
    DEFLATE_OFFER,
    KEY,
    Fields,
    Peer,
    request_headers,
)
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from gateway_interface.core.websocket import Handshake

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def accepted(
    handshake: Handshake, subprotocol: str | None = None, headers: Fields | None = None
) -> dict[str, str]:
    """Fields of the 101, names in lower case."""
    response = handshake.accept(subprotocol, headers or [], DATE)
    assert response is not None
    assert response.endswith(b"\r\n\r\n")
    status, *lines = response.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    fields = [line.split(": ", 1) for line in lines]
    return {name.lower(): value for name, value in fields}


def offering(*offers: bytes, deflate: bool = True) -> Handshake:
    more = [(b"sec-websocket-extensions", offer) for offer in offers]
    return Handshake("/", request_headers(more=more), deflate=deflate)


def offering_subprotocols(*values: bytes) -> Handshake:
    more = [(b"sec-websocket-protocol", value) for value in values]
    return Handshake("/chat", request_headers(more=more), deflate=False)


def test_a_valid_request_is_not_refused() -> None:
    assert Handshake("/", request_headers(), deflate=True).refusal is None


def test_the_101_proves_that_the_key_was_understood() -> None:
    """RFC 6455 1.3: the key and its answer are the example there."""
    assert accepted(Handshake("/", request_headers(), deflate=False)) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "date": DATE.decode(),
    }


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"dGhlIHNhbXBsZSBub25j",  # 15 bytes
        b"dGhlIHNhbXBsZSBub25jZWU=",  # 17 bytes
        b"dGhlIHNhbXBsZSBub25jZQ",  # no padding
        b"dGhl IHNhbXBsZSBub25jZQ==",
        b"\xe9GhlIHNhbXBsZSBub25jZQ==",
    ],
)
def test_a_bad_key_is_refused_with_400(key: bytes | None) -> None:
    """RFC 6455 4.2.1 item 5: base64 that decodes to 16 bytes."""
    refusal = Handshake("/", request_headers(key=key), deflate=False).refusal
    assert refusal == (400, "missing or invalid Sec-WebSocket-Key header\n", [])


def test_two_keys_are_refused_with_400() -> None:
    """RFC 6455 11.3.1: the field must not appear more than once."""
    headers = request_headers(more=[(b"sec-websocket-key", KEY)])
    refusal = Handshake("/", headers, deflate=False).refusal
    assert refusal is not None
    assert refusal[0] == 400


@pytest.mark.parametrize("version", [None, b"", b"8", b"12", b"14", b"013", b"13, 8"])
def test_another_version_is_refused_with_426_and_ours(version: bytes | None) -> None:
    """RFC 6455 4.4; RFC 9110 15.5.22 and 7.8 want Upgrade and Connection."""
    refusal = Handshake("/", request_headers(version=version), deflate=False).refusal
    assert refusal is not None
    status, _, headers = refusal
    assert status == 426
    assert (b"sec-websocket-version", b"13") in headers
    assert (b"upgrade", b"websocket") in headers
    assert (b"connection", b"upgrade") in headers


def test_the_version_counts_before_the_key() -> None:
    refusal = Handshake("/", request_headers(key=None, version=b"7"), deflate=False).refusal
    assert refusal is not None
    assert refusal[0] == 426


@pytest.mark.parametrize("field", [b"upgrade", b"connection"])
def test_a_request_that_asks_for_no_upgrade_is_refused_with_426(field: bytes) -> None:
    """RFC 6455 4.2.1 items 3 and 4."""
    headers = [(name, b"x" if name == field else value) for name, value in request_headers()]
    refusal = Handshake("/", headers, deflate=False).refusal
    assert refusal is not None
    assert refusal[0] == 426


def test_a_malformed_extension_offer_is_refused_with_400() -> None:
    """RFC 6455 9.1: a field that does not conform to the grammar fails the connection."""
    refusal = offering(b"permessage-deflate; =").refusal
    assert refusal == (400, "missing or invalid Sec-WebSocket-Extensions header\n", [])


def test_a_malformed_subprotocol_list_is_refused_with_400() -> None:
    refusal = offering_subprotocols(b"chat room").refusal
    assert refusal == (400, "missing or invalid Sec-WebSocket-Protocol header\n", [])


def test_offered_subprotocols_keep_their_order_over_several_fields() -> None:
    """RFC 6455 11.3.4: the field may appear several times in a request."""
    handshake = offering_subprotocols(b"chat, superchat", b"mqtt")
    assert handshake.subprotocols == ["chat", "superchat", "mqtt"]


def test_the_chosen_subprotocol_is_in_the_101() -> None:
    fields = accepted(offering_subprotocols(b"chat, superchat"), "superchat")
    assert fields["sec-websocket-protocol"] == "superchat"


@pytest.mark.parametrize("subprotocol", ["mqtt", "Chat", "", "chat\r\nx: y"])
def test_a_subprotocol_that_was_not_offered_is_invalid(subprotocol: str) -> None:
    """RFC 6455 4.2.2 step 5: the server selects one of the client's values."""
    assert offering_subprotocols(b"chat").accept(subprotocol, [], DATE) is None


def test_fields_of_the_application_are_in_the_101() -> None:
    handshake = Handshake("/", request_headers(), deflate=False)
    fields = accepted(handshake, headers=[(b"Set-Cookie", b"a=b\tc"), (b"x-name", b"caf\xe9")])
    assert fields["set-cookie"] == "a=b\tc"
    assert fields["x-name"] == "café"


def test_a_date_of_the_application_replaces_ours() -> None:
    handshake = Handshake("/", request_headers(), deflate=False)
    response = handshake.accept(None, [(b"date", b"today")], DATE)
    assert response is not None
    assert response.lower().count(b"date: ") == 1
    assert b"date: today\r\n" in response


@pytest.mark.parametrize(
    "field",
    [
        (b"sec-websocket-protocol", b"chat"),  # ASGI www 2.5, websocket.accept
        (b"Sec-WebSocket-Accept", b"x"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"connection", b"close"),
        (b"upgrade", b"h2c"),
        (b"content-length", b"0"),  # RFC 9110 8.6
        (b"transfer-encoding", b"chunked"),  # RFC 9112 6.1
        (b"x", b"a\r\nset-cookie: b=c"),
        (b"x", b"a\nb"),
        (b"x", b"a\x00b"),
        (b"x\r\ny", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
    ],
)
def test_reserved_and_broken_fields_are_invalid(field: tuple[bytes, bytes]) -> None:
    handshake = Handshake("/", request_headers(), deflate=False)
    assert handshake.accept(None, [field], DATE) is None


def test_deflate_is_agreed_without_context_and_with_small_windows() -> None:
    """RFC 7692 7.1."""
    handshake = offering(DEFLATE_OFFER)
    assert accepted(handshake)["sec-websocket-extensions"] == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )
    assert handshake.connection(max_size=1).frame_form is True


def test_the_window_of_a_client_that_does_not_offer_it_is_not_named() -> None:
    """RFC 7692 7.1.2.2: client_max_window_bits answers an offer only."""
    assert (
        "client_max_window_bits"
        not in accepted(offering(b"permessage-deflate"))["sec-websocket-extensions"]
    )


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; server_max_window_bits=11",  # smaller than what we encode with
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; unknown",
        b"x-webkit-deflate-frame",
    ],
)
def test_other_offers_are_declined(offer: bytes) -> None:
    """RFC 7692 7: the server declines by not naming the extension."""
    handshake = offering(offer)
    assert "sec-websocket-extensions" not in accepted(handshake)
    assert handshake.connection(max_size=1).frame_form is False


def test_the_second_choice_of_a_client_is_taken_when_the_first_is_declined() -> None:
    """RFC 7692 5: offers in the client's order of preference."""
    handshake = offering(b"permessage-deflate; server_max_window_bits=9, permessage-deflate")
    assert "permessage-deflate" in accepted(handshake)["sec-websocket-extensions"]


def test_only_one_of_two_good_offers_is_taken() -> None:
    fields = accepted(offering(b"permessage-deflate", b"permessage-deflate"))
    assert fields["sec-websocket-extensions"].count("permessage-deflate") == 1


def test_deflate_can_be_switched_off() -> None:
    handshake = offering(DEFLATE_OFFER, deflate=False)
    assert "sec-websocket-extensions" not in accepted(handshake)
    assert handshake.connection(max_size=1).frame_form is False


@pytest.mark.parametrize("deflate", [False, True])
def test_a_client_opens_a_connection_and_is_echoed(deflate: bool) -> None:
    # Given the request of a real client core
    client = ClientProtocol(
        parse_uri("ws://localhost/chat?room=1"),
        extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
        subprotocols=[Subprotocol("chat")],
    )
    client.send_request(client.connect())
    lines = b"".join(client.data_to_send()).decode().split("\r\n")[1:-2]
    pairs = (line.split(": ", 1) for line in lines)
    headers = [(name.lower().encode(), value.encode()) for name, value in pairs]
    # When the handshake is answered
    handshake = Handshake("/chat?room=1", headers, deflate=deflate)
    response = handshake.accept("chat", [], DATE)
    assert response is not None
    client.receive_data(response)
    # Then the client takes it, and messages pass both ways
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert client.subprotocol == "chat"
    assert not isinstance(client.events_received()[0], Request)
    server = handshake.connection(max_size=2**20)
    peer = Peer(server)
    peer.protocol = client
    client.send_text(b"hello" * 100)
    peer.flush()
    (message,) = server.messages()
    assert isinstance(message, str)
    (echo,) = peer.receive(server.send_text(message))
    assert bytes(echo.data) == b"hello" * 100
