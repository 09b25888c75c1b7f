"""Ray, as far as srcli needs it: a cluster of one's own or another's, and actors in it.

The only module that imports Ray.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from srcli.cluster.worker import Work, Worker
from srcli.errors import SrcliError, UsageError

log = logging.getLogger(__name__)

STORE_BYTES = 100 * 2**20  # of Ray's object store: pictures do not go through it
STARTS = 5  # in vain, one after the other, of a cluster of our own


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


class LostError(Exception):
    """A worker, or its machine, is gone."""


class Session:
    """A connection to Ray; of a cluster of our own also the cluster.

    Args:
        address: ``local``: a cluster of our own, on this machine; ``auto``: the one that runs on
            this machine; else where it is.
        cpus: of a cluster of our own; more than there are, if so many are asked for.

    Raises:
        SrcliError: there is no such cluster.
    """

    def __init__(self, address: str, cpus: int) -> None:
        self.is_own = address == "local"
        self._address, self._cpus = address, cpus
        self._begin()

    def _begin(self) -> None:
        import ray

        # what becomes of workers is told by events; Ray would print it, coloured
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        _hush()
        how: dict[str, Any] = {}
        if self.is_own:
            how = {
                "num_cpus": self._cpus,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_node_ip_address": "127.0.0.1",  # nobody else is to reach it
            }
        for tried in range(STARTS):
            try:
                with _signals_kept():
                    ray.init(
                        self._address,
                        namespace="srcli",
                        logging_level=logging.CRITICAL,
                        log_to_driver=False,
                        **how,
                    )
                return
            except Exception as exc:
                log.debug("Ray does not start", exc_info=True)
                with contextlib.suppress(Exception):
                    ray.shutdown()
                if not self.is_own:
                    where = "on this machine" if self._address == "auto" else f"at {self._address}"
                    raise SrcliError(
                        f"there is no Ray cluster {where}: {_first_line(exc)}",
                        "start one with `ray start --head`, or take --cluster local",
                    ) from exc
                if tried + 1 == STARTS:
                    raise SrcliError(f"Ray does not start: {_first_line(exc)}") from exc

    def begin_again(self) -> None:
        """A cluster of our own, anew, where the old one has broken down."""
        self.close()
        self._begin()

    def close(self) -> None:
        """Leave the cluster; one of our own ends, with all its processes."""
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()

    @property
    def is_alive(self) -> bool:
        """Whether there is a machine left in it."""
        import ray

        try:
            return any(node["Alive"] for node in ray.nodes())
        except Exception:
            return False

    def layout(self, workers: int | None, threads: int | None, device: str) -> Layout:
        """Workers and what each takes, from what was asked for and what there is.

        Args:
            workers: None: as many as there are cards, or as the cores have room for.
            threads: of each; None: its share of the cores.
            device: as Settings.

        Raises:
            UsageError: a machine has too few cores for one worker.
        """
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = [int(node.get("CPU", 0)) for node in nodes]
        n_cards = 0 if device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
        return _layout(workers, threads, cores, n_cards)

    def start(self, work: Work, layout: Layout) -> Member:
        """A new worker, which may take a while to be there."""
        return Member(work, layout)

    def wait(self, members: list[Member], timeout_s: float) -> list[Member]:
        """Those that have answered, or are gone."""
        import ray

        answers = {member.answer: member for member in members}
        try:
            ready, _ = ray.wait(list(answers), num_returns=1, timeout=timeout_s)
            if ready:  # whatever else is there by now
                ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        except ray.exceptions.RayError:
            return members
        return [answers[answer] for answer in ready]

    def stop(self, members: list[Member], timeout_s: float) -> None:
        """Let workers remove what is half-written; then they end."""
        import ray

        with contextlib.suppress(Exception):
            ray.wait([m.stop() for m in members], num_returns=len(members), timeout=timeout_s)
        for member in members:
            member.kill()


class Member:
    """A worker in the cluster, of which one answer is always awaited."""

    def __init__(self, work: Work, layout: Layout) -> None:
        import ray

        # work, told and stop at a time
        how = {
            "num_cpus": layout.threads,
            "num_gpus": int(layout.cards),
            "max_restarts": 0,
            "max_concurrency": 3,
            "scheduling_strategy": "SPREAD",
        }
        self._actor = ray.remote(Worker).options(**how).remote(work)
        self.is_ready = False
        self.answer = self._actor.ready.remote()

    def work(self, group: Any) -> None:
        self._actor.work.remote(group)

    def told(self) -> Any:
        """What the awaited answer says; the next is asked for.

        Raises:
            LostError: the worker is gone.
            SrcliError: what ends the run.
        """
        import ray

        try:
            told = ray.get(self.answer)
        except ray.exceptions.RayTaskError as exc:
            raise _cause(exc) from exc
        except ray.exceptions.RayActorError as exc:
            inner = getattr(exc, "cause", None) or exc.__cause__
            if isinstance(inner, ray.exceptions.RayTaskError):  # it could not begin
                raise _cause(inner) from exc
            raise LostError(_first_line(exc)) from exc
        except ray.exceptions.RayError as exc:
            raise LostError(_first_line(exc)) from exc
        self.is_ready = True
        self.answer = self._actor.told.remote()
        return told

    def stop(self) -> Any:
        return self._actor.stop.remote()

    def kill(self) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._actor)


def _layout(workers: int | None, threads: int | None, cores: list[int], n_cards: int) -> Layout:
    n_cores, largest = sum(cores), max(cores, default=1)
    if workers is None:
        workers = n_cards or max(1, sum(n // (threads or 1) for n in cores))
    if threads is None:
        threads = max(1, min(n_cores // workers, largest))
    if threads > largest:
        raise UsageError(
            f"--threads {threads} is more than any machine of the cluster has ({largest})"
        )
    share = min(workers, max(1, largest // threads))
    return Layout(workers, threads, n_cards > 0, share)


def _cause(error: Any) -> Exception:
    """What was raised in the worker."""
    cause = error.cause
    return cause if isinstance(cause, SrcliError) else SrcliError(f"a worker failed: {cause}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hush() -> None:
    """Ray prints on its own what becomes of workers, and has no setting for it."""
    with contextlib.suppress(ImportError):
        from ray._private import worker

        worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """What SIGTERM does here is not Ray's to change."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
