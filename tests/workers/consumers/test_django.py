"""In a Django project consumers use its channel layers, and close its old connections."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    database = tmp_path_factory.mktemp("django") / "db.sqlite3"
    script = Path(__file__).parent / "django_project.py"
    command = [sys.executable, str(script), str(database)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_layers_are_those_of_the_settings(found: Any) -> None:
    layers = found["layers"]
    assert layers["default"] == ["gateway_layer", "project"]
    assert layers["made_once"]
    assert layers["unknown"] is None
    assert not layers["channels_imported_first"]


def test_layers_are_those_of_the_rest_of_the_project(found: Any) -> None:
    assert found["layers"]["memory_is_of_channels"]
    assert found["layers"]["default_is_of_channels"]


def test_changed_settings_are_heard_of(found: Any) -> None:
    assert found["layers"]["overridden"] is None


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_connections_are_closed_at_the_end_of_each_handler(found: Any, kind: str) -> None:
    """CONN_MAX_AGE is 0: old is whatever a handler leaves."""
    assert found["database"][f"{kind}_served"] == 3


def test_no_connection_is_open_while_a_consumer_waits(found: Any) -> None:
    assert found["database"]["open_between_handlers"] == [False] * 3


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_connections_of_a_test_stay_open(found: Any, kind: str) -> None:
    assert found["database"][f"{kind}_tested"] <= 1


def test_functions_made_asynchronous_close_their_connections(found: Any) -> None:
    assert found["database"]["function_called_twice"] == 2


def test_no_thread_is_made_to_close_nothing(found: Any) -> None:
    assert found["database"]["threads_without_queries"] == 0
    assert found["database"]["threads_with_queries"] == 1


def test_neither_django_nor_channels_is_imported() -> None:
    code = (
        "import sys, gateway_worker.consumers as c, gateway_worker.testing;"
        "assert c.get_channel_layer() is None;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('django', 'channels')])"
    )
    env_free = [sys.executable, "-c", "import os; os.environ.pop('GATEWAY_REDIS', None);" + code]
    done = subprocess.run(env_free, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "[]\n", done.stderr
