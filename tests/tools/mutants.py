"""Count how many small mistakes in the first ring the tests notice.

    python tests/tools/mutants.py before.json                       300 mutants of this checkout
    python tests/tools/mutants.py after.json --like before.json     the same mutants, also in code that was moved

A mutant is the code with one change: an operator, a constant, a name, a return value or a statement. A seed chooses the
mutants. The tests run in a copy of the checkout. They first run once without a mutant, which shows the functions that
each test calls, also in the processes that it starts. Then each mutant runs the tests that call its function, until one
fails. Slow tests and the tests of commands and MLflow are left out. Tests that start stages run only for functions that
no other test calls. The outcome of each mutant is written at once. To continue after a stop, give the same command.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RING = re.compile(
    r"src/((fetch|preprocess|split|train|evaluate|plot|params|strokes|model|calibration|pendigits|sources|lzw|synthetic|"
    r"arrays|utils|figures|diagnostics_figures)|(neural_net|pen|data_sets|pipeline|figures)/\w+)\.py"
)
LEFT_OUT = re.compile(
    "experiments|torture|page|tracking|serve|_ui|doctor|test_run|lies|sync|compare|champion|report|benchmark|debugging|"
    "no_code|docs|upgrad|commands/|tools/|web/"
)
LAST = re.compile("end_to_end|test_pipeline|checkpoint|starting|stage|restore|mend|runtime/")  # start many processes
PRELOADED = [
    "numpy", "scipy.special", "pandas", "sklearn.linear_model", "sklearn.neighbors", "sklearn.neural_network",
    "sklearn.pipeline", "sklearn.utils.estimator_checks", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "pydantic", "yaml", "PIL.Image", "tqdm", "threadpoolctl", "psutil", "filelock", "pooch", "hypothesis.extra.numpy",
]  # fmt: skip
OPTIONS = (
    "-q -m 'not slow' -p no:cacheprovider --disable-plugin-autoload -p pytest_timeout"
    " -p _hypothesis_pytestplugin -W ignore::pytest.PytestAssertRewriteWarning"
)
SWAPPED = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.And: [ast.Or], ast.Or: [ast.And],
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}  # fmt: skip
OTHER = {"min": "max", "minimum": "maximum", "argmin": "argmax", "floor": "ceil", "any": "all", "zeros": "ones"}
OTHER |= {"sin": "cos", "sum": "mean"} | {value: key for key, value in OTHER.items()} | {"cos": "sin", "mean": "sum"}
AROUND = (ast.expr, ast.keyword, ast.Assign, ast.AnnAssign, ast.AugAssign)  # show which constant is meant
SAYING = {"say", "print", "warn", "debug", "info", "warning"}

Mutant = dict[str, Any]
SEEN: set[int] = set()  # functions that are in the log for the running test


def changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The changes of a node: the kind of change, and the text that replaces the node."""

    def with_(**fields: object) -> str:
        vars(new := copy.copy(node)).update(fields)
        return f"({ast.unparse(new)})"

    match node:
        case ast.BinOp(ast.Constant(str()) | ast.JoinedStr()) | ast.BinOp(_, _, ast.Constant(str()) | ast.JoinedStr()):
            return
        case ast.BinOp() | ast.BoolOp():
            yield from ((new.__name__, with_(op=new())) for new in SWAPPED.get(type(node.op), ()))
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for new in SWAPPED[type(op)]:
                    yield f"{i} {new.__name__}", with_(ops=[*node.ops[:i], new(), *node.ops[i + 1 :]])
        case ast.Constant(bool()):
            yield "constant", str(not node.value)
        case ast.Constant(int()):
            yield "constant", str(node.value + 1)
        case ast.Constant(float()):
            yield "constant", str(node.value * 1.5 or 0.5)
        case ast.UnaryOp(ast.Not()) | ast.UnaryOp(ast.USub(), ast.Name() | ast.Attribute() | ast.Call() | ast.BinOp()):
            yield type(node.op).__name__, f"({ast.unparse(node.operand)})"
        case ast.Name("min" | "max" | "any" | "all", ast.Load()):
            yield "name", OTHER[node.id]
        case ast.Attribute(_, name, ast.Load()) if name in OTHER:
            yield "name", with_(attr=OTHER[name])
        case ast.Return(ast.expr()) if ast.unparse(node) != "return None":
            yield "return", "return None"
        case ast.AugAssign() | ast.Expr(ast.Call()):
            yield "deleted", "pass"


def mutants_of(source: bytes, file: str) -> list[Mutant]:
    """All mutants of a file. Messages, type hints and decorators stay as they are."""
    starts, found, times = [0, *(i + 1 for i, byte in enumerate(source) if byte == 10)], [], defaultdict[Any, int](int)

    def visit(node: Any, parent: ast.AST, names: tuple[str, ...], inside: bool) -> None:
        match node:
            case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Assign([ast.Name("__all__")]):
                return
            case ast.If(test) if re.search("TYPE_CHECKING|__name__", ast.unparse(test)):
                return
            case ast.Expr(ast.Call(ast.Name(name) | ast.Attribute(_, name))) if name in SAYING:
                return
        for kind, text in changes(node):
            code = ast.unparse(parent if isinstance(node, ast.Constant) and isinstance(parent, AROUND) else node)
            mutant = {"function": ".".join(names) or "<module>", "kind": kind, "code": code}
            ends = [starts[line - 1] for line in (node.lineno, node.end_lineno)]
            at = [ends[0] + node.col_offset, ends[1] + node.end_col_offset, text]
            times[key := tuple(mutant.values())] += 1
            mutant |= {"ordinal": times[key], "file": file, "line": node.lineno, "at": at, "inside": inside}
            found.append(mutant)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names, inside = (*names, node.name), not isinstance(node, ast.ClassDef)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and field not in ("annotation", "returns", "decorator_list"):
                    visit(child, node, names, inside)

    visit(tree := ast.parse(source), tree, (), False)
    return found


def find(old: Mutant, candidates: list[Mutant]) -> Mutant | None:
    """The same mutant in other code: in the function of that name, or else wherever this code occurs once."""

    def place(one: Mutant) -> tuple[str, ...]:
        return one["function"].split(".")[-1], one["function"], Path(one["file"]).stem

    same = [one for one in candidates if all(one[key] == old[key] for key in ("kind", "code", "ordinal"))]
    least = 0 if len(old["code"]) > 15 else 2 if old["function"].endswith("__") else 1
    for closeness in range(3, least - 1, -1):
        if len(found := [one for one in same if place(one)[:closeness] == place(old)[:closeness]]) == 1:
            return found[0]
    return None


def draw(candidates: list[Mutant], number: int, seed: int, taken: list[Mutant]) -> list[Mutant]:
    """Draw mutants, at most one on a line, from lines without a mutant."""
    mixed = random.Random(seed).sample(candidates, len(candidates))
    lines = {(one["file"], one["line"]): one for one in mixed}
    used = {(one["file"], one["line"]) for one in taken}
    return [one for line, one in lines.items() if line not in used][:number]


def trace(folder: str, log: str) -> None:
    """Log the functions of a folder that the running test or fixture calls."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def look(frame: Any, event: str, _: object) -> None:
        if event == "call" and id(code := frame.f_code) not in SEEN:
            SEEN.add(id(code))
            if code.co_filename.startswith(folder):
                name = re.sub(r"(^|\.)<(?!locals).*", "", code.co_qualname).replace(".<locals>", "")
                line = [os.environ.get("MUTANTS_RUNNING"), code.co_filename[len(folder) :], name]
                os.write(out, f"{json.dumps(line)}\n".encode())

    threading.setprofile(look)
    sys.setprofile(look)


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Name the running test or fixture, for this process and those that it starts."""
    before = os.environ.get("MUTANTS_RUNNING", "")
    os.environ["MUTANTS_RUNNING"] = name
    SEEN.clear()
    yield
    os.environ["MUTANTS_RUNNING"] = before
    SEEN.clear()


class Plugin:
    """Makes pytest run the chosen tests in order, and records seconds, fixtures and failures."""

    def __init__(self, chosen: list[str] | None) -> None:
        self.chosen, self.failed = chosen, list[str]()
        self.seconds, self.fixtures = defaultdict[str, float](float), dict[str, list[str]]()

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings(), phases=[Phase.explicit, Phase.generate])  # no shrinking
        settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            several = [one for found in item._fixtureinfo.name2fixturedefs.values() for one in found]
            self.fixtures[item.nodeid] = [f"{one.baseid} {one.argname}" for one in several]
        if self.chosen is not None:
            by_name = {item.nodeid: item for item in items}
            items[:] = [by_name[name] for name in self.chosen if name in by_name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        with running(item.nodeid):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        shared = running(f"{fixturedef.baseid} {fixturedef.argname}")
        with contextlib.nullcontext() if fixturedef.scope == "function" else shared:
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        self.failed += [report.nodeid] if report.failed else []


class Checkout:
    """A copy of a checkout. Each run of tests forks this process, in which the libraries are loaded."""

    def __init__(self, original: Path, work: Path) -> None:
        self.work, self.folder, self.writes = work, work / "checkout", 0
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=original, text=True)
        for name in [name for name in listed.splitlines() if (original / name).is_file()]:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original / name, self.folder / name)
        if (data := original.parent / "shared/pendigits").is_dir():
            shutil.copytree(data, work / "shared/pendigits")
        paths = {str(path.relative_to(self.folder)): path for path in sorted(self.folder.glob("src/**/*.py"))}
        self.sources = {file: path.read_bytes() for file, path in paths.items() if RING.fullmatch(file)}
        self.mutants = [one for file, source in self.sources.items() for one in mutants_of(source, file)]
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(work / "compiled")
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(work / "compiled")}
        for name in PRELOADED:
            importlib.import_module(name)

    def measure(self, kept: Path) -> None:
        """Find out which tests call which function and how long they take, or read the file that says so."""
        if not kept.exists():
            files = [str(path.relative_to(self.folder)) for path in sorted(self.folder.glob("tests/**/test_*.py"))]
            files = [file for file in files if not LEFT_OUT.search(file)]
            _, seconds, failed, fixtures = self.test(files, log=self.work / "calls.txt")
            if failed:  # perhaps only because of the log
                failed = self.test(files, failed)[2]
            print(f"{len(seconds)} tests in {sum(seconds.values()):.0f} s; fail unchanged and are not used: {failed}")
            users = defaultdict[str, set[str]](set)  # by test or fixture; a test uses itself
            for test in seconds.keys() - set(failed):
                for name in (test, *fixtures.get(test, ())):
                    users[name].add(test)
            callers = defaultdict[str, set[str]](set)
            for line in set((self.work / "calls.txt").read_text().splitlines()):
                name, file, function = json.loads(line)
                callers[f"src/{file} {function}"] |= users[name]
            kept.write_text(json.dumps([seconds, {key: sorted(tests) for key, tests in callers.items()}]))
        self.seconds, self.callers = json.loads(kept.read_text())

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that call the mutant's function, or any function of its file if the line is in none."""
        file = mutant["file"]
        chosen = set(self.callers.get(f"{file} {mutant['function']}", ())) if mutant["inside"] else set()
        chosen = chosen or set().union(*(tests for key, tests in self.callers.items() if key.split()[0] == file))
        chosen = {test for test in chosen if not LAST.search(test.partition("::")[0])} or chosen
        total = defaultdict[str, float](float)
        for test in chosen:
            total[test.partition("::")[0]] += self.seconds[test]
        return sorted(chosen, key=lambda test: (total[file := test.partition("::")[0]], file, self.seconds[test], test))

    def outcome(self, mutant: Mutant) -> str:
        """Run the tests of a mutant."""
        source, (begin, end, text) = self.sources[mutant["file"]], mutant["at"]
        if not (chosen := self.tests_of(mutant)):
            return "survived: no test calls it"
        self.write(mutant["file"], source[:begin] + text.encode() + source[end:])
        files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
        taken = [self.seconds[test] for test in chosen]
        answer = self.test(["-x", f"--timeout={30 + 10 * max(taken)}", *files], chosen, seconds=60 + 4 * sum(taken))
        self.write(mutant["file"], source)
        if not answer:
            return "killed: it takes too long or ends the process"
        code, seconds, failed, _ = answer
        return f"survived {len(seconds)} tests" if code in (0, 5) else f"killed by {(failed or ['import'])[0]}"

    def write(self, file: str, source: bytes) -> None:
        """Write a file with a new time, so that Python compiles it again."""
        (self.folder / file).write_bytes(source)
        self.writes += 1
        os.utime(self.folder / file, (10**9 + self.writes,) * 2)

    def test(self, options: list[str], chosen: Any = None, seconds: float = 3600, log: Path | None = None) -> Any:
        """Run tests in a fork: the exit code and the plugin's records, or None if the fork crashed or took too long."""
        answer = self.work / "answer.json"
        answer.unlink(missing_ok=True)
        child = multiprocessing.get_context("fork").Process(target=self.run_pytest, args=(options, chosen, answer, log))
        child.start()
        child.join(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.ident or 0, signal.SIGKILL)  # also what it has started
        child.join()
        return json.loads(answer.read_text()) if answer.exists() else None

    def run_pytest(self, options: list[str], chosen: list[str] | None, answer: Path, log: Path | None) -> None:
        """Run tests in this process, the fork, and write the answer."""
        os.setsid()
        os.chdir(self.folder)
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)
        said = os.open(self.work / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, to in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
            os.dup2(to, stream)
        here = sys.path.pop(0)  # else tests could import what stands beside this file
        if log:
            call = f"mutants.trace({f'{self.folder}/src/'!r}, {str(log)!r})"
            hook = f"import sys; sys.path.append({here!r}); import mutants; sys.path.pop(); {call}"
            (self.work / "sitecustomize.py").write_text(hook)  # Python imports it when it starts
            os.environ["PYTHONPATH"] = str(self.work)
            trace(f"{self.folder}/src/", str(log))
        plugin = Plugin(chosen)
        code = int(
            pytest.main([*shlex.split(OPTIONS), f"--basetemp={self.work}/temporary", *options], plugins=[plugin])
        )
        answer.write_text(json.dumps([code, plugin.seconds, plugin.failed, plugin.fixtures]))


def report(mutants: list[Mutant]) -> None:
    """Print the survivors and how many mutants were killed, now and before."""
    alive = [one for one in mutants if one["outcome"].startswith("survived")]
    for one in sorted(alive, key=lambda one: (one["file"], one["line"])):
        was = f" (was {one['before']})" if "before" in one else ""
        print(f"{one['file']}:{one['line']} {one['function']}: {one['code']} -> {one['at'][2]}: {one['outcome']}{was}")
    before = [one["before"].startswith("killed") for one in mutants if "before" in one]
    now = [one["outcome"].startswith("killed") for one in mutants if "before" in one]
    print(f"{len(mutants) - len(alive)} of {len(mutants)} killed")
    print(f"of {len(before)} that were there before, {sum(before)} were killed before and {sum(now)} are now")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="json file with the mutants and their outcomes")
    parser.add_argument("--like", type=Path, help="json file of another checkout: use its mutants")
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="a checkout; default: this one")
    args = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as work:
        checkout = Checkout(args.tree.resolve(), Path(work).resolve())
        left = checkout.mutants.copy()
        mutants: list[Mutant] = json.loads(args.out.read_text()) if args.out.exists() else []
        for old in json.loads(args.like.read_text()) if args.like and not mutants else []:
            if new := find(old, left):
                left.remove(new)
                mutants.append(new | {"before": old["outcome"]})
            else:
                print(f"gone: {old['file']} {old['function']}: {old['code']} -> {old['at'][2]} (was {old['outcome']})")
        mutants += draw(checkout.mutants, args.number - len(mutants), args.seed, mutants)
        if any({key: one[key] for key in checkout.mutants[0]} not in checkout.mutants for one in mutants):
            parser.error(f"{args.out} is of other code than {args.tree}")
        checkout.measure(args.out.with_suffix(".calls"))
        for number, mutant in enumerate(mutants, 1):
            if "outcome" not in mutant:
                started = time.monotonic()
                mutant["outcome"] = checkout.outcome(mutant)
                mutant["seconds"] = round(time.monotonic() - started, 1)
                args.out.write_text(json.dumps(mutants, indent=1))
                place = f"{mutant['file']}:{mutant['line']}"
                print(f"{number} ({mutant['seconds']} s): {place} {mutant['outcome']}", flush=True)
    report(mutants)


if __name__ == "__main__":
    main()
