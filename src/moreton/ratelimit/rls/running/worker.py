"""One process of the service: it answers, looks after its files, and ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING

import uvicorn

from moreton.ratelimit.errors import RateLimitServerNotStarted
from moreton.ratelimit.rls.running.files import Followed, FollowedRules
from moreton.ratelimit.rls.running.pages import Pages
from moreton.ratelimit.rls.running.plan import Plan, open_store
from moreton.ratelimit.rls.server import RateLimitServer
from moreton.ratelimit.rls.service import RateLimitService

if TYPE_CHECKING:
    from moreton.ratelimit.seeing.reporter import LimitReporter

Say = Callable[[str], None]


def run_worker(plan: Plan, say: Say, *, number: int = 0, parent: int | None = None) -> None:
    """Serve *plan* as its process *number* until SIGTERM, SIGINT, or until *parent* is gone."""
    loop_factory = None
    with contextlib.suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(plan, say, number=number, parent=parent))


async def serve(plan: Plan, say: Say, *, number: int = 0, parent: int | None = None) -> None:
    """As `run_worker`, in this loop; raises `ConfigRefused` and `RateLimitServerNotStarted`."""
    followed = Followed(plan.path, plan.merge, plan.away)
    store = open_store(plan)
    service = RateLimitService(followed.read(), store, plan.answering)
    rules = None if plan.rules is None else FollowedRules(plan.rules, store, plan.last_good)
    if rules is not None:
        service.rules = rules.begin()
    server = RateLimitServer(service, shares_port=plan.processes > 1)
    address = _address(plan.listen, number)
    port = server.listen(address)
    ending = asyncio.Event()
    reporting = None if rules is None else _report()
    async with _pages(plan, number, Pages(service, followed)) as told:
        await server.start()
        shown = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        names = [*service.domains, *(service.rules.names if service.rules is not None else ())]
        say(f"answers on {shown} for {', '.join(sorted(names)) or 'nothing yet'}{told}")
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, ending.set)
        # What is there now stays: looked through, it would hold up those who wait, for 40 ms.
        gc.collect()
        gc.freeze()
        try:
            while not ending.is_set() and (parent is None or os.getppid() == parent):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(plan.look_every.total_seconds()):
                        await ending.wait()
                changed = followed.read_if_changed()
                if changed is not None:
                    service.domains = changed
                service.rules = (rules and rules.read_if_changed()) or service.rules
        finally:
            await server.stop()
            if reporting is not None:
                await asyncio.to_thread(reporting.close)


def _report() -> LimitReporter:
    from moreton.ratelimit.seeing.reporter import report_limits  # noqa: PLC0415 - of rules alone

    return report_limits()


def _address(listen: str, number: int) -> str:
    """Where process *number* listens: sockets of files are one for each."""
    return f"{listen}.{number}" if number and listen.startswith("unix:") else listen


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the process."""
        yield


@contextlib.asynccontextmanager
async def _pages(plan: Plan, number: int, app: Pages) -> AsyncIterator[str]:
    """Serve *app* within the block, where there is to be one; what to say of it."""
    if not plan.pages:
        yield ""
        return
    host, _, port = plan.pages.rpartition(":")
    with contextlib.ExitStack() as stack:
        try:
            listening = stack.enter_context(
                socket.create_server((host, int(port) + (number if int(port) else 0)))
            )
        except (OSError, ValueError, OverflowError) as error:
            raise RateLimitServerNotStarted(
                f"{plan.pages} cannot be listened on for metrics: {error}; give a free HOST:PORT"
            ) from error
        config = uvicorn.Config(
            app, lifespan="off", ws="none", log_config=None, access_log=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]), name="pages")
        try:
            yield f", metrics on {host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
