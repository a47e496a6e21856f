"""A consumer of Django Channels behaves here as there, changed in its import lines alone."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "moved_over.py"
SCENARIOS = sorted(path.stem for path in SCRIPT.with_name("sources").iterdir())
CLASSES = [
    *("AsyncConsumer", "SyncConsumer", "WebsocketConsumer", "AsyncWebsocketConsumer"),
    *("JsonWebsocketConsumer", "AsyncJsonWebsocketConsumer", "AsyncHttpConsumer"),
    *("ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"),
]
MOVED = ["gateway/channels", "channels/gateway", "gateway/gateway", "mixed/gateway"]
CASES = sorted({*product(SCENARIOS, MOVED)} - {("layerless", "mixed/gateway")})


@pytest.fixture(scope="module")
def found() -> Any:
    command = [sys.executable, "-W", "error", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("scenario", "moved"), CASES)
def test_clients_see_what_they_saw(found: Any, scenario: str, moved: str) -> None:
    seen = found["scenarios"][scenario]
    assert seen[moved] == seen["channels/channels"]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_name_is_there_with_its_parameters(found: Any, name: str) -> None:
    theirs, ours = (found["faces"][name][package] for package in ("channels", "ours"))
    assert {attribute: ours.get(attribute) for attribute in theirs} == theirs
