"""`make ui` as a process that serves the store of $DVC_ROOT."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def ui_at_work(folder: Path, stop: int = signal.SIGTERM) -> Iterator[str]:
    """Serve from ``folder`` at a free port; yields the address that is printed, once it answers. Ends by a signal."""
    port = free_port()
    code = f"from commands import ui; from runtime import script; ui.FIRST_PORT = {port}; script.run(ui.main)"
    with (folder / "said").open("w") as said:
        command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT / "src")}
        how: Any = {"stdout": said, "stderr": said, "start_new_session": True}
        server = subprocess.Popen(command, cwd=folder, env=environment, **how)
    try:
        wait_for(lambda: asked(f"http://127.0.0.1:{port}/health")[0] == 200)
        (line,) = (folder / "said").read_text().splitlines()
        yield re.findall(r"http://[^\s;]+", line)[0]
    finally:
        os.killpg(server.pid, stop)
        server.wait()
        assert "Traceback" not in (folder / "said").read_text()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def asked(
    url: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, bytes]:
    """The status of a server's answer, and the answer; 0 if there is none."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | (headers or {}), method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
