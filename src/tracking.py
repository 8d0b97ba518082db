"""The pipeline as seen in MLflow. Only this file imports mlflow, ui.py, and serving.py, which MLflow itself runs.

MLflow is a view: no stage waits for it, fails with it, or writes other files without it.

- A stage starts this file as a side process (``python src/tracking.py log``) and sends it a line of JSON an event. So
  importing mlflow, 2 s, overlaps with the stage's work, and a slow store never holds up training.
- The side process keeps the run: curves that grow while training runs, and in the end what the stage wrote to files.
  When the lines stop without a last word, the stage was killed, and so says the run.
- There is one run for each run of the pipeline that trained or evaluated anything new. Evaluate and plot find theirs by
  the model's checksum and the DVC experiment; where there is none, it is made from the files, by the same code.

PENDIGITS_TRACKING=off turns all of it off; PENDIGITS_TRACKING=verbose lets the side process write to stderr.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import ast
import contextlib
import csv
import functools
import io
import json
import logging
import os
import queue
import re
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import restore
import stage
from params import Params, ParamsError, load_params, read_values

if TYPE_CHECKING:
    from mlflow import MlflowClient, entities

EXPERIMENT = "pendigits"
COLUMNS = {  # of the table of runs, with their widths in pixels, so that a screen of usual width has room for all
    "metrics.`final_val_accuracy`": 130,
    "metrics.`test_accuracy`": 105,
    "metrics.`test_loss`": 75,
    "metrics.`test_ece`": 75,
    "params.`hidden_layers`": 105,
    "params.`activation`": 80,
    "params.`lr`": 65,
    "params.`epochs`": 65,
    "params.`seed`": 50,
    "duration": 75,
}
VIEW = {
    "selectedColumns": [column for column in COLUMNS if column != "duration"],  # which is always there
    "columnOrder": list(COLUMNS),
    "columnWidths": COLUMNS,
    "chartsSearchFilter": "^(train|val)_",  # the curves; a chart a metric would hide them among bars
}
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # the UI opens on training runs instead of on GenAI
    f"mlflow.sharedViewState.{EXPERIMENT}": json.dumps(VIEW),  # a page's address can name it
    "mlflow.note.content": """\
One row is one run of the pipeline, by `dvc repro` or `dvc exp run`.

| column | what it says |
|---|---|
| test_accuracy, test_loss | on the official test file, written by people of whom training and validation saw nothing |
| test_macro_f1, test_ece | mean F1 score over the ten digits; expected calibration error, 0 at best |
| final_val_accuracy, final_val_loss | on the people held out for validation, before `refit` trains on them too |
| train_loss, train_accuracy, val_loss, val_accuracy, lr | the curves, a point an epoch; lr is the learning rate |
| n_parameters, weight_norm_... | how large the network is; the Euclidean norm of each weight matrix |
| dvc.exp_name | the DVC experiment, as in `dvc exp show` and `dvc exp apply`; empty for runs in the workspace |
| model.sha256, data.sha256, git.commit | which network it is, and which data and code made it |

Charts show the curves; empty their search field for all metrics. Two runs ticked and compared show the parameters that
differ, and their pictures: weights.png, under Artifacts, has the histograms of the weights.
""",
}
ORIGIN = {"dvc.exp_name": "DVC_EXP_NAME", "dvc.baseline_rev": "DVC_EXP_BASELINE_REV"}  # tags, and where DVC says it

MODEL_FILES = ("models/network.npz", "models/network.json")
DATA_FILES = ("data/split/train.npz", "data/split/validation.npz", "data/split/test.npz")
HISTORY, TRAIN_METRICS, EVALUATE_METRICS = "metrics/history.csv", "metrics/train.json", "metrics/evaluate.json"
TRAIN_FILES = (HISTORY, TRAIN_METRICS, "metrics/diagnostics.csv", "metrics/histograms.csv")
EVALUATE_FILES = (EVALUATE_METRICS, "metrics/predictions.csv")
FIGURES = "metrics/plots"
EXAMPLE = [47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]  # the data set's first row, an 8

SEND_SECONDS, FLUSH_SECONDS = 0.2, 2.0  # how often the stage sends epochs, and how often the curves grow
ERROR_NAME = re.compile(r"^[\w.]+(Exception|Error): ")  # as a traceback's last lines begin
DATABASE_ERROR = re.compile(r"\([a-z]\w+\.\w*Error\) .+")  # what SQLAlchemy puts between its own sentences
LOCK_SECONDS = 20  # how long a locked database is waited for
WAIT_SECONDS = 120.0  # how long a stage waits in the end for its side process,
STOP_SECONDS = 30.0  # and how long when it is asked to stop meanwhile
METRICS_A_CALL = 1000  # the most that MLflow takes
SAID = Path(".dvc/tmp/not-logged")  # why nothing was logged, as this pipeline run has said
ENVIRONMENT = {  # what the user has set wins
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # a server that is away costs seconds, not minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a process more in the server, for GenAI alone
    "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1,127.0.0.1:*,localhost,localhost:*",  # MLflow's own has the local network
}


# --- In the stage: say what happens, wait for nothing ----------------------------------------------------------------


@contextlib.contextmanager
def training(params: Params) -> Iterator["Tracker"]:
    """Show a training as a new run: ``with training(params) as run``, and ``run.epoch(record)`` after every epoch.

    The train stage's files must be written before the block ends: the run is completed from them. When an exception
    ends it, the run is FAILED; when Ctrl-C does, KILLED.
    """
    with _tracked({"stage": "train", "params": params.model_dump(mode="json"), "time": _now()}) as tracker:
        yield tracker


@contextlib.contextmanager
def evaluation() -> Iterator[None]:
    """Show what the evaluate stage has written by the end of the block in the run of the model that it evaluated."""
    with _tracked({"stage": "evaluate"}):
        yield


@contextlib.contextmanager
def figures() -> Iterator[None]:
    """Show the pictures that the plot stage has drawn by the end of the block in the run that they belong to."""
    with _tracked({"stage": "plot"}):
        yield


@contextlib.contextmanager
def _tracked(begin: Mapping[str, Any]) -> Iterator["Tracker"]:
    tracker = Tracker(begin)
    try:
        yield tracker
    except BaseException as error:
        with contextlib.suppress(KeyboardInterrupt):  # the first is passed on, which says how to go on
            tracker.end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise
    tracker.end("FINISHED")


class Tracker:
    """A stage's end of the line to its side process. Before ``end`` nothing here waits or raises."""

    def __init__(self, begin: Mapping[str, Any]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent = bytearray(_line(begin))
        self._sent_at = 0.0
        mode = os.environ.get("PENDIGITS_TRACKING")
        if mode == "off":
            return
        try:
            self._errors = None if mode == "verbose" else tempfile.TemporaryFile()  # noqa: SIM115 (as long as we live)
            self._process = subprocess.Popen(  # noqa: S603 (python, with words of ours)
                [sys.executable, __file__, "log"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                env=ENVIRONMENT | os.environ,
                start_new_session=True,  # Ctrl-C on the terminal is for the stage alone
            )
        except OSError as error:
            _say_not_logged(str(error))
            return
        ends = self._process.stdin, self._process.stdout
        self._pipe, self._answers = (end.fileno() if end else -1 for end in ends)
        os.set_blocking(self._pipe, False)
        self._send()

    def epoch(self, record: Mapping[str, float]) -> None:
        """Add a point to each curve: ``record`` is a row of metrics/history.csv. Takes microseconds."""
        if self._process:
            self._unsent += _line({"epoch": dict(record), "time": _now()})
            if time.monotonic() >= self._sent_at + SEND_SECONDS:
                self._send()

    def end(self, status: str) -> None:
        """Say how the stage ended, wait for the side process, and pass on what it says.

        Raises:
            KeyboardInterrupt: if a stop was asked for meanwhile, which makes the run a KILLED one. Asked again, this
                waits no longer; the side process closes the run by itself.
        """
        if not (process := self._process):
            return
        stops = [time.monotonic()] if status == "KILLED" else []

        def stop(number: int, frame: FrameType | None) -> None:
            if stops:
                raise KeyboardInterrupt
            stops.append(time.monotonic())
            self._unsent += _line({"end": "KILLED"})

        self._unsent += _line({"end": status})
        with stage.stops_told(stop), process, self._errors or contextlib.nullcontext():
            said, fault, done = "", "", False
            try:
                said = self._answer(process, stops)
                if done := not stops:
                    self._unsent += _line({"end": status})  # as it still is, now that the side process is done
                self._send()
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired as late:
                process.kill()
                fault = f"not done within {late.timeout:.0f} s"
            if stops and not (done and process.returncode == 0):  # else it came too late: the run is finished
                raise KeyboardInterrupt
            for line in said.splitlines():
                stage.say(line)
            if fault or process.returncode:
                _say_not_logged(fault or self._last_error())

    def _answer(self, process: "subprocess.Popen[bytes]", stops: Sequence[float]) -> str:
        """Send the rest; what the side process says until it is done.

        Raises:
            TimeoutExpired: if that takes too long.
        """
        said, begun, told = b"", time.monotonic(), False
        with selectors.DefaultSelector() as answers:
            answers.register(self._answers, selectors.EVENT_READ)
            while time.monotonic() < (stops[0] + STOP_SECONDS if stops else begun + WAIT_SECONDS):
                self._send()
                if stops and not told:
                    told = True
                    stage.say("stopping, when MLflow has been told")
                if answers.select(SEND_SECONDS):
                    came = os.read(self._answers, 1 << 16)
                    if not came:
                        return said.decode(errors="replace")
                    said += came
        raise subprocess.TimeoutExpired(process.args, WAIT_SECONDS)

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full: next time; broken: ``end`` tells
            del self._unsent[: os.write(self._pipe, bytes(self._unsent))]

    def _last_error(self) -> str:
        if not self._errors:
            return "see above"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        lines = DATABASE_ERROR.findall(said) or [line for line in said.split("\n") if line.strip()]
        return lines[-1] if lines else "its process was killed"


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, default=float).encode() + b"\n"


def _say_not_logged(reason: str) -> None:
    """Say why nothing was logged, unless an earlier stage of the same pipeline run has said just that."""
    reason = ERROR_NAME.sub("", reason)
    if re.match(r"API request to \S+ failed with (timeout )?exception|HTTPS?Connection|\('Conn", reason):
        reason = f"no answer from {store_shown()}"
    elif len(reason) > 200:
        reason = reason[:197] + "..."
    if begun := restore.start_of_dvc():
        with contextlib.suppress(OSError):
            before = SAID.read_text(encoding="utf-8") if SAID.exists() else ""
            if f"{begun} {reason}\n" in before:
                return
            kept = before if before.startswith(f"{begun} ") else ""
            SAID.write_text(f"{kept}{begun} {reason}\n", encoding="utf-8")
    stage.say(f"MLflow: not logged ({reason}). Nothing else is affected; `make sync` enters the run later.")


def _now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000


# --- In the side process: follow the stage, keep its run -------------------------------------------------------------


def log() -> None:
    """Follow the stage at the other end of stdin. An error ends the process, and the stage shows its last line."""
    for request in stage.STOPS:
        signal.signal(request, signal.SIG_IGN)  # the end of the stage ends this process, and nothing before
    inbox = _Inbox(io.FileIO(0, closefd=False))
    begin = inbox.next()
    if begin.get("stage") == "train":
        run = _follow_training(inbox, begin["params"], begin["time"])
        os.dup2(2, 1)  # the end of what it says; a stage that was stopped meanwhile says so then, and will run again
        stopped = run is not None and inbox.next()["end"] != "FINISHED"
        if run and stopped:
            run.end("KILLED")
        os._exit(stopped)  # at once: a stop that comes while Python takes a second to end could not be told any more
    elif "stage" in begin:
        store = open_store()
        for _ in inbox.epochs():  # until the stage ends
            pass
        if inbox.status == "FINISHED":
            ensure_run(store, Path(), origin_of_process(), with_figures=begin["stage"] == "plot")


class Epoch(NamedTuple):
    """A row of metrics/history.csv, and when it came, in ms since 1970."""

    row: Mapping[str, float]
    time: int


class _Inbox:
    """The stage's messages, which a thread takes off the pipe as they come."""

    def __init__(self, stream: io.FileIO | IO[bytes]) -> None:
        self.status = ""  # how the stage ended, once ``epochs`` has run out
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: io.FileIO | IO[bytes]) -> None:
        # Without a buffer, since Python aborts when it ends while a thread waits with the lock of one.
        begun = b""
        while came := stream.read(1 << 16):
            *lines, begun = (begun + came).split(b"\n")
            for line in lines:
                self._messages.put(json.loads(line))
        self._messages.put({"end": "KILLED"})  # the stage has, maybe in the middle of a line

    def next(self) -> dict[str, Any]:
        return self._messages.get()

    def epochs(self) -> Iterator[list[Epoch]]:
        """Yield what has come, about once a second, until the stage has ended."""
        while not self.status:
            came: list[Epoch] = []
            flush_at = time.monotonic() + FLUSH_SECONDS
            while not self.status and (left := flush_at - time.monotonic()) > 0:
                with contextlib.suppress(queue.Empty):
                    message = self._messages.get(timeout=left)
                    self.status = message.get("end", "")
                    if "epoch" in message:
                        came.append(Epoch(message["epoch"], message["time"]))
            yield came


def _follow_training(inbox: _Inbox, params: Mapping[str, Any], started: int) -> "Run | None":
    """Keep a run while training runs; returns it if it is whole.

    Where the store is away, try again with every flush until the end.
    """
    from mlflow.exceptions import MlflowException

    run, waiting = None, []
    for epochs in inbox.epochs():
        waiting += epochs
        try:
            run = run or Run.start(open_store(), Path(), origin_of_process(), params, started)
            run.log_epochs(waiting)
            waiting = []
            if not inbox.status:
                _get_ready_for_models()
        except (MlflowException, OSError):
            if inbox.status:
                raise
    if run and inbox.status == "FINISHED":
        run.complete()
        with contextlib.suppress(BrokenPipeError):  # of a stage that was asked twice to stop, and waits no longer
            stage.say(f"MLflow: logged as {run.name}")
        return run
    if run:
        run.end(inbox.status)
    return None


@functools.cache
def _get_ready_for_models() -> None:
    """Do while training runs what else holds up its end: at the first model, MLflow looks at all that is installed."""
    import git  # noqa: F401  (what MLflow imports then)
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches([f"numpy=={version('numpy')}"])


# --- A run in the store ----------------------------------------------------------------------------------------------


def origin_of_process() -> dict[str, str]:
    """Whose run it is, as tags: an experiment's name and the commit it started from; none for the workspace's."""
    return {tag: os.environ[name] for tag, name in ORIGIN.items() if os.environ.get(name)}


def ensure_run(store: "Store", folder: Path, origin: Mapping[str, str], *, with_figures: bool = True) -> "Run | None":
    """See to it that the evaluated model in ``folder`` has its run; None if all is there already.

    A run is completed only if it is of the same origin, model and parameters, and nothing of it is changed. Where there
    is none, one is made. One that lost its store before it was complete gives way to this one.
    """
    params, evaluated_as = flat(read_params(folder)), checksum(folder, [EVALUATE_METRICS])
    for cut_off in abandoned_runs(store):
        if _is_of(cut_off, origin) and cut_off.data.params.items() <= params.items():
            store.client.delete_run(cut_off.info.run_id)
    runs = find_runs(store, origin, checksum(folder, MODEL_FILES))
    trained = [run for run in runs if "evaluate.sha256" not in run.data.tags and run.data.params == params]
    evaluated = [run for run in runs if run.data.tags.get("evaluate.sha256") == evaluated_as]
    bare = [run for run in evaluated if "figures.sha256" not in run.data.tags and run.data.params == params]
    if with_figures and bare:
        run = Run(store.client, bare[0].info.run_id, bare[0].info.run_name, folder)
        run.log_figures()
    elif evaluated and (with_figures or not trained):
        return None
    elif trained:
        run = Run(store.client, trained[0].info.run_id, trained[0].info.run_name, folder)
        run.log_evaluation()
        if with_figures:
            run.log_figures()
    else:
        run = Run.start(store, folder, origin, read_params(folder), _now())
        run.complete(with_evaluation=True, with_figures=with_figures)
        stage.say(f"MLflow: logged as {run.name}")
    return run


def find_runs(store: "Store", origin: Mapping[str, str], model_sha256: str) -> list["entities.Run"]:
    """The finished runs of this origin that made this model, newest first."""
    wanted = f"tags.`model.sha256` = '{model_sha256}' and attributes.status = 'FINISHED'"
    found = store.client.search_runs([store.experiment_id], wanted, order_by=["attributes.start_time DESC"])
    return [run for run in found if _is_of(run, origin)]


def _is_of(run: "entities.Run", origin: Mapping[str, str]) -> bool:
    return all(run.data.tags.get(tag) == origin.get(tag) for tag in ORIGIN)


def abandoned_runs(store: "Store") -> list["entities.Run"]:
    """Runs that say RUNNING whose process, on this machine, is gone."""
    running = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    return [run for run in running if not _may_be_alive(run.data.tags.get("mlflow.process"), run.info.start_time)]


def _may_be_alive(process: str | None, started: int) -> bool:
    """Whether host:pid may be a process that was there at ``started``, in ms since 1970; yes on another machine."""
    import psutil  # here: a stage has no use for it

    host, _, pid = str(process or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return bool(host)
    try:
        found = psutil.Process(int(pid))
        older = found.create_time() * 1000 <= started + 60_000  # else the number was given anew
        return older and found.status() != psutil.STATUS_ZOMBIE  # which nobody has asked how it ended
    except psutil.NoSuchProcess:
        return False


class Run:
    """A run in MLflow, and the folder, a checkout of the project, whose files it shows.

    The tags that tell what a run holds (``model.sha256``, ``evaluate.sha256``, ``figures.sha256``) are set last, when
    it is in the store: a run that was cut off is never taken for a complete one.
    """

    def __init__(self, client: "MlflowClient", run_id: str, name: str, folder: Path) -> None:
        self.client, self.id, self.name, self.folder = client, run_id, name, folder
        self._name_awaits_model = False
        self._epochs: set[float] = set()  # those in the curves
        self._params: list[entities.Param] = []  # those that are not in the store yet

    @classmethod
    def start(
        cls, store: "Store", folder: Path, origin: Mapping[str, str], params: Mapping[str, Any], started: int
    ) -> "Run":
        """Open a new run with what is known of it from the beginning; the parameters go with the first epochs.

        So a run has been opened or not; were the store to go away in between, a second one would be opened later.
        """
        from mlflow.entities import Param

        dataset, commit = str(params.get("dataset")), _git_commit(folder)
        name = ("" if dataset == EXPERIMENT else f"{dataset}-") + origin.get("dvc.exp_name", "workspace")
        tags = {
            **origin,
            "dataset": dataset,
            "data.sha256": checksum(folder, DATA_FILES),
            "git.commit": commit,
            "mlflow.source.git.commit": commit,
            "mlflow.source.name": "dvc.yaml",
            "mlflow.source.type": "PROJECT",
            "mlflow.user": os.environ.get("USER", ""),
            "mlflow.process": f"{socket.gethostname()}:{os.getpid()}",  # whoever doubts a RUNNING run can look
        }
        known = {tag: value for tag, value in tags.items() if value}
        created = store.client.create_run(store.experiment_id, started, known, name)
        run = cls(store.client, created.info.run_id, name, folder)
        run._name_awaits_model = "dvc.exp_name" not in origin
        run._params = [Param(*item) for item in flat(params).items()]
        return run

    def complete(self, *, with_evaluation: bool = False, with_figures: bool = False) -> None:
        """Log what is in the files and close the run as FINISHED; delete it, if that cannot be done."""
        from mlflow.exceptions import MlflowException

        try:
            self.log_training()
            if with_evaluation:
                self.log_evaluation()
            if with_figures:
                self.log_figures()
        except BaseException:
            with contextlib.suppress(MlflowException, OSError):
                self.client.delete_run(self.id)
            raise
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.id, status)

    def log_epochs(self, epochs: Iterable[Epoch]) -> None:
        """Add epochs to the curves, with the six digits that metrics/history.csv keeps."""
        if self._params:
            self.client.log_batch(self.id, params=self._params)
            self._params = []
        points, steps = [], set()
        for row, moment in epochs:
            step = int(row["epoch"])
            points += [(key, float(f"{value:.6g}"), moment, step) for key, value in row.items() if key != "epoch"]
            steps.add(step)
        self._log_points(points)
        self._epochs |= steps

    def log_training(self) -> None:
        """Log what the train stage wrote: epochs that are not in the curves, final figures, weights, model."""
        with (self.folder / HISTORY).open(newline="", encoding="utf-8") as stream:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
        self.log_epochs(Epoch(row, _now()) for row in rows if row["epoch"] not in self._epochs)
        model_sha256 = checksum(self.folder, MODEL_FILES)
        if self._name_awaits_model:
            self.name += f"-{model_sha256[:8]}"
            self.client.update_run(self.id, name=self.name)
        self._upload(TRAIN_FILES, "metrics")
        self._upload(MODEL_FILES, "weights")
        finals = _numbers(self.folder / TRAIN_METRICS)
        self._log_numbers({f"final_{key}" if key in rows[-1] else key: value for key, value in finals.items()})
        self._log_numbers(_weight_norms(self.folder / "models"))
        self._log_model()
        self.client.set_tag(self.id, "model.sha256", model_sha256)

    def log_evaluation(self) -> None:
        """Log what the evaluate stage wrote."""
        self._upload(EVALUATE_FILES, "metrics")
        models = self.client.get_run(self.id).outputs.model_outputs
        self._log_numbers(_numbers(self.folder / EVALUATE_METRICS), models[0].model_id if models else None)
        self.client.set_tag(self.id, "evaluate.sha256", checksum(self.folder, [EVALUATE_METRICS]))

    def log_figures(self) -> None:
        """Log what the plot stage drew: in no folder, since MLflow's page of compared runs shows just such files."""
        pictures = sorted(f"{FIGURES}/{path.name}" for path in (self.folder / FIGURES).glob("*.png"))
        self._upload(pictures)
        self.client.set_tag(self.id, "figures.sha256", checksum(self.folder, pictures))

    def _log_model(self) -> None:
        """Log the network as a model that MLflow can serve: a file of code and the network's two files, no pickle.

        The signature leaves the input open: MLflow would refuse integers where it says double, and named columns
        where it has none; serving.py checks what comes, and the example shows the columns.
        """
        import mlflow
        import numpy as np
        import pandas as pd
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        import model
        import serving

        source = self.folder / "src"
        if model.load_model(self.folder / "models").features == "ink":
            example = pd.DataFrame({"ink": [[np.reshape(EXAMPLE, (8, 2)).tolist()]]})
            told = "a column ink: the strokes of a digit, lists of points x, y"
        else:
            example = pd.DataFrame([EXAMPLE], columns=serving.COLUMNS)
            told = "raw pen coordinates, 0 to 100, as x1, y1, ..., x8, y8"
        probabilities = [ColSpec("double", f"p{digit}") for digit in range(10)]
        with mlflow.start_run(self.id):
            mlflow.pyfunc.log_model(
                name="network",
                python_model=str(source / "serving.py"),
                artifacts={"weights": str(self.folder / MODEL_FILES[0]), "network": str(self.folder / MODEL_FILES[1])},
                code_paths=[str(path) for path in sorted(imported(source / "serving.py"))],
                signature=ModelSignature(outputs=Schema([ColSpec("long", "digit"), *probabilities])),
                input_example=example,
                pip_requirements=[f"numpy=={version('numpy')}"],  # to find them out would take 3 s
                metadata={"input": told},
            )

    def _upload(self, files: Iterable[str], place: str | None = None) -> None:
        for file in files:
            if (self.folder / file).exists():
                self.client.log_artifact(self.id, str(self.folder / file), place)

    def _log_numbers(self, numbers: Mapping[str, float], model_id: str | None = None) -> None:
        """Log numbers that are no curve, for the page of the logged model too if it is given."""
        moment = self.client.get_run(self.id).info.start_time  # logged twice, it is still one point
        self._log_points([(key, value, moment, 0, model_id) for key, value in numbers.items()])

    def _log_points(self, points: list[Any]) -> None:
        """Log (key, value, time, step), with or without a model's id, in as few calls as MLflow allows."""
        from mlflow.entities import Metric

        metrics = [Metric(*point) for point in points]
        for first in range(0, len(metrics), METRICS_A_CALL):
            self.client.log_batch(self.id, metrics[first : first + METRICS_A_CALL])


# --- What the files say ----------------------------------------------------------------------------------------------


def read_params(folder: Path) -> dict[str, Any]:
    """A run's parameters as checked values; as they stand, if they belong to another version of the code."""
    try:
        return load_params(folder / "params.yaml").model_dump(mode="json")
    except ParamsError:
        return read_values(folder / "params.yaml")


def flat(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them: strings of 6000 characters at most, with dots in the names of nested ones."""
    strings: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            strings |= {f"{key}.{inner}": text for inner, text in flat(value).items()}
        else:
            strings[key] = (value if isinstance(value, str) else json.dumps(value))[:6000]
    return strings


def checksum(folder: Path, files: Iterable[str]) -> str:
    """The SHA-256 of the files' contents, one after the other; empty if one is missing."""
    paths = [folder / file for file in files]
    return stage.sha256_of(paths) if all(path.exists() for path in paths) else ""


def imported(script: Path) -> set[Path]:
    """The modules and packages beside a script that it imports, itself or through others."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                module, package = script.with_name(f"{name}.py"), script.with_name(name.partition(".")[0])
                if package.is_dir():
                    found.add(package)  # whole; ours import nothing of ours from outside
                elif module.is_file() and module not in found:
                    found.add(module)
                    waiting.append(module)
    return found


def _numbers(path: Path) -> dict[str, float]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _weight_norms(models: Path) -> dict[str, float]:
    """The Euclidean norm of each weight matrix; weights are what weight decay would shrink."""
    import numpy as np

    import model

    return {
        f"weight_norm_{layer.name}_{name}": float(np.linalg.norm(getattr(layer, name)))
        for layer, name, declared in model.load_model(models).network.parameters()
        if declared.decay
    }


def _git_commit(folder: Path) -> str:
    """The commit that is checked out; empty without git, as in a source archive."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.check_output(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 (the user's own)
            cwd=folder,
            stderr=subprocess.DEVNULL,
            text=True,
        ).strip()
    return ""


# --- The store -------------------------------------------------------------------------------------------------------


class Store(NamedTuple):
    """Where runs are kept: MLflow's client, and the id of the project's experiment."""

    client: "MlflowClient"
    experiment_id: str


def project_root() -> Path:
    """The main checkout, also for queued and temporary experiments, whose own folder is deleted afterwards."""
    if root := os.environ.get("DVC_ROOT"):
        return Path(root).resolve()
    above = (Path.cwd() / "params.yaml").parents
    return next((folder for folder in above if (folder / ".dvc").is_dir()), Path(__file__).resolve().parents[1])


def store_uri() -> str:
    """The store's address: MLFLOW_TRACKING_URI, or else a database in the main checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_root() / 'mlflow.db'}"


def store_shown() -> str:
    """The store's address as people may see it: without a password."""
    return re.sub(r"//[^/@]*@", "//", store_uri())


def open_store() -> Store:
    """Open the store and the project's experiment; make them where they are not there."""
    os.environ.update(ENVIRONMENT | os.environ)  # before the import, which looks at them
    import mlflow

    uri = store_uri()
    if uri.startswith("sqlite:///"):
        _prepare_database(Path(uri.removeprefix("sqlite:///")).resolve())
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    return Store(client, _experiment(client))


@contextlib.contextmanager
def faults_said() -> Iterator[None]:
    """For people's commands: a store that is away or refuses is a StageError, said in a line."""
    import mlflow.exceptions

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        first_line = str(error).partition("\n")[0]
        raise stage.StageError(f"MLflow at {store_shown()}: {stage.one_line(first_line, 200)}") from None


def _experiment(client: "MlflowClient") -> str:
    """The id of the project's experiment, after making, restoring or describing it where need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if not found:
        # A server has its own place for artifacts; a database would take a folder of the working directory.
        artifacts = None if store_uri().startswith("http") else str(project_root() / "mlartifacts")
        try:
            return client.create_experiment(EXPERIMENT, artifacts, tags=EXPERIMENT_TAGS)
        except MlflowException:
            found = client.get_experiment_by_name(EXPERIMENT)  # another process may have been faster
            if not found:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag, value in EXPERIMENT_TAGS.items():
        if found.tags.get(tag) != value:
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _prepare_database(path: Path) -> None:
    """Make the database, or bring an old one up to the installed MLflow, in one process at a time.

    MLflow breaks a new database when several processes use it first. So it is made under another name and put in place
    whole; SQLite's ``user_version`` then says which MLflow it is ready for, so that later processes need no lock.
    """
    ready = _mark(version("mlflow"))
    if _mark_in(path) == ready:
        return
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.db import upgrade

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        mark = _mark_in(path)
        if mark == ready:
            return
        if mark is None:
            unfinished = path.with_name(f"{path.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            upgrade.main([f"sqlite:///{unfinished}"], standalone_mode=False)
            unfinished.replace(path)
        else:
            with _connected(path) as database, _connected(path.with_name(f"{path.name}.backup")) as backup:
                database.backup(backup)
            upgrade.main([f"sqlite:///{path}"], standalone_mode=False)
        _experiment(MlflowClient(f"sqlite:///{path}"))
        with _connected(path) as database:
            database.execute(f"PRAGMA user_version = {ready}")


def _mark_in(path: Path) -> int | None:
    """The mark that ``_prepare_database`` has left; None where there is no database yet."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with _connected(path) as database:
            return int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.OperationalError as error:  # such as a lock that is held for longer than we wait
        raise stage.StageError(f"{path} cannot be read now, {error}") from None
    except sqlite3.DatabaseError as error:
        raise stage.StageError(f"{path} is damaged, {error}; move it away, and a new one is made") from None


def _mark(release: str) -> int:
    """A release's number: 3.17.2 is 3017002."""
    major, minor, patch = re.findall(r"\d+", release)[:3]
    return (int(major) * 1000 + int(minor)) * 1000 + int(patch)


def _connected(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS))


def main() -> None:
    """Be the side process of a stage."""
    if sys.argv[1:] != ["log"]:
        raise stage.StageError("this is what the stages call; `make ui` shows the runs")
    log()


if __name__ == "__main__":
    stage.run(main)
