"""The judgement of the proofs: what it does not see would be believed not to have happened."""

from typing import Any

from tests.chaos import judge
from tests.chaos.clients import CUT, HUNG
from tests.chaos.judge import Kill


def report(**found: Any) -> dict[str, Any]:
    """A report of two WebSockets and of two requests, all well."""
    well: dict[str, Any] = {
        "sockets": 2,
        "sent": 10,
        "unanswered": [],
        "repeats": [],
        "wrong": [],
        "closed": [],
        "hellos": [],
        "requests": [("GET", 1.0, 1.1, 200), ("POST", 1.0, 1.2, 200)],
        "hung": [],
    }
    return well | found


def failed(rows: list[Any]) -> list[str]:
    return [line.partition(":")[0] for line in judge.failures(rows)]


def test_all_well_is_no_failure() -> None:
    rows = [*judge.sockets(report()), *judge.requests(report()), *judge.repeats(report(), {})]
    assert failed(rows) == []


def test_loss_is_told_with_socket_and_count() -> None:
    found = judge.failures(judge.sockets(report(unanswered=[(1, 3)])))
    assert found == ["messages lost: 3 , not <= 0 (socket 1: 3)"]


def test_closed_wrong_and_repeated_are_failures() -> None:
    bad = report(closed=[(0, 1.0, 1012)], wrong=[(1, "x")], repeats=[(0, 4, 2.0)])
    assert failed(judge.sockets(bad)) == ["sockets closed", "counts wrong", "answers repeated"]


def test_repetition_is_allowed_once_for_a_hand_over_after_a_kill() -> None:
    once = report(hellos=[(0, 5.0, 11, 12)], repeats=[(0, 4, 5.1)])
    assert failed(judge.repeats(once, {11: Kill(4.9, 4.9)})) == []
    assert failed(judge.repeats(once, {99: Kill(4.9, 4.9)})) == ["answers repeated without a kill"]
    twice = once | {"repeats": [(0, 4, 5.1), (0, 5, 5.2)]}
    assert failed(judge.repeats(twice, {11: Kill(4.9, 4.9)})) == ["answers repeated without a kill"]


def test_hand_over_is_timed_from_the_kill() -> None:
    rows = judge.hand_overs(report(hellos=[(0, 5.5, 11, 12)]), {11: Kill(5.0, 5.0)}, 300)
    assert rows[0].measured == 500
    assert failed(rows) == ["hand-over, median"]


def test_kills_without_any_hand_over_prove_nothing() -> None:
    assert failed(judge.hand_overs(report(), {11: Kill(5.0, 5.0)}, 300)) == ["hand-overs"]


def test_requests_that_hang_or_are_cut_are_failures() -> None:
    bad = report(requests=[("GET", 1.0, 41.0, HUNG), ("GET", 1.0, 1.1, CUT)])
    rows = judge.requests(bad, methods="GET")
    assert failed(rows) == ["GET not 200", "requests hung", "GET answered 200"]
    assert "1 x hung, 1 x cut" in judge.failures(rows)[0]


def test_failed_posts_are_no_more_than_were_in_flight() -> None:
    posts = [("POST", 1.0, 2.0, 502), ("POST", 3.0, 4.0, 502)]
    rows = judge.failed_posts(report(requests=posts), {11: Kill(1.5, 1.5)})
    assert failed(rows) == ["POSTs failed (at most those in flight)"]
    assert (
        failed(judge.failed_posts(report(requests=posts), {11: Kill(1.5, 1.5), 12: Kill(3.5, 3.5)}))
        == []
    )


def test_post_is_in_flight_also_when_it_comes_while_the_system_ends_the_killed_worker() -> None:
    rows = judge.failed_posts(report(requests=[("POST", 1.6, 2.0, 502)]), {11: Kill(1.5, 1.7)})
    assert failed(rows) == []
    rows = judge.failed_posts(report(requests=[("POST", 1.8, 2.0, 502)]), {11: Kill(1.5, 1.7)})
    assert failed(rows) == ["POSTs failed (at most those in flight)"]


def test_failed_post_is_502_or_504() -> None:
    rows = judge.failed_posts(report(requests=[("POST", 1.0, 2.0, 500)]), {11: Kill(1.5, 1.5)})
    assert failed(rows) == ["POSTs failed and not 502 or 504"]


def test_post_that_was_carried_out_twice_is_a_failure() -> None:
    assert failed([judge.posts_once([["a"], ["b"], ["a"]])]) == ["POSTs carried out twice"]
