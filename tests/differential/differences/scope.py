"""In what the application is given."""

from tests.differential.differences.difference import ANSWER, ANY, BODY, RECORD, Difference

SCOPE = (
    Difference(
        name="spec-version",
        uvicorn='`scope["asgi"]["spec_version"]` is 2.3, 2.4 for WebSocket',
        gateway="2.5",
        why="The gateway does what 2.5 asks: `send` raises `OSError` when the client has left, and"
        " `websocket.disconnect` has a reason.",
        at={"application[*].scope.asgi.spec_version": ("'2.?'", "'2.5'")},
    ),
    Difference(
        name="asgi-version-of-asgi-2",
        uvicorn='`scope["asgi"]["version"]` is 2.0 for an application of ASGI 2',
        gateway="3.0",
        why="The same worker may serve both; nothing else in the scope depends on it.",
        at={"application[*].scope.asgi.version": ("'2.0'", "'3.0'")},
        sites=("asgi2",),
    ),
    Difference(
        name="extensions",
        uvicorn='`scope["extensions"]` has `websocket.http.response`, and is not there for HTTP',
        gateway="more extensions, `gateway` in all scopes",
        why="An application ignores extensions that it does not know; `gateway` holds the reply"
        " channel.",
        at={
            "application[*].scope.extensions": ("absent", "['gateway'*"),
            "application[*].scope.extensions[*]": ("*", "'*'"),
        },
    ),
    Difference(
        name="environ",
        uvicorn="(through a2wsgi) no `wsgi.file_wrapper`, `wsgi.input_terminated` and"
        " `SERVER_SOFTWARE`; input is an object of its own",
        gateway="has them; input is a file object of Python's",
        why="Werkzeug streams chunked bodies where `wsgi.input_terminated` is set; files are sent"
        " faster with `wsgi.file_wrapper` (PEP 3333).",
        at={
            "application[*].environ.wsgi.input": ("'Body'", "'B*'"),
            "application[*].environ.wsgi.file_wrapper": ("absent", "'type'"),
            "application[*].environ.wsgi.input_terminated": ("absent", "True"),
            "application[*].environ.SERVER_SOFTWARE": ("absent", "'channel-gateway'"),
        },
        sites=("flask",),
    ),
    Difference(
        name="wsgi-chunked",
        uvicorn="(through a2wsgi) Werkzeug reads nothing of a chunked body",
        gateway="reads it",
        why="`wsgi.input_terminated` says that the input has an end.",
        at={
            "client.body.body.size": ("0", "*"),
            "client.body.body.crc": ("'0'", "*"),
            "client.headers.content-length[0]": ANY,
        },
        exchanges=("post_chunked*", "upload_chunked_5_mb"),
        sites=("flask",),
    ),
    Difference(
        name="wsgi-cookies",
        uvicorn="(through a2wsgi) joins several `Cookie` fields with a comma",
        gateway="with a semicolon",
        why="RFC 6265 4.2.1: a comma is none between cookies.",
        at={
            "application[*].environ.HTTP_COOKIE": ("'first=1,second=2'", "'first=1; second=2'"),
            "client.body.first": ("'1,second=2'", "'1'"),
            "client.body.second": ("absent", "'2'"),
            **BODY,
        },
        exchanges=("cookies_in_two_fields",),
        sites=("flask",),
    ),
    Difference(
        name="wsgi-path",
        uvicorn="(through a2wsgi) octets of a path that are no UTF-8 are lost",
        gateway="`PATH_INFO` has them",
        why="PEP 3333: the octets, as Latin-1.",
        at={"application[*].environ.PATH_INFO": ("*", "'/echo/ÿþ'")},
        exchanges=("path_that_is_no_utf_8",),
        sites=("flask",),
    ),
    Difference(
        name="wsgi-underscores",
        uvicorn="(through a2wsgi) a field with an underscore in its name is in the environ",
        gateway="it is not",
        why="It could pose as the field with a hyphen that a proxy has set.",
        at={"application[*].environ.HTTP_X_UNDER": ("'1'", "absent")},
        exchanges=("odd_fields",),
        sites=("flask",),
    ),
    Difference(
        name="wsgi-leaving",
        uvicorn="(through a2wsgi) an answer is produced to its end, whoever has left",
        gateway="the iterable is closed when the client has left",
        why="PEP 3333 has `close` for that; the thread is free again.",
        at={"application[*].outcome": ("'returned'", "'GeneratorExit'")},
        exchanges=("leaves_*",),
        sites=("flask",),
    ),
    Difference(
        name="server-field",
        uvicorn="`server: uvicorn`, before one of the application's own",
        gateway="none but the application's",
        why="It tells attackers more than users (RFC 9110 10.2.4); the process that made the"
        " response is not the one that serves it.",
        at={
            "client*.headers.server": ("['uvicorn']", "absent"),
            "client.headers.server[0]": ("'uvicorn'", "'mine'"),
            "client.headers.server[1]": ("'mine'", "absent"),
        },
    ),
    Difference(
        name="date-of-the-application",
        uvicorn="sends a second `Date` beside the application's",
        gateway="sends the application's",
        why="`Date` is a single value (RFC 9110 6.6.1).",
        at={"client.headers.date[1]": ("*", "absent")},
        exchanges=("own_date",),
    ),
    Difference(
        name="forwarded",
        uvicorn="believes `X-Forwarded-For` and `-Proto` of 127.0.0.1",
        gateway="leaves scope and fields as they came",
        why="Who may be believed is for the operator to say; a middleware of the application can"
        " read the fields.",
        at={
            "application[*].scope.client[0]": ("'192.0.2.1'", "'127.0.0.1'"),
            "application[*].scope.scheme": ("'https'", "'http'"),
            "application[*].environ.REMOTE_ADDR": ANY,
            "application[*].environ.wsgi.url_scheme": ANY,
        },
        exchanges=("forwarded_fields",),
    ),
    Difference(
        name="trailing-space",
        uvicorn="leaves tabs and spaces behind a value in it",
        gateway="takes them off",
        why="They are no part of the value (RFC 9112 5.1).",
        at={
            "application[*].scope.headers[*][1]": (
                "'bytes in  between \\t '",
                "'bytes in  between'",
            ),
            "application[*].environ.HTTP_X_SPACE": ANY,
        },
        exchanges=("odd_fields",),
    ),
    Difference(
        name="trailers-of-a-request",
        uvicorn="adds trailers to the headers of a request that has begun",
        gateway="drops them",
        why="A trailer may not be merged into the headers without being understood (RFC 9110"
        " 6.5.1): it could replace what was checked already.",
        at={
            "application[*].scope.headers[*]": ("['bytes x-sum', 'bytes 42']", "absent"),
            "application[*].environ.HTTP_X_SUM": ANY,
        },
        exchanges=("post_chunked_with_extension_and_trailers",),
    ),
    Difference(
        name="absolute-target",
        uvicorn="keeps the `Host` field; refuses a target without a path",
        gateway="puts the target's authority in the place of `Host`, and `/` for a missing path",
        why="RFC 9112 3.2.2 and 3.2.1.",
        at={
            "application[*].scope.headers[0][1]": ("'bytes here'", "'bytes there'"),
            "client.status": ("400", "404"),
            **ANSWER,
            **RECORD,
        },
        exchanges=("absolute_target_*",),
    ),
)
