"""How long `make draw` and `make serve` take to answer: POST /predict with one digit of ink, by 1, 8 and 64 clients.

Run by `make bench-serving`, which needs a trained network in models/. Clients are threads of one process on the same
machine; each opens a connection for every request, as the server wants it. Writes a Markdown table to the screen.
"""

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PORT = 5099
CLIENTS, REQUESTS = (1, 8, 64), 2000
BODY = json.dumps({"ink": [[[0, 95.5], [40, 0], [60, 30]], [[10, 50], [70, 50]]]})


def ask(path: str = "/predict", body: str | None = BODY) -> float:
    """Milliseconds until the answer is read; infinite if the server refuses."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return float("inf")
    finally:
        connection.close()
    return 1000 * (time.perf_counter() - begun) if answer.status == 200 else float("inf")


def main() -> None:
    server = subprocess.Popen([sys.executable, str(ROOT / "src"), "serve", "--port", str(PORT)])
    try:
        while np.isinf(ask("/ping", None)):
            if server.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.1)
        say = sys.stdout.write
        say("| clients | median, ms | 95 %, ms | answers a second | refused |\n| ---: | ---: | ---: | ---: | ---: |\n")
        for clients in CLIENTS:
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(lambda _: ask(), range(100)))
                begun = time.perf_counter()
                took = np.array(list(pool.map(lambda _: ask(), range(REQUESTS))))
                rate = REQUESTS / (time.perf_counter() - begun)
            median, slow = np.quantile(took, [0.5, 0.95], method="lower")
            say(f"| {clients} | {median:.1f} | {slow:.1f} | {rate:.0f} | {np.isinf(took).sum()} |\n")
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
