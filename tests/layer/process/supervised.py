"""A supervised program for test_supervisor.py: what its children do is said in the file `mode`.

Run as `python supervised.py PROCESSES GRACEFUL_S [reload] [control=FD]` in a folder of its own. On
stdout each thing that happens is one line: its name, the child's index, pid and system pid.
"""

import asyncio
import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gateway_layer.errors import ConfigError
from gateway_layer.process.child import ChildContext, run_server
from gateway_layer.process.logs import set_up_logging
from gateway_layer.process.supervisor import Supervisor


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class ScriptedServer:
    def __init__(self, context: ChildContext, mode: str) -> None:
        self.context = context
        self.mode = mode
        self.drains = 0
        self.ended = asyncio.Event()
        self.say("start")
        atexit.register(self.say, "atexit")

    def say(self, what: str) -> None:
        say(what, self.context.index, self.context.pid, os.getpid())

    def drain(self) -> None:
        self.drains += 1
        self.say("drain")
        if self.mode != "slow" or self.drains == 2:
            self.ended.set()

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> int:
        if self.mode == "config":
            raise ConfigError("no such application")
        if self.mode == "raise":
            raise RuntimeError("broken while it started")
        if self.mode.startswith("exit"):
            return int(self.mode.removeprefix("exit"))
        if self.mode == "stuck":
            time.sleep(60)  # noqa: ASYNC251 (an import that takes long)
        assert on_ready is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.ended.set)
        self.say("ready")
        on_ready()
        self.say("told")  # the supervisor knows: a test may kill it upon this word
        if self.mode == "deaf":
            time.sleep(60)  # noqa: ASYNC251 (a loop that is blocked)
        await self.ended.wait()
        self.say("end")
        return 0


def run_child(context: ChildContext) -> int:
    return run_server(partial(ScriptedServer, context, Path("mode").read_text()), context)


def main() -> int:
    set_up_logging("info")
    options = sys.argv[3:]
    control = next((o.removeprefix("control=") for o in options if o.startswith("control=")), None)
    return Supervisor(
        name="program",
        run_child=run_child,
        processes=int(sys.argv[1]),
        graceful_timeout_s=float(sys.argv[2]),
        kill_margin_s=0.3,
        ready_text="here",
        parent="parent",
        on_child_death=lambda pid: say("death", time.monotonic(), pid),
        on_stop=lambda: say("stop"),
        reload_folders=(os.getcwd(),) if "reload" in options else (),
        control_fd=int(control) if control else None,
    ).run()


if __name__ == "__main__":
    sys.exit(main())
