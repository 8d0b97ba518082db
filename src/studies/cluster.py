"""A Dask cluster, on this machine or elsewhere, that trains jobs with this process's code and data.

A worker needs the packages of requirements.lock and nothing else: the snapshot comes with the jobs, and workers pass
it on to each other. What is sent to our own code is JSON and arrays.
"""

import contextlib
import logging
import platform
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import StageError
from utils import one_line

from .fold_process import outcome_of, request_of
from .folds import Job, Outcome
from .snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 3  # of a training whose process or worker died; more deaths are no accident
CONNECT_SECONDS = 15.0
LOOK_EVERY = 1.0  # seconds between two looks at which workers there are
AHEAD = 1  # jobs more than workers have room for, so that no worker waits for the client


class Lost(NamedTuple):
    """Why a training gave no outcome: it failed, or its worker died again and again."""

    reason: str


class Cluster:
    """Workers that train. One thread uses it.

    Attributes:
        in_flight: how many jobs were submitted and have not come back.
    """

    def __init__(self, client: "Client", address: str, snapshot: Snapshot) -> None:
        self.client, self.address, self.snapshot = client, address, snapshot
        self._done: queue.SimpleQueue[tuple[Any, Future]] = queue.SimpleQueue()
        self._waiting: dict[Any, tuple[Future, Job, int, int]] = {}  # by tag: future, job, priority, losses
        self._known: set[str] = set()
        self._slots, self._looked = 0, 0.0
        self._train = _train_on_worker()
        self._send_snapshot()
        self.look()

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    @property
    def slots(self) -> int:
        """How many trainings the present workers do at a time."""
        if time.monotonic() > self._looked + LOOK_EVERY:
            self.look()
        return self._slots

    @property
    def has_room(self) -> bool:
        """Whether another job keeps a worker busy, soon."""
        return self.in_flight < self.slots + AHEAD

    def look(self) -> None:
        """Count the workers, and reject new ones that do not have this environment.

        Raises:
            StageError: naming the worker and what differs; or if the scheduler does not answer.
        """
        self._looked = time.monotonic()
        if self.client.status != "running":
            return
        with _gone(self.address):
            threads = self.client.nthreads()
            self._slots = sum(threads.values())
            if new := threads.keys() - self._known:
                found: Any = self.client.get_versions()
                for name in sorted(new & found["workers"].keys()):
                    _check_environment(name, found["workers"][name]["packages"])
                self._known |= new

    def submit(self, tag: Any, job: Job, priority: int = 0) -> None:
        """Train a job on any worker; ``wait`` gives its outcome with the tag. A higher priority goes first."""
        self._submit(tag, job, priority, 0)

    def _submit(self, tag: Any, job: Job, priority: int, losses: int) -> None:
        with _gone(self.address):
            future = self.client.submit(
                self._train,
                self._parcel,
                self.snapshot.checksum,
                request_of(job),
                key=f"training-{uuid.uuid4().hex}",
                retries=RETRIES,
                priority=priority,
                pure=False,
            )
        self._waiting[tag] = (future, job, priority, losses)
        future.add_done_callback(lambda done: self._done.put((tag, done)))

    def wait(self, seconds: float) -> list[tuple[Any, Outcome | Lost]]:
        """The outcomes that arrive within so many seconds, as soon as there is one.

        Raises:
            StageError: if the scheduler is gone.
            BrokenCodeError: if the code of a training has a mistake.
        """
        found: list[tuple[Any, Outcome | Lost]] = []
        until = time.monotonic() + seconds
        while not found and time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                while True:
                    tag, future = self._done.get(timeout=0 if found else max(0.01, min(0.2, until - time.monotonic())))
                    if (came := self._came(tag, future)) is not None:
                        found.append((tag, came))
            if self.client.status in ("closed", "closing"):
                raise StageError(_GONE.format(self.address))
            if self.client.status == "running":
                self._again()
        return found

    def _came(self, tag: Any, future: "Future") -> Outcome | Lost | None:
        """What came of a job; None if nobody waits for it or it must be trained again."""
        if self._waiting.get(tag, (None,))[0] is not future:
            return None
        if future.status == "cancelled":  # the scheduler has lost it, as when it was started anew
            return None
        del self._waiting[tag]
        if future.status == "error":
            return Lost(one_line(f"{type(error).__name__}: {error}" if (error := future.exception()) else "lost", 300))
        try:
            return outcome_of(future.result())
        except StageError as error:
            return Lost(one_line(error, 300))

    def _again(self) -> None:
        """Submit anew what a scheduler has lost, which may have been started anew, without the snapshot too."""
        lost = {tag: kept for tag, kept in self._waiting.items() if kept[0].status == "cancelled"}
        if lost:
            self._send_snapshot()
        for tag, (_, job, priority, losses) in lost.items():
            if losses == RETRIES:
                raise StageError(f"the Dask scheduler at {self.address} lost a training {losses + 1} times")
            self._submit(tag, job, priority, losses + 1)

    def _send_snapshot(self) -> None:
        """As a task, so that a worker that dies takes no copy with it that cannot be made again."""
        with _gone(self.address):
            self._parcel = self.client.submit(
                bytes, self.snapshot.content, key=f"snapshot-{self.snapshot.checksum}", priority=1_000_000
            )

    def trained(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcomes of jobs, in their order.

        Raises:
            StageError: if one fails.
        """
        for place, job in enumerate(jobs):
            self.submit(place, job, -place)
        found: dict[int, Outcome] = {}
        for place in range(len(jobs)):
            while place not in found:
                for tag, came in self.wait(10.0):
                    if isinstance(came, Lost):
                        raise StageError(came.reason)
                    found[tag] = came
                self.look()
            yield found.pop(place)

    def forget(self, tags: Iterable[Any]) -> None:
        """Do not wait for these jobs any more; those that no worker has begun are not trained."""
        futures = [self._waiting.pop(tag)[0] for tag in list(tags) if tag in self._waiting]
        if futures and self.client.status == "running":
            self.client.cancel(futures)


_GONE = "the Dask scheduler at {} is gone; what was trained is kept, and the same command goes on with it"


@contextlib.contextmanager
def _gone(address: str) -> Iterator[None]:
    """Errors of Dask's connection in one line."""
    try:
        yield
    except OSError:  # also of a connection that is closed or too slow
        raise StageError(_GONE.format(address)) from None


def _check_environment(worker: str, packages: dict[str, Any]) -> None:
    """Reject another Python or NumPy, with which the same training gives other numbers, or none."""
    theirs = {"Python": ".".join(str(packages.get("python")).split(".")[:2]), "NumPy": str(packages.get("numpy"))}
    ours = {"Python": ".".join(platform.python_version_tuple()[:2]), "NumPy": version("numpy")}
    for name, wanted in ours.items():
        if theirs[name] != wanted:
            raise StageError(
                f"the worker {one_line(worker, 60)} has {name} {one_line(theirs[name], 20)}, and this is {name} "
                f"{wanted}; install requirements.lock there, with the same Python"
            )


def _train_on_worker() -> Callable[[bytes, str, bytes], bytes]:
    """The function that Dask sends to workers. It is made in here so that it goes as code, not as a name of ours."""

    def train_on_worker(parcel: bytes, checksum: str, request: bytes) -> bytes:
        import importlib.util
        import io
        import pathlib
        import sys
        import tempfile
        import zipfile

        import distributed

        name = f"snapshot_{checksum}"
        room = pathlib.Path(distributed.get_worker().local_directory)
        folder = room / name
        if not folder.exists():
            part = pathlib.Path(tempfile.mkdtemp(prefix=name, dir=room))
            zipfile.ZipFile(io.BytesIO(parcel)).extractall(part)
            try:
                part.rename(folder)
            except OSError:  # another thread was faster
                if not folder.exists():
                    raise
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, folder / "src/studies/on_worker.py")
            if spec is None or spec.loader is None:
                raise ImportError(name)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules.setdefault(name, module)
        answer = sys.modules[name].run(folder, request)
        return bytes(answer)

    return train_on_worker


@contextlib.contextmanager
def connected(address: str | None, workers: int | None = None, with_test: bool = False) -> Iterator[Cluster]:
    """The cluster of the scheduler at ``address``; without one, a cluster on this machine, a process for each core.

    Args:
        with_test: whether workers get the test file, too.

    Raises:
        StageError: if no scheduler answers.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a worker that dies is no news, and a line is ours
    snapshot = take_snapshot(with_test)
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_SECONDS} s"}))
        if not address:
            with _interrupts_ignored():
                local = LocalCluster(
                    n_workers=workers or CPU_COUNT,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any free port
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            stack.callback(local.close, timeout=5)
            address = local.scheduler_address
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            said = "" if isinstance(error, OSError) else f" ({one_line(error, 100)})"
            raise StageError(f"no Dask scheduler answers at {one_line(address, 100)}{said}") from None
        stack.callback(_close, client)
        yield Cluster(client, address, snapshot)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in the block, for some seconds. The workers that are started in it ignore it for good.

    A terminal sends it to all processes, and workers would answer with a traceback each. This process ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _close(client: "Client") -> None:
    with contextlib.suppress(OSError, TimeoutError):
        client.close(timeout=2)
