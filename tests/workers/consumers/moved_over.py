"""Runs consumers written for Django Channels twice: as they are, and with our import lines.

To be run as a process of its own, since Django's settings, and what is imported, are for good.
Prints as JSON `{"scenarios": {name: {"consumers/communicators": what the clients saw}}, "faces":
{class: {"channels" or "ours": {attribute: its parameters}}}}`.
"""

# mypy: disable-error-code="import-untyped"

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import django
from django.conf import settings

settings.configure(
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from channels.layers import get_channel_layer  # noqa: E402

# channels.testing imports it for a server that is not used here.
sys.modules["daphne"] = ModuleType("daphne")
sys.modules["daphne.testing"] = ModuleType("daphne.testing")
sys.modules["daphne.testing"].DaphneProcess = None  # type: ignore[attr-defined]

SOURCES = Path(__file__).parent / "sources"
TESTING = {"channels": "channels.testing", "gateway": "gateway_worker.testing"}

Seen = list[Any]
Scenario = Callable[[Any, ModuleType], Awaitable[Seen]]


def load(name: str, package: str) -> Any:
    """Execute a source, with the imports from channels as they are or replaced by ours.

    Of a package "mixed" those of the classes alone are, as halfway through a move.
    """
    source = (SOURCES / f"{name}.txt").read_text()
    if package != "channels":
        of_classes = r"\.(?:consumer|generic)" if package == "mixed" else ""
        ours = "from gateway_worker.consumers import"
        replaced = rf"^from channels{of_classes}[\w.]* import"
        source, count = re.subn(replaced, ours, source, flags=re.M)
        assert count, "nothing to replace"
        assert package == "mixed" or "from channels" not in source
    module = ModuleType(f"{name}_of_{package}")
    # It is a source of this repository.
    exec(compile(source, f"{name}.txt", "exec"), module.__dict__)
    return module


def members() -> dict[str, int]:
    """The groups of the layer, which both packages use, and how many are in each."""
    return {group: len(channels) for group, channels in get_channel_layer().groups.items()}


async def failure_of(awaitable: Awaitable[object]) -> str:
    try:
        await awaitable
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


async def chat(module: Any, testing: ModuleType) -> Seen:
    def client(room: str) -> Any:
        made = testing.WebsocketCommunicator(module.ChatConsumer.as_asgi(), f"/ws/chat/{room}/")
        made.scope["url_route"] = {"args": (), "kwargs": {"room_name": room}}
        return made

    one, two, other = client("lobby"), client("lobby"), client("hall")
    seen: Seen = [await each.connect() for each in (one, two, other)]
    seen.append(members())
    for number in range(5):
        await one.send_json_to({"message": number})
        seen += [await one.receive_json_from(), await two.receive_json_from()]
    await two.disconnect()
    await one.send_json_to({"message": "alone"})
    seen += [await one.receive_from(), await other.receive_nothing(0.05), members()]
    await one.disconnect()
    await other.disconnect()
    return [*seen, members()]


async def in_json(module: Any, testing: ModuleType) -> Seen:
    def client(path: str) -> Any:
        app = module.Consumer.as_asgi(greeting="good day")
        assert app.consumer_class is module.Consumer
        assert app.consumer_initkwargs == {"greeting": "good day"}
        return testing.WebsocketCommunicator(app, path, subprotocols=["v1", "v2"])

    one, two, broken = client("/a%20b?c=d"), client("/"), client("/")
    seen: Seen = [await each.connect() for each in (one, two, broken)]
    seen += [repr(one.response_headers), members()]
    await one.send_json_to({"z": 1, "a": [None, "\u00e9"]})
    seen.append(await one.receive_from())
    await get_channel_layer().group_send("news", {"type": "news.item", "item": 7})
    seen += [await each.receive_json_from() for each in (one, two, broken)]
    await one.send_json_to("bye")
    seen += [await one.receive_output(), await one.receive_output()]
    await two.send_json_to("away")
    seen.append(await two.receive_output())
    await one.disconnect()
    await two.disconnect(4001)
    seen.append(members())
    await broken.send_to(bytes_data=b"\x00")
    seen.append(await failure_of(broken.wait()))
    await get_channel_layer().flush()
    return seen


async def doors(module: Any, testing: ModuleType) -> Seen:
    seen: Seen = []
    for path in ("/deny", "/close"):
        refused = testing.WebsocketCommunicator(module.Consumer.as_asgi(), path)
        seen.append(await refused.connect())
        await refused.disconnect()
    client = testing.WebsocketCommunicator(module.Consumer.as_asgi(), "/accept")
    seen.append(await client.connect())
    await client.send_to(text_data="text")
    seen.append(await client.receive_from())
    await client.send_to(bytes_data=b"last")
    seen += [repr(await client.receive_output()), await client.receive_output()]
    await client.disconnect()
    return [*seen, await client.receive_nothing(0.05)]


async def http(module: Any, testing: ModuleType) -> Seen:
    app = module.Consumer.as_asgi()
    seen: Seen = []
    for path in ("/parts", "/"):
        client = testing.HttpCommunicator(app, "post", path, body=b"abc")
        seen.append(repr(sorted((await client.get_response()).items())))
        await client.wait()
    client = testing.HttpCommunicator(app, "POST", "/")
    for part, more in ((b"abc", True), (b"def", True), (b"", False)):
        await client.send_input({"type": "http.request", "body": part, "more_body": more})
    client.sent_request = True
    seen.append(repr(sorted((await client.get_response()).items())))
    left = testing.HttpCommunicator(app, "POST", "/")
    await left.send_input({"type": "http.request", "body": b"abc", "more_body": True})
    await left.send_input({"type": "http.disconnect"})
    await left.wait()
    return [*seen, await left.receive_nothing(0.05)]


async def base(module: Any, testing: ModuleType) -> Seen:
    client = testing.ApplicationCommunicator(module.Consumer.as_asgi(), {"type": "test"})
    seen: Seen = []
    for number in range(3):
        await client.send_input({"type": "test.hello", "number": number})
        seen += [await client.receive_output(), await client.receive_output()]
    await client.send_input({"type": "test.stop"})
    await client.wait()
    for message in ({"type": "_private"}, {"type": ".private"}, {"number": 1}):
        client = testing.ApplicationCommunicator(module.Consumer.as_asgi(), {"type": "test"})
        await client.send_input(message)
        seen.append(await failure_of(client.wait()))
    client = testing.ApplicationCommunicator(module.Consumer.as_asgi(), {"type": "test"})
    await client.send_input({"type": "test.unknown"})
    # Ours goes on to name consumer and method.
    seen.append((await failure_of(client.wait())).partition(": Consumer")[0])
    return seen


async def layerless(module: Any, testing: ModuleType) -> Seen:
    seen: Seen = []
    for name in ("Async", "Sync", "AsyncInGroup", "SyncInGroup"):
        client = testing.WebsocketCommunicator(getattr(module, name).as_asgi(), "/")
        seen.append(await client.connect())
        client.stop()
    return seen


SCENARIOS: dict[str, Scenario] = {
    "tutorial_async": chat,
    "tutorial_sync": chat,
    "json_async": in_json,
    "json_sync": in_json,
    "doors_async": doors,
    "doors_sync": doors,
    "http": http,
    "base_async": base,
    "base_sync": base,
    "layerless": layerless,
}


CLASSES = {
    "AsyncConsumer": "consumer",
    "SyncConsumer": "consumer",
    "WebsocketConsumer": "generic.websocket",
    "AsyncWebsocketConsumer": "generic.websocket",
    "JsonWebsocketConsumer": "generic.websocket",
    "AsyncJsonWebsocketConsumer": "generic.websocket",
    "AsyncHttpConsumer": "generic.http",
    "ApplicationCommunicator": "testing",
    "HttpCommunicator": "testing",
    "WebsocketCommunicator": "testing",
}


def faces() -> dict[str, dict[str, Any]]:
    """Public attributes of each class, but for properties; methods with their parameters."""
    found: dict[str, dict[str, Any]] = {}
    for name, module in CLASSES.items():
        ours = "testing" if module == "testing" else "consumers"
        for package, place in (
            ("channels", f"channels.{module}"),
            ("ours", f"gateway_worker.{ours}"),
        ):
            face = found.setdefault(name, {}).setdefault(package, {})
            made = getattr(import_module(place), name)
            for attribute, value in inspect.getmembers(made):
                private = attribute.startswith("_") and attribute != "__init__"
                if not private and not isinstance(value, property):
                    face[attribute] = parameters_of(value) if callable(value) else "attribute"
    return found


def parameters_of(method: Callable[..., Any]) -> list[str]:
    """Names of parameters, those that need no value with a mark."""
    parameters = list(inspect.signature(method).parameters.values())
    return [f"{p.name}{'' if p.default is p.empty else '='}" for p in parameters]


async def main() -> None:
    found: dict[str, dict[str, Seen]] = {name: {} for name in SCENARIOS}
    ways = [*product(TESTING, TESTING), ("mixed", "gateway")]
    for name, (consumers, testing) in product(SCENARIOS, ways):
        if (name, consumers) == ("layerless", "mixed"):
            continue  # it catches an error of ours, which is no other package's
        module = load(name, consumers)
        seen = await SCENARIOS[name](module, import_module(TESTING[testing]))
        found[name][f"{consumers}/{testing}"] = seen
    json.dump({"scenarios": found, "faces": faces()}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
