"""Schedules by which the model once found a fault, the shortest that it found."""

import gc
from collections.abc import Iterator

import pytest

from gateway_worker.instances import WebSocketInstance
from gateway_worker.worker import Worker
from tests.model.client import Client
from tests.model.process import Process
from tests.model.world import QUEUE, World


@pytest.fixture
def world() -> Iterator[World]:
    """One interface server, two workers, and room for one event at a time."""
    world = World(1, 2, 300)
    try:
        yield world
        world.judge.check()
        world.heal()
    finally:
        world.close()


def connect(world: World) -> Client:
    client = world.connect(world.living("interface")[0])
    world.settle()
    return client


def drain(process: Process) -> None:
    assert isinstance(process.server, Worker)
    process.loop.call_soon(process.server.drain)


def test_worker_that_is_stopped_as_it_starts_takes_nothing(world: World) -> None:
    for worker in world.living("worker"):
        world.kill(worker, announced=True, late=False)
    drain(world.start("worker"))
    client = connect(world)  # which does not come to rest if it were refused again and again
    assert client.accepted


def test_client_that_left_gives_credit_for_what_nobody_takes(world: World) -> None:
    client = connect(world)
    client.send(slow=True)
    client.send(slow=False)
    client.leave()
    world.settle()
    world.kill(world.living("worker")[0], announced=True, late=False)
    world.hurried = True
    world.advance(1.0)
    assert len(client.told) == 1


def test_interface_that_stood_still_pushes_openings_when_it_has_renewed_its_lease(
    world: World,
) -> None:
    client = connect(world)
    for worker in world.living("worker"):
        world.kill(worker, announced=False, late=False)
    interface = world.living("interface")[0]
    world.stop(interface)
    world.advance(1.2)
    world.wake(interface)
    world.start("worker")
    client.send(slow=False)
    world.advance(10.0)
    assert client.answers == [(1, 1)]


def test_opening_that_a_replica_gives_out_again_starts_no_second_instance(world: World) -> None:
    world.kill(world.living("worker")[0], announced=True, late=False)
    client = connect(world)
    saved = next(data for data in reversed(world.redis.saves) if data.lists[QUEUE])
    world.redis.append(QUEUE, saved.lists[QUEUE][0])
    client.send(slow=False)
    world.settle()
    assert client.answers == [(1, 1)]


def test_instance_that_is_cancelled_leaves_the_client_s_end_to_the_next(world: World) -> None:
    client = connect(world)
    client.send(slow=True)
    client.leave()
    world.settle()
    worker = next(one for one in world.living("worker") if one.instances())
    drain(worker)
    drain(worker)
    world.hurried = True
    world.advance(1.0)
    assert len(client.told) == 1


def test_process_that_was_held_for_dead_hears_of_it_though_redis_has_lost_that(
    world: World,
) -> None:
    connect(world)
    worker = next(one for one in world.living("worker") if one.instances())
    world.stop(worker)
    world.advance(2.0)
    world.flush()
    world.wake(worker)
    world.heal()
    assert not worker.instances()


def test_news_of_a_new_generation_that_are_lost_are_told_again(world: World) -> None:
    connect(world)
    worker = next(one for one in world.living("worker") if one.instances())
    world.stop(worker)
    world.advance(2.0)
    world.flush()
    world.wake(worker)
    for _ in range(10):
        world.advance(0.1)
        world.lose(worker.name, 32)
    world.heal()
    assert not worker.instances()


def test_interface_that_came_back_and_dies_at_once_is_found_dead_again(world: World) -> None:
    client = connect(world)
    [interface] = world.living("interface")
    world.stop(interface)
    world.advance(2.0)
    world.wake(interface)
    world.settle()  # it has rejoined, and nobody has renewed a lease since
    assert [one for one in world.living("worker") if one.instances()]
    world.restart_redis(None, 0.0)
    world.settle()
    world.kill(interface, announced=False, late=False)
    world.heal()
    assert client.gone
    assert not [one for one in world.living("worker") if one.instances()]


def test_process_that_stood_still_holds_nobody_for_dead(world: World) -> None:
    connect(world)
    world.advance(1.0)
    [interface] = world.living("interface")
    world.flush()
    world.advance(0.31)  # it has seen that nobody is there, and they have not yet come back
    world.stop(interface)
    world.advance(2.0)
    world.wake(interface)
    world.settle()
    assert not interface.layer.buried


def test_client_that_left_is_told_once_though_its_instance_took_too_long(world: World) -> None:
    client = connect(world)
    worker = next(one for one in world.living("worker") if one.instances())
    client.send(slow=True)
    world.settle()
    drain(worker)
    client.leave()
    world.advance(12.0)  # longer than a worker waits before it gives the connection back
    world.heal()
    assert len(client.told) == 1


def test_connection_that_hibernates_leaves_nothing_in_its_worker(world: World) -> None:
    client = connect(world)
    [worker] = [one for one in world.living("worker") if one.instances()]
    [connection] = [one.connection for one in worker.instances()]
    worker.loop.call_soon(worker.hibernate)
    world.settle()
    assert not client.gone
    gc.collect()
    # By `type`: to ask a lazy object of another library's for its class has it do its work.
    instances = [one for one in gc.get_objects() if type(one) is WebSocketInstance]
    assert connection not in [one.connection for one in instances]
