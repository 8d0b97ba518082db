"""The search space of a sweep: a YAML file with names of params.yaml, and for each a range or a list of values.

lr: {low: 0.0005, high: 0.01, log: true}
augment:
  bend: {low: 0, high: 0.2, step: 0.05}
activation: [gelu, relu, silu]
"""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.configure import configure
from pipeline.errors import ParamsError
from pipeline.params import BLOCKS, KEYS, Faults, Number, Params, read_values
from utils import one_line

from .cross_validate import with_values

if TYPE_CHECKING:
    from optuna import Trial

DIGITS = 4  # of a number that is drawn, so that a command that sets it is short
WITHOUT_INFLUENCE = {  # on cross-validation
    *("dataset", "synthetic_rows_per_writer", "split_by", "validation_writers", "validation_fraction", "split_seed"),
    *("extra_ink", "early_stopping", "refit", "seed", "diagnostics", "ece_bins", "mistakes_shown"),
}


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included: of any size, on a log scale, or in steps from ``low`` on."""

    model_config = ConfigDict(extra="forbid")

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    _whole: bool = False  # whether the parameter takes whole numbers only

    def fault(self) -> str:
        """What is wrong with it as a whole, in words; empty if nothing is."""
        if self.low >= self.high:
            return f"low must be less than high, got {self.low:g} and {self.high:g}"
        if self.log and self.low <= 0:
            return f"low must be greater than 0 on a log scale, got {self.low:g}"
        if self.log and self.step is not None:
            return "log and step exclude each other"
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            return f"step must be greater than 0 and at most high - low, got {self.step:g}"
        return ""

    def draw(self, trial: "Trial", name: str) -> Any:
        """The parameter's value, of at most ``DIGITS`` digits."""
        high = self.high if self.step is None else self.low + self.step * math.floor(self._steps + 1e-9)
        if self._whole:
            return trial.suggest_int(name, int(self.low), int(high), log=self.log, step=int(self.step or 1))
        drawn = trial.suggest_float(name, self.low, high, log=self.log, step=self.step)
        return min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    @property
    def _steps(self) -> float:
        return (self.high - self.low) / (self.step or 1)


class Choice(BaseModel):
    """One of several values."""

    model_config = ConfigDict(frozen=True)

    values: dict[str, Any]  # by their text, which a database stores

    def draw(self, trial: "Trial", name: str) -> Any:
        return self.values[trial.suggest_categorical(name, list(self.values))]


class Space(BaseModel):
    """Names of parameters, as `dvc exp run -S` takes them, with what each may be."""

    model_config = ConfigDict(frozen=True)

    dimensions: dict[str, Range | Choice]

    def draw(self, trial: "Trial") -> dict[str, Any]:
        """A value for each name. The study's sampler draws what its database does not have of the trial yet."""
        return {name: dimension.draw(trial, name) for name, dimension in self.dimensions.items()}


def load_space(path: Path, base: Params) -> Space:
    """Read and check a search space.

    Args:
        base: the parameters that the space does not name.

    Raises:
        ParamsError: with one line for each fault, all faults at once.
    """
    if not path.is_file():
        raise ParamsError(f"{path} does not exist; copy docs/sweep.yaml, and name it: make sweep SPACE=...")
    faults, found = _SpaceFaults(path.name), {}
    for name, given in _named(read_values(path)):
        if name not in KEYS or name in WITHOUT_INFLUENCE or name.startswith("own."):
            near = difflib.get_close_matches(name, sorted({*KEYS} - WITHOUT_INFLUENCE), n=1)
            reason = "has no influence on cross-validation" if name in KEYS else "is not a parameter"
            hint = f"; did you mean {near[0]}?" if near and name not in KEYS else ""
            faults.add(f"{one_line(name, 60)} {reason}{hint}")
        elif (dimension := _dimension(name, given, base, faults)) is not None:
            found[name] = dimension
    faults.refuse()
    if not found:
        raise ParamsError(f"{path.name} names no parameter")
    return Space(dimensions=found)


class _SpaceFaults(Faults):
    """Faults of a space, in lines that begin with the file's name."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def add(self, text: str) -> None:
        self.lines.append(one_line(f"{self.file}: {text}"))


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names with what the file gives for each: those in a block have its name and a dot before their own."""
    for key, given in values.items():
        if key in BLOCKS and isinstance(given, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in given.items())
        else:
            yield key, given


def _dimension(name: str, given: Any, base: Params, faults: _SpaceFaults) -> Range | Choice | None:
    if isinstance(given, list):
        return _choice(name, given, base, faults)
    if not isinstance(given, Mapping):
        faults.add(f"{name} must be a range, {{low: ..., high: ...}}, or a list of values, got {given!r}")
        return None
    try:
        made = TypeAdapter(Range).validate_python(dict(given))
    except ValidationError as error:
        for found in error.errors():
            key = f"{name}.{'.'.join(map(str, found['loc']))}"
            allowed = (
                str(found["msg"]).replace("Input should be", "must be").replace("a valid ", "a ")
                + f", got {found['input']!r}"
            )
            told = {"missing": "is missing", "extra_forbidden": "is not known; a range has low, high, log and step"}
            faults.add(f"{key} {told.get(found['type'], allowed)}")
        return None
    if made.fault():
        faults.add(f"{name}: {made.fault()}")
        return None
    ends = [given["low"], given["high"]]
    wrong = [fault for end in ends if (fault := _fault_of(name, _plain(end), base, faults.file))]
    if wrong:
        faults.lines += [fault for fault in wrong if fault not in faults.lines]
        return None
    numbers = [made.low, made.high, made.low if made.step is None else made.step]
    if all(number == int(number) for number in numbers):
        between = made.low + 0.5 * min(1, made.high - made.low)
        made._whole = bool(_fault_of(name, between, base, faults.file))
    return made


def _plain(number: Any) -> Any:
    """A whole number as one, which a parameter may need to be; others stay."""
    if isinstance(number, str):
        number = float(number)
    return int(number) if number == int(number) else number


def _choice(name: str, given: list[Any], base: Params, faults: _SpaceFaults) -> Choice | None:
    by_text = {value if isinstance(value, str) else json.dumps(value, default=str): value for value in given}
    if len(given) < 2 or len(by_text) < len(given):
        faults.add(f"{name} must have two values or more, all different, got {json.dumps(given, default=str)}")
        return None
    wrong = [fault for value in given if (fault := _fault_of(name, value, base, faults.file))]
    faults.lines += [line for fault in wrong for line in fault.splitlines()]
    return None if wrong else Choice(values=by_text)


def _fault_of(name: str, value: Any, base: Params, file: str) -> str:
    """Why the parameter cannot have this value, in a line; empty if it can."""
    try:
        changed = with_values(base, {name: value}, file)
        if changed.dataset != "own":  # of a table, the number of its columns decides whether layers fit
            configure(changed)
    except ParamsError as error:
        return str(error).replace("params.yaml: ", f"{file}: ")
    return ""
