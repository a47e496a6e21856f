"""In how requests are taken and answers sent; in what is refused."""

from tests.differential.differences.difference import ANSWER, ANY, BODY, RECORD, Difference

HTTP = (
    Difference(
        name="head-of-a-stream",
        uvicorn="no `Transfer-Encoding` in the answer to HEAD",
        gateway="`transfer-encoding: chunked`, as the answer to GET has it",
        why="RFC 9110 9.3.2: the fields that GET would have.",
        at={"client*.headers.transfer-encoding": ("absent", "['chunked']")},
        exchanges=("head", "head_of_stream", "head_without_length", "pipelined_behind_head"),
    ),
    Difference(
        name="continue",
        uvicorn="sends 100 when the application asks for the body, whatever has come of it",
        gateway="sends no 100 when some of the body has come",
        why="RFC 9110 10.1.1 lets a server omit it then.",
        at={"client.continue": ("'100 Continue came first'", "absent")},
        exchanges=("expect_continue_sent_at_once",),
    ),
    Difference(
        name="expectation",
        uvicorn="ignores an expectation that it does not know",
        gateway="417",
        why="RFC 9110 10.1.1.",
        at={"client.status": ("200", "417"), **ANSWER, **RECORD},
        exchanges=("unknown_expectation",),
    ),
    Difference(
        name="http-1-0",
        uvicorn="closes even after `Connection: keep-alive`; sends chunks, which HTTP/1.0 does not"
        " know",
        gateway="keeps the connection if it can; ends a body of unknown length with it",
        why="RFC 9112 9.3 and 6.1.",
        at={
            "client.headers.connection[0]": ("'close'", "'keep-alive'"),
            "client.connection": ("'closed'", "'serves on: 200'"),
            "client.headers.transfer-encoding": ("['chunked']", "absent"),
            "client.framing": ("'chunked'", "'until close'"),
        },
        exchanges=("http_1_0", "http_1_0_keep_alive", "http_1_0_stream", "http_1_0_post"),
    ),
    Difference(
        name="answer-before-the-body",
        uvicorn="reads the rest of a body that the application did not want, without limit, and"
        " keeps the connection",
        gateway="`connection: close`, when not all of it has come",
        why="RFC 9112 9.6: nobody then has to read what nobody wants.",
        at={
            "client.headers.connection": ("absent", "['close']"),
            "client.connection": ("'serves on: 200'", "'closed'"),
        },
        exchanges=("large_body_not_read", "form_multipart"),
    ),
    Difference(
        name="unknown-upgrade",
        uvicorn="loses the body of a request with an `Upgrade` that it does not know",
        gateway="ignores such an `Upgrade`",
        why="RFC 9110 7.8.",
        at={
            "client.body.body.size": ("0", "11"),
            "client.body.body.crc": ("'0*'", "'0815ee38'"),
            "client.headers.content-length[0]": ANY,
            "application[*].received[*].*": ANY,
            "client.status": ("400", "200"),
            **ANSWER,
        },
        exchanges=("upgrade_that_is_not_known_with_body",),
    ),
    Difference(
        name="end-of-the-request",
        uvicorn="a framework that streams is told `http.disconnect`",
        gateway="`send` raises `OSError`",
        why="ASGI 2.4: Starlette then no longer listens for events while it streams, and raises"
        " `ClientDisconnect`.",
        at={
            "application[*].received[0]": ("{'type': 'http.request', *", "absent"),
            "application[*].received[1]": ("{'type': 'http.disconnect'}", "absent"),
            "application[*].outcome": ("'returned'", "'ClientDisconnect'"),
        },
        exchanges=(
            "head_of_stream",
            "stream",
            "download_50_mb",
            "error_after_the_head",
            "leaves_within_the_answer",
            "keep_alive",
            "http_1_0_stream",
        ),
        sites=("starlette", "fastapi"),
    ),
    Difference(
        name="answer-to-nobody",
        uvicorn="takes an answer for a client that has left",
        gateway="`send` raises `ClientDisconnected`, an `OSError`",
        why="ASGI 2.4. The worker does not report it as an error.",
        at={"application[*].outcome": ("*", "'ClientDisconnected'")},
        exchanges=("leaves_within_its_body",),
        sometimes=("leaves_within_the_answer",),  # where a framework listens while it sends
    ),
    Difference(
        name="answer-to-nobody-of-litestar",
        uvicorn="takes it",
        gateway="Litestar raises a `LitestarException` because of the `ClientDisconnected`, if it"
        " sends before it hears that the client has left",
        why="Litestar does so with whatever is raised after the head. One line in the worker's"
        " log, no error.",
        at={"application[*].outcome": ("'returned'", "'LitestarException'")},
        exchanges=(),
        sometimes=("leaves_within_the_answer",),
        sites=("litestar",),
    ),
)

REFUSALS = (
    Difference(
        name="text-of-refusals",
        uvicorn="400 says `Invalid HTTP request received.`",
        gateway="400 says what is wrong",
        why="For whoever has to find out; nothing of the request is repeated.",
        at={"client*.body": ("'Invalid HTTP request received.'", "'*\\n'"), **BODY},
        exchanges=(
            "unescaped_utf_8_path",
            "no_http",
            "space_in_target",
            "bare_line_feeds",
            "folded_field",
            "space_before_colon",
            "field_without_colon",
            "nul_in_field",
            "two_*equal_lengths",
            "negative_length",
            "length_and_chunked",
            "malformed_behind_a_good_one",
        ),
    ),
    Difference(
        name="methods",
        uvicorn="400 for a method that llhttp does not know",
        gateway="serves every token, in upper case",
        why="RFC 9110 9.1: the set of methods is open; the application answers 405.",
        at={"client.status": ("400", "200"), **ANSWER, **RECORD},
        exchanges=("unknown_method", "lower_case_method"),
    ),
    Difference(
        name="not-implemented",
        uvicorn="400 for CONNECT and for unknown transfer codings",
        gateway="501",
        why="RFC 9110 9.1, RFC 9112 6.1.",
        at={"client.status": ("400", "501"), **ANSWER, **RECORD},
        exchanges=("connect", "unknown_transfer_coding"),
    ),
    Difference(
        name="http-version",
        uvicorn="serves HTTP/2.0 as if it were 1.1; 400 for 1.2",
        gateway="505",
        why="RFC 9110 15.6.6.",
        at={
            "client.status": ("*", "505"),
            **ANSWER,
            **RECORD,
        },
        exchanges=("http_2_0", "http_1_2"),
    ),
    Difference(
        name="host",
        uvicorn="serves requests without `Host`, with two, or with a malformed one",
        gateway="400",
        why="RFC 9112 3.2: a server MUST.",
        at={"client.status": ("200", "400"), **ANSWER, **RECORD},
        exchanges=("host_missing", "host_twice", "host_malformed", "host_empty"),
    ),
    Difference(
        name="fragment",
        uvicorn="cuts a fragment off the target",
        gateway="400",
        why="A target has none (RFC 9112 3.2); proxies may understand it differently.",
        at={"client.status": ("200", "400"), **ANSWER, **RECORD},
        exchanges=("fragment_in_target",),
    ),
    Difference(
        name="chunked-in-http-1-0",
        uvicorn="serves a chunked request of HTTP/1.0",
        gateway="400",
        why="RFC 9112 6.1: its framing is to be treated as faulty.",
        at={
            "client.status": ("200", "400"),
            **ANSWER,
            **RECORD,
        },
        exchanges=("chunked_in_http_1_0",),
    ),
    Difference(
        name="limits-of-the-head",
        uvicorn="(with httptools) a head has no limit",
        gateway="431 over 64 KiB or 128 fields; options change both",
        why="Memory that a client can take must be bounded.",
        at={"client": ("200", "431"), "client.status": ("200", "431"), **ANSWER, **RECORD},
        exchanges=("head_of_100_kb", "two_hundred_fields"),
    ),
)
