"""What must never happen in a simulated world, and what must have happened at its end."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from gateway_interface.websocket_client import WebSocketClient
from gateway_layer.session import State
from gateway_layer.wire import read_entry
from tests.model.client import Client
from tests.model.layer import ModelLayer
from tests.model.process import Process
from tests.model.redis import Entry

_POISONED, _DEATHS = 1011, 3
"""A connection over which so many instances died is closed with that."""


class Judge:
    """Watches processes and clients.

    Attributes:
        violations: What happened that must not.
        disturbed: Copies of entries may arrive that nobody sent twice.
    """

    def __init__(
        self, next_order: Callable[[], int], processes: list[Process], clients: list[Client]
    ) -> None:
        self.violations: list[str] = []
        self.disturbed = False
        self._next_order: Final = next_order
        self._processes: Final = processes
        self._clients: Final = clients
        self._bound: dict[tuple[str, int], str] = {}
        self._burials: dict[tuple[str, str], int] = {}
        self._of_the_dead = False  # what is delivered now, its sender wrote before its burial
        self._faults: Final = _Faults(self.violate)
        logging.getLogger("gateway").addHandler(self._faults)

    def close(self) -> None:
        """Watch no more."""
        logging.getLogger("gateway").removeHandler(self._faults)

    def violate(self, what: str) -> None:
        """Note what must never happen."""
        self.violations.append(what)

    def process(self, pid: str) -> Process:
        """Return a process by its name."""
        return next(one for one in self._processes if one.name == pid)

    def owner_of(self, client: Client) -> Process:
        """Return the interface server of a client."""
        return next(one for one in self._processes if one.loop is client._loop)

    def sessions(self) -> Iterator[tuple[Client, WebSocketClient]]:
        """Return the clients whose sessions are not over, with their sessions."""
        for client in self._clients:
            if self.owner_of(client).ended:
                continue
            session = client.get_protocol()
            if isinstance(session, WebSocketClient) and session.state is not State.CLOSED:
                yield client, session

    # What a layer tells.

    def on_delivery(self, layer: ModelLayer, entry: Entry) -> None:
        """An entry comes to a process."""
        if (layer.pid, entry.sender) in self._burials:
            # What it writes later on, when it is alive again, is another matter.
            self._of_the_dead = entry.order < self._burials[layer.pid, entry.sender]
        header = read_entry(entry.raw).link
        if header is None or header.flags or self.disturbed:
            return
        process = self.process(layer.pid)
        link = process.node._links.get(entry.sender)
        if link is None or link.gen != header.your_gen or link._peer_gen != header.my_gen:
            return
        if header.seq < link._received:
            self.violate(f"batch {header.seq} of {entry.sender} came twice to {layer.pid}")

    def on_delivered(self) -> None:
        self._of_the_dead = False

    def on_burial(self, layer: ModelLayer, pid: str) -> None:
        """A process holds another for dead."""
        process = self.process(pid)
        self._burials[layer.pid, pid] = self._next_order()
        for client, session in self.sessions():
            if self.owner_of(client).layer is layer:
                if session.state is State.QUEUED:
                    client.deaths += 1
                elif session.worker == pid:
                    client.deaths += 2  # the next opening may have been taken by the same
        if process.stopped or not (process.ended or process.server._draining.is_set()):
            process.crashed = True
        if process.crashed:
            interface, worker = (layer.pid, pid) if process.kind == "worker" else (pid, layer.pid)
            self._note_crashes(interface, worker)
            if process.kind == "interface":
                for client, _session in self.sessions():
                    client.deaths += self.owner_of(client) is process

    def on_fenced(self, layer: ModelLayer) -> None:
        """A process has heard that it was held for dead."""
        self.process(layer.pid).crashed = True
        if layer.kind == "interface":
            self._note_crashes(layer.pid, None)
            for client, _session in self.sessions():
                client.deaths += 2 * (self.owner_of(client).layer is layer)

    def _note_crashes(self, interface: str, worker: str | None) -> None:
        for client, session in self.sessions():
            if self.owner_of(client).name == interface and worker in (None, session.worker):
                client.crashes += 1

    def on_answer(self, client: Client, number: int, counted: int) -> None:
        """Judge an answer at the moment when it is written."""
        last = max((one for one, _ in client.answers), default=0)
        if self._of_the_dead:
            self.violate(f"client {client.number}: an answer of a process that is held for dead")
        if counted != number:
            self.violate(f"client {client.number}: {number} was counted as {counted}")
        if number > last + 1:
            self.violate(f"client {client.number}: {number} was answered after {last}")
        elif number <= last:
            if not client.crashes:
                self.violate(f"client {client.number}: {number} was answered twice, without need")
            if number <= self._confirmed(client):
                self.violate(f"client {client.number}: {number} was answered after its end")

    def _confirmed(self, client: Client) -> int:
        """Return how many messages of a client are confirmed."""
        session = client.get_protocol()
        assert isinstance(session, WebSocketClient)
        waiting = [*(parts for _last, parts, _cost in session._journal or ())]
        waiting += [parts for parts, _cost in session._held or ()]
        texts = [part["text"] for parts in waiting for part in parts if "text" in part]
        return min((int(text.rstrip("s")) for text in texts), default=client.sent + 1) - 1

    # What always holds.

    def check(self) -> None:
        """Raise for whatever has happened that must not."""
        for client, session in self.sessions():
            if session.state is State.BOUND and session.worker is not None:
                key = (session.connection, session.epoch)
                if self._bound.setdefault(key, session.worker) != session.worker:
                    self.violate(f"client {client.number}: two workers in epoch {session.epoch}")
        for client in self._clients:
            poisoned = client.code == _POISONED and client.deaths >= _DEATHS
            if client.code is not None and not poisoned:
                self.violate(f"client {client.number} was closed with {client.code}")
        for process in self._processes:
            if process.node.dropped:
                self.violate(f"{process.name} could not read what it was sent")
        assert not self.violations, self.violations

    def unsettled(self) -> list[str]:
        """Return what is not yet as it should be at the end."""
        wrong: list[str] = []
        for client in self._clients:
            answered = max((one for one, _ in client.answers), default=0)
            if client.open and answered < client.sent:
                wrong.append(f"client {client.number}: {answered} of {client.sent} answered")
            owned = not self.owner_of(client).ended
            owned &= client.deaths < _DEATHS  # else it was given up
            if owned and client.left and client.code is None and not client.told:
                wrong.append(f"nobody was told that client {client.number} left")
            surviving = [one for one in client.told if not self.process(one).crashed]
            if len(surviving) > 1 and not self.owner_of(client).crashed:
                wrong.append(f"{surviving} were told that client {client.number} left")
        for client, session in self.sessions():
            if client.left or client.code is not None:
                wrong.append(f"client {client.number} is gone, its session is {session.state}")
            elif session.waiting:
                wrong.append(f"client {client.number}: something is not confirmed")
        for process in self._processes:
            if not process.ended:
                wrong += self._unsettled_process(process)
        return wrong

    def _unsettled_process(self, process: Process) -> Iterator[str]:
        for peer, link in process.node._links.items():
            if not link.settled and not self.process(peer).ended:
                yield f"{process.name} has something unacknowledged for {peer}"
        owned = {session.connection: session for _client, session in self.sessions()}
        if process.kind == "worker" and not process.server._draining.is_set():
            for instance in process.instances():
                owner = owned.get(instance.connection)
                if owner is None or owner.worker != process.name:
                    yield f"{process.name} runs an instance that nobody has"


class _Faults(logging.Handler):
    """Whatever the gateway logs with an exception is a fault of its own."""

    def __init__(self, violate: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._violate = violate

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._violate(f"{record.getMessage()}: {record.exc_info[1]!r}")
