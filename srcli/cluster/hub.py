"""The process that speaks with Ray, and does nothing else; the only module that imports Ray.

Ray's core ends its process where it cannot go on, and prints as it likes. Here that costs nothing:
the command hears that this process is gone, and begins another one. What is passed on is passed on
as bytes, so that neither torch nor numpy is imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

from srcli.cluster.worker import Worker
from srcli.errors import SrcliError, UsageError

STORE_BYTES = 100 * 2**20  # of Ray's object store: pictures do not go through it
LOOK_S = 0.05  # between two looks at what the command wants
REACH_S = 10.0  # to answer at all
ALIVE_S = 1.0  # without an answer, until it is asked whether any machine is left


@dataclass(frozen=True)
class Wanted:
    """What is asked of the cluster.

    Attributes:
        address: ``local``: a cluster of our own, on this machine; ``auto``: the one that this
            machine is part of; else where it is.
        workers: None: as many as there are cards, or as the cores have room for.
        threads: of each; None: its share of the cores.
        device: as Settings.
    """

    address: str
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"

    @property
    def is_own(self) -> bool:
        """Whether the cluster begins and ends with the command."""
        return self.address == "local"


@dataclass(frozen=True)
class Layout:
    """How many workers there are to be, and what each of them takes.

    Attributes:
        workers: in all.
        threads: of the CPU, of each.
        cards: each has a graphics card of its own.
        share: workers on one machine, at most.
    """

    workers: int
    threads: int
    cards: bool
    share: int


@dataclass(frozen=True)
class Start:
    """A new worker at a place; ``work``: the pickled Work."""

    place: int
    work: bytes


@dataclass(frozen=True)
class Give:
    """A group for the worker at a place, pickled."""

    place: int
    group: bytes


@dataclass(frozen=True)
class Stop:
    """Everything ends; workers have so long to remove what is half-written."""

    seconds: float


@dataclass(frozen=True)
class Reported:
    """What the worker at a place tells, pickled; the first time, that it is there."""

    place: int
    events: bytes


@dataclass(frozen=True)
class Lost:
    """The worker at a place is gone."""

    place: int
    why: str


class StartError(SrcliError):
    """A cluster of our own did not begin; it may, another time."""


Command = Start | Give | Stop
News = Layout | Reported | Lost | SrcliError


def serve(commands: Connection, wanted: Wanted) -> None:
    """Join or begin a cluster, tell its layout, and pass things on until the command is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's; it says what to do
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    try:
        _Hub(commands, wanted).run()
    except SrcliError as exc:
        with contextlib.suppress(OSError):
            commands.send(exc)
    finally:
        import ray

        ray.shutdown()


class _Hub:
    def __init__(self, commands: Connection, wanted: Wanted) -> None:
        import ray

        logging.getLogger("ray").setLevel(logging.CRITICAL)
        how: dict[str, Any] = {}
        if wanted.is_own:
            how = {
                "num_cpus": max(os.cpu_count() or 1, (wanted.workers or 1) * (wanted.threads or 1)),
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_node_ip_address": "127.0.0.1",  # nobody else is to reach it
                # beside other programs workers get what the command itself would get
                "_system_config": {"worker_niceness": 0},
            }
        else:
            _reach(wanted.address)
        try:
            ray.init(
                wanted.address,
                namespace="srcli",
                logging_level=logging.CRITICAL,
                log_to_driver=False,
                **how,
            )
        except Exception as exc:
            if wanted.is_own:
                raise StartError(f"Ray cannot be started: {_first_line(exc)}") from exc
            raise _no_cluster(wanted.address, exc) from exc
        self._ray, self._commands = ray, commands
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._layout = layout(wanted, nodes)
        self._actors: dict[int, Any] = {}
        self._answers: dict[Any, int] = {}  # that are awaited: one of each worker
        commands.send(self._layout)

    def run(self) -> None:
        heard_s = time.monotonic()
        while True:
            try:
                while self._commands.poll(0 if self._answers else LOOK_S):
                    command = self._commands.recv()
                    if isinstance(command, Stop):
                        self._stop(command.seconds)
                        return
                    self._do(command)
            except (EOFError, OSError):  # the command itself is gone
                self._stop(1.0)
                return
            if self._pass_on():
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > ALIVE_S:
                if not any(node["Alive"] for node in self._ray.nodes()):
                    return
                heard_s = time.monotonic()

    def _do(self, command: Start | Give) -> None:
        if isinstance(command, Give):
            if command.place in self._actors:
                self._actors[command.place].work.remote(command.group)
            return
        actor = (
            self._ray.remote(Worker)
            .options(
                num_cpus=self._layout.threads,
                num_gpus=int(self._layout.cards),
                max_restarts=0,
                max_concurrency=3,  # work, take_events and stop
                scheduling_strategy="SPREAD",
            )
            .remote(command.work)
        )
        self._actors[command.place] = actor
        self._answers[actor.take_events.remote()] = command.place

    def _pass_on(self) -> bool:
        """Answers that have come; whether there were any."""
        if not self._answers:
            return False
        awaited = list(self._answers)
        ready, _ = self._ray.wait(awaited, num_returns=1, timeout=LOOK_S)
        for answer in ready:
            place = self._answers.pop(answer)
            actor = self._actors[place]
            try:
                events = self._ray.get(answer)
            except self._ray.exceptions.RayError as exc:
                if getattr(exc, "actor_init_failed", False):
                    raise SrcliError(
                        f"a worker cannot start: {str(exc).strip().splitlines()[-1]}",
                        "every machine of the cluster needs the same srcli, and the same Python",
                    ) from exc
                del self._actors[place]
                with contextlib.suppress(Exception):
                    self._ray.kill(actor)  # it may be there, and out of reach
                self._commands.send(Lost(place, _first_line(exc)))
            else:
                self._answers[actor.take_events.remote()] = place
                self._commands.send(Reported(place, events))
        return bool(ready)

    def _stop(self, seconds: float) -> None:
        actors = list(self._actors.values())
        if actors:
            stopped = [actor.stop.remote() for actor in actors]
            with contextlib.suppress(Exception):
                self._ray.wait(stopped, num_returns=len(stopped), timeout=seconds)
        for actor in actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)


def layout(wanted: Wanted, nodes: list[dict[str, float]]) -> Layout:
    """Workers and what each takes, from what was asked for and what there is.

    Args:
        wanted: by the command.
        nodes: of each machine, how much of ``CPU`` and ``GPU`` there is.

    Raises:
        UsageError: no machine has cores enough for one worker.
    """
    cores = [int(node.get("CPU", 0)) for node in nodes]
    n_cards = 0 if wanted.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
    n_cores, largest = sum(cores), max(cores, default=0)
    workers, threads = wanted.workers, wanted.threads
    if workers is None:
        workers = n_cards or sum(n // (threads or 1) for n in cores)
    workers = max(1, workers)
    if threads is None:
        threads = max(1, min(n_cores // workers, largest))
    if threads > largest:
        raise UsageError(
            f"no machine of the cluster has {threads} threads for a worker: the largest has "
            f"{largest}"
        )
    return Layout(workers, threads, n_cards > 0, min(workers, max(1, largest // threads)))


def _reach(address: str) -> None:
    """Raises SrcliError where nobody answers; Ray would go on trying for minutes."""
    at = urlsplit(address if "://" in address else f"//{address}")
    try:
        if at.hostname is not None and at.port is not None:
            socket.create_connection((at.hostname, at.port), REACH_S).close()
    except (OSError, ValueError) as exc:  # ValueError: a port that is none
        raise _no_cluster(address, exc) from exc


def _no_cluster(address: str, why: Exception) -> SrcliError:
    where = "on this machine" if address == "auto" else f"at {address}"
    first: BaseException = why
    while first.__cause__ is not None:
        first = first.__cause__
    if "Token" in str(first):
        return SrcliError(
            f"the Ray cluster {where} asks for its token, which is not on this machine",
            "copy ~/.ray/auth_token from one of its machines and set RAY_AUTH_MODE=token",
        )
    return SrcliError(
        f"there is no Ray cluster {where}: {_first_line(first)}",
        "start one with `ray start --head`, or take --cluster local",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
