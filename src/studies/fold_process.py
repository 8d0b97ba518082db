"""The process that trains on a worker: requests come in by stdin, answers go out by stdout. Workers start it."""

import json
import os
import queue
import struct
import sys
import threading
import traceback
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from threadpoolctl import threadpool_limits

from neural_net.npz import npz_bytes, read_npz
from pipeline.errors import StageError
from pipeline.params import check_params

from .folds import Data, Job, Outcome, load_rows, read_data, train_fold, train_on_all

IDLE_SECONDS = 300.0  # without a request, after which it ends and frees its memory
read_once = cache(read_data)


def request_of(job: Job) -> bytes:
    """A job as bytes."""
    return json.dumps(job._replace(params=job.params.model_dump(mode="json"))._asdict()).encode()  # type: ignore[arg-type]


def answer_to(request: bytes) -> bytes:
    """Train; the outcome as bytes, or in words why there is none."""
    try:
        asked = json.loads(request)
        job = Job(**asked | {"params": check_params(asked["params"], "the request")})
        outcome = train_on_all(job.params, *load_rows(job.params)) if job.on_test else train_fold(job, _data(job))
    except StageError as error:
        return _packed({"failed": str(error)})
    except Exception:  # noqa: BLE001 (of a part of the user's, or a mistake of ours: the client prints it)
        return _packed({"broken": traceback.format_exc()})
    return answer_of(outcome)


def answer_of(outcome: Outcome) -> bytes:
    """An outcome as bytes."""
    said = {"measures": outcome.measures, "seconds": outcome.seconds}
    return _packed(said, predicted=outcome.predicted, train_loss=outcome.train_loss)


def outcome_of(answer: bytes) -> Outcome:
    """The outcome in an answer.

    Raises:
        StageError: if the training has failed.
        BrokenCodeError: if the code has a mistake.
    """
    arrays = read_npz(answer)
    said = json.loads(arrays["said"].tobytes())
    if "failed" in said:
        raise StageError(said["failed"])
    if "broken" in said:
        raise BrokenCodeError(said["broken"])
    return Outcome(arrays["predicted"], said["measures"], arrays["train_loss"], said["seconds"])


class BrokenCodeError(Exception):
    """The code of a training raised an error that is no fault of its parameters; the message is its traceback."""


def _packed(said: dict[str, Any], **arrays: Any) -> bytes:
    return npz_bytes({"said": np.frombuffer(json.dumps(said).encode(), np.uint8), **arrays})


def _data(job: Job) -> Data:
    return read_once(job.params.features)


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a training prints is no answer
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    with threadpool_limits(1):
        while True:
            try:
                request = waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                return
            answer = answer_to(request)
            answers.write(struct.pack(">Q", len(answer)) + answer)
            answers.flush()


def _listen(requests: BinaryIO, waiting: "queue.SimpleQueue[bytes]") -> None:
    """Pass requests on. When the worker is gone, nobody waits for the training any more, and the process ends."""
    while len(head := requests.read(8)) == 8:
        waiting.put(requests.read(struct.unpack(">Q", head)[0]))
    os._exit(0)
