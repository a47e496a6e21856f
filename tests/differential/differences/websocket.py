"""In WebSockets."""

from tests.differential.differences.difference import ANSWER, ANY, BODY, Difference
from tests.differential.exchanges.registry import PLAIN

REFUSED_WEBSOCKETS = (
    "ws_refused",
    "ws_denied",
    "ws_unknown_path",
    "ws_error_before_accept",
    "ws_handshake_at_a_path_for_http",
)

WEBSOCKET = (
    Difference(
        name="frames-with-the-handshake",
        uvicorn="loses a frame that comes in the same packet as the handshake",
        gateway="delivers it",
        why="Clients may send at once only after 101, but proxies join packets.",
        at={
            "client[1]": ("False", "True"),
            "application[*].received[*]*": ANY,
        },
        exchanges=("ws_early",),
        sites=PLAIN,
    ),
    Difference(
        name="compression",
        uvicorn="keeps a context for each connection, window of 4 KiB",
        gateway="negotiates no context takeover in either direction",
        why="An idle WebSocket holds no memory for it; a group message is compressed once.",
        at={"client.handshake.headers.sec-websocket-extensions[0]": ("'*'", "'*no_context*'")},
        exchanges=("ws_compressed",),
    ),
    Difference(
        name="vanished-client",
        uvicorn="`websocket.disconnect` has code 1005 when the client vanishes",
        gateway="1006",
        why="RFC 6455 7.1.5: 1005 is a close frame without a code.",
        at={
            "application[*].received[*].code": ("1005", "1006"),
            "application[*].received[*].reason": ANY,
        },
        exchanges=("ws_client_vanishes",),
    ),
    Difference(
        name="disconnect-after-refusal",
        uvicorn="code 1006, no reason, for an application that refused",
        gateway="the application's own code, and a reason, perhaps empty",
        why="As after a close: 2.5 has a reason in every `websocket.disconnect`.",
        at={
            "application[*].received[1].code": ("1006", "4003"),
            "application[*].received[1].reason": ("absent", "''"),
        },
        exchanges=REFUSED_WEBSOCKETS,
        sites=("django", "quart"),
    ),
    Difference(
        name="body-of-403",
        uvicorn="a refused WebSocket gets 403 without a body",
        gateway="403 with the text `Forbidden`",
        why="As all its own answers have one.",
        at={
            "client.handshake.body": ("''", "'Forbidden\\n'"),
            "client.handshake.headers.content-length[0]": ("'0'", "'10'"),
        },
        exchanges=REFUSED_WEBSOCKETS,
    ),
    Difference(
        name="denial-response",
        uvicorn="holds the whole response back and gives it a Content-Length",
        gateway="streams it, in chunks where the application gives no length",
        why="No process holds a body of unknown size.",
        at={
            "client.handshake.headers.content-length": ("['12']", "absent"),
            "client.handshake.headers.transfer-encoding": ("absent", "['chunked']"),
            "client.handshake.framing": ("'length'", "'chunked'"),
        },
        exchanges=("ws_denied",),
    ),
    Difference(
        name="close-after-an-error",
        uvicorn="cuts the connection when the application raises",
        gateway="closes with 1011",
        why="RFC 6455 7.4.1; a client can tell it from a broken network.",
        at={"client.frames[*]": ("*", "{'close': 1011, 'reason': 'Internal Server Error'}")},
        exchanges=("ws_error", "ws_accept_twice", "ws_binary"),
    ),
    Difference(
        name="close-after-a-return",
        uvicorn="cuts the connection when the application returns",
        gateway="closes with 1000",
        why="The application has ended in order.",
        at={"client.frames[*]": ("absent", "{'close': 1000, 'reason': ''}")},
        exchanges=("ws_application_returns", "ws_accept_without_receive"),
    ),
    Difference(
        name="text-of-handshake-refusals",
        uvicorn="repeats the field that is wrong",
        gateway="says which field is missing or wrong",
        why="Nothing that a client sent is sent back.",
        at={"client.body": ("'Failed to open*'", "'missing or invalid*'"), **BODY},
        exchanges=("ws_without_key", "ws_with_malformed_key"),
        sites=PLAIN,
    ),
    Difference(
        name="websocket-version",
        uvicorn="400",
        gateway="426 with `Sec-WebSocket-Version: 13`",
        why="RFC 6455 4.4.",
        at={
            "client.status": ("400", "426"),
            "client.headers.sec-websocket-version": ("absent", "['13']"),
            "client.headers.upgrade": ("absent", "['websocket']"),
            **ANSWER,
        },
        exchanges=("ws_without_version", "ws_of_version_8"),
        sites=PLAIN,
    ),
    Difference(
        name="reasons",
        uvicorn="closes without a reason upon invalid UTF-8; says the limit for what is too large",
        gateway="says where the invalid octet is, and a limit with room for a control frame",
        why="For whoever has to find out.",
        at={
            "*.reason": ("''", "'invalid start byte at position 0'"),
            "*].reason": ("'frame with 17825792 bytes *'", "'frame with 17825792 bytes *'"),
        },
        exchanges=("ws_invalid_utf_8", "ws_too_large"),
        sites=PLAIN,
    ),
)
