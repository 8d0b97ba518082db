"""The mutations of lies.py, steered by the fuzzer atheris, which looks for inputs that reach new code: `make fuzz`.

libFuzzer makes bytes from a ``SEED``, a mutation takes each of its choices from them, and atheris tells it which lines
of this project and of PyYAML the input has reached. What got further than the inputs before it is changed further.
Chance alone seldom does that. Each target has a process of its own and is fed with as many inputs that differ from
each other as in lies.py. A fault is told with its bytes, and `python tests/fuzz.py TARGET BYTES` gives it again.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / ".venv-fuzz"), str(ROOT / "src"), str(ROOT / "tests")]

import atheris  # noqa: E402

OURS = [path.stem for path in (ROOT / "src").glob("*")]
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=[*OURS, "yaml"]):
    import lies  # which imports them

SEED = 1
LONGEST = 400  # bytes; what a mutation draws beyond them follows from them
SECONDS = 3600  # for one target


def fuzz(name: str, inputs: int) -> None:
    """Feed one target, write what became of it to stdout as json, and end the process."""
    told, sys.stdout = sys.stdout, io.StringIO()
    seen: list[str] = []
    lies.watch(Path.cwd(), seen)
    attack = lies.Attack(name, seen)
    before: set[int] = set()

    def feed(data: bytes) -> None:
        given = lies.make_input(name, attack.seeds, lies.Choices(data))
        if (known := hash(repr(given))) in before:
            return
        before.add(known)
        attack.feed(given, data.hex())
        if attack.inputs == inputs:
            json.dump(attack.end(), told)
            told.flush()
            os._exit(0)  # libFuzzer itself would go on, or end the process as it likes

    Path("first").mkdir()
    for number in range(100):
        Path(f"first/{number}").write_bytes(lies.drawn(name, number).randbytes(LONGEST))
    limits = [f"-seed={SEED}", f"-max_len={LONGEST}", "-len_control=0", "-rss_limit_mb=0", f"-timeout={SECONDS}"]
    atheris.Setup([sys.argv[0], *limits, "first"], feed)
    atheris.Fuzz()


def fuzz_alone(name: str, inputs: int) -> lies.Tally:
    """Feed one target in a process of its own, in a folder of its own; a process that hangs or dies is a fault."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", errors="replace") as said:
        command = [sys.executable, __file__, name, f"--inputs={inputs}"]
        again = os.environ | {"PYTHONHASHSEED": "0"}  # else what is reached could differ by the order of a set
        try:
            done = subprocess.run(command, cwd=folder, env=again, stdout=subprocess.PIPE, stderr=said, timeout=SECONDS)
            return lies.Tally(*json.loads(done.stdout))
        except (subprocess.TimeoutExpired, ValueError):
            said.seek(0)
            return lies.Tally(inputs, 0, 0, [f"the process hung or died: {said.read()[-2000:]}"], 0.0, 0)


def main() -> None:
    name, choice = (*sys.argv[1:], "", "")[:2]
    if choice.startswith("--inputs="):
        fuzz(name, int(choice.removeprefix("--inputs=")))
    elif choice:
        lies.show(name, lies.Choices(bytes.fromhex(choice)))
    else:
        lies.report([name] if name else list(lies.TARGETS), fuzz_alone)


if __name__ == "__main__":
    main()
