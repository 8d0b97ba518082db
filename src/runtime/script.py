"""Start and end of a script: an error that the user can fix becomes one line on stderr and an exit code."""

import os
import signal
import sys
from collections.abc import Callable

from pipeline.errors import FailedTrainingError, ParamsError, StageError

from .files import DISK_FAULTS
from .git import leave_hook
from .signals import handle_stops, ignore_stops


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main`` and end the process.

    Exit codes: 0 for success; 1 for a fault of the data, the disk or a store; 2 for a fault of params.yaml; 130 after
    Ctrl-C, SIGTERM or SIGHUP. If `dvc exp run` set values that are invalid or make the training fail, params.yaml is
    restored first.
    """
    leave_hook()
    try:
        with handle_stops(signal.default_int_handler):  # that it is a KeyboardInterrupt lets the script end in order
            main()
            ignore_stops()  # all is done: to end by a stop now would make it undone for DVC
    except (ParamsError, FailedTrainingError) as error:
        from . import experiment  # here: it loads pydantic, and `make run` starts DVC's check before that

        note = experiment.undo_params()
        _fail(f"{error}\n{note}" if note else str(error), 2 if isinstance(error, ParamsError) else 1)
    except StageError as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` has
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (until the process ends)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        _fail(f"{error.filename or 'a file'}: {DISK_FAULTS[error.errno]}", 1)
    except KeyboardInterrupt as stopped:
        _fail(str(stopped) or "stopped; run the same command again to continue", 130)


def _fail(message: str, code: int) -> None:
    from utils import printable  # here: it loads NumPy

    sys.stderr.write("\n".join(map(printable, message.rstrip().split("\n"))) + "\n")
    sys.exit(code)


def say(text: str) -> None:
    """Write a line for the user to the terminal or the log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
