"""One layer, many event loops and threads."""

import ast
import asyncio
import gc
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop
from asgiref.sync import async_to_sync

from gateway_layer.channels import RedisChannelLayer
from gateway_layer.redis.address import sync_client


@pytest.fixture
def layer(redis_url: str) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[redis_url])


@pytest.mark.parametrize("own", [True, False], ids=["own", "plain"])
def test_fresh_loops_receive_each_message_once(layer: RedisChannelLayer, own: bool) -> None:
    channel = async_to_sync(layer.new_channel)() if own else "plain"
    for number in range(5):
        async_to_sync(layer.send)(channel, {"n": number})
    receive = async_to_sync(layer.receive)
    assert [receive(channel)["n"] for _ in range(5)] == list(range(5))


def test_groups_work_from_fresh_loops(layer: RedisChannelLayer) -> None:
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("g", channel)
    async_to_sync(layer.group_send)("g", {"n": 1})
    assert async_to_sync(layer.receive)(channel) == {"n": 1}
    async_to_sync(layer.group_discard)("g", channel)
    assert async_to_sync(layer.group_channels_count)("g") == 0


def test_loop_that_only_sends_makes_no_inbox_and_no_lease(
    layer: RedisChannelLayer, redis_url: str
) -> None:
    async_to_sync(layer.send)("plain", {"n": 1})
    async_to_sync(layer.group_send)("g", {"n": 1})
    with sync_client(redis_url) as client:
        assert client.keys("*") == [b"asgi:{q:plain}"]


def test_closed_loop_leaves_no_state_and_no_connection(
    layer: RedisChannelLayer, redis_url: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        channel = async_to_sync(layer.new_channel)()
        async_to_sync(layer.send)(channel, {"n": 1})
        async_to_sync(layer.receive)(channel)
        gc.collect()
    assert layer._mailbox.states == {}
    with sync_client(redis_url) as client:
        names = [info["name"] for info in client.client_list()]
    assert not [name for name in names if name.startswith("layer-")]


def test_loop_may_close_under_a_waiting_receive(layer: RedisChannelLayer) -> None:
    async def wait_briefly(channel: str) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(layer.receive(channel), 0.02)

    channel = async_to_sync(layer.new_channel)()
    for number, name in enumerate([channel, "plain"] * 3):
        async_to_sync(wait_briefly)(name)
        async_to_sync(layer.send)(name, {"n": number})
        assert async_to_sync(layer.receive)(name) == {"n": number}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_threads_share_a_channel(layer: RedisChannelLayer, new_loop: Any) -> None:
    channel = async_to_sync(layer.new_channel)()
    got: list[int] = []
    complete = threading.Event()

    async def read() -> None:
        while not complete.is_set():
            try:
                got.append((await asyncio.wait_for(layer.receive(channel), 0.1))["n"])
            except TimeoutError:
                continue
            if len(got) == 200:
                complete.set()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(read())

    async def send() -> None:
        for start in range(0, 200, 50):
            sends = (layer.send(channel, {"n": number}) for number in range(start, start + 50))
            await asyncio.gather(*sends)

    layer.capacity = 1000
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run) for _ in range(3)]
        pool.submit(asyncio.run, send()).result(20)
        assert complete.wait(20)
        for one in runs:
            one.result(20)
    assert sorted(got) == list(range(200))


FORKS = """
import asyncio, ctypes, os, sys, threading
from asgiref.sync import async_to_sync
from gateway_layer.channels import RedisChannelLayer
layer = RedisChannelLayer([sys.argv[1]])
channel = asyncio.run(layer.new_channel())
assert threading.active_count() == 1  # a fork in C beside a thread that waits for the GIL hangs
if child := {"python": os.fork, "c": ctypes.PyDLL(None).fork}[sys.argv[2]]():
    assert os.waitpid(child, 0)[1] == 0
    print(channel, async_to_sync(layer.new_channel)(), async_to_sync(layer.receive)(channel))
else:
    async_to_sync(layer.send)(channel, {"from": async_to_sync(layer.new_channel)()})
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["python", "c"])  # uWSGI's fork is in C, and tells nobody
def test_forked_process_has_a_name_of_its_own(redis_url: str, how: str) -> None:
    program = [sys.executable, "-W", "ignore", "-c", FORKS, redis_url, how]
    out = subprocess.run(program, check=True, capture_output=True, text=True, timeout=20).stdout
    first, second, message = out.split(maxsplit=2)
    third = ast.literal_eval(message)["from"]
    clients = [channel.partition("!")[0] for channel in (first, second, third)]
    assert clients[0] == clients[1] != clients[2]
