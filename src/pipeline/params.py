"""params.yaml as checked, typed values."""

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pen.augmentation import Augmentation
from utils import one_line

from .errors import ParamsError
from .paths import PARAMS_FILE
from .tabular.options import FOLDER, OwnTable, is_own

OLD_AUGMENT = "augment_"  # how version 0.1 began the keys that are in the block augment now
MOST_BYTES, MOST_LEVELS = 50_000, 100  # of the file
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError)  # what PyYAML may raise


def _number(value: Any) -> Any:
    """Read '1e-05' as a number: PyYAML, which follows YAML 1.1, reads it as a string because it has no point."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _numbers_inside(value: Any) -> Any:
    """The same for a part's options, however deep."""
    if isinstance(value, dict):
        return {key: _numbers_inside(inner) for key, inner in value.items()}
    return [_numbers_inside(inner) for inner in value] if isinstance(value, list) else _number(value)


def _normalization(value: Any) -> Any:
    """The own name of a normalization, also from ``BatchNorm`` or ``layernorm``; other values stay."""
    names = {name.replace("_", ""): name for name in ("none", "batch_norm", "layer_norm")}
    return names.get(value.lower().replace("_", ""), value) if isinstance(value, str) else value


def _own_file(path: str) -> str:
    if not is_own(path):
        raise ValueError(f"must be a file in {FOLDER}, which DVC watches; copy yours there, got {_shown(path)}")
    return path


Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_number)]
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Spec = Annotated[
    str | dict[str, dict[str, Any] | None],  # a part's name, or one name with its options
    BeforeValidator(_numbers_inside),
]
Width = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Params(BaseModel):
    """One run of the pipeline: the keys of params.yaml, each with its type and its range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Literal["pendigits", "synthetic", "own"]
    own: OwnTable | None
    synthetic_rows_per_writer: Annotated[int, Field(strict=True, ge=10, le=10_000)]

    extra_ink: Annotated[str, AfterValidator(_own_file)] | None
    features: Literal["table", "ink"]

    split_by: Literal["writer", "group", "random"]
    validation_writers: Annotated[int, Field(strict=True, ge=1, le=29)]  # of 30
    validation_fraction: Annotated[Number, Field(gt=0, lt=1)]
    split_seed: Seed

    augment: Annotated[Augmentation, BeforeValidator(_numbers_inside)]

    hidden_layers: list[Width | Spec]
    activation: Spec | list[Spec]
    init: str
    normalization: Annotated[Literal["none", "batch_norm", "layer_norm"], BeforeValidator(_normalization)]
    dropout: Annotated[Number, Field(ge=0, lt=1)]
    residual: Annotated[bool, Field(strict=True)]

    loss: Spec
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)]
    optimizer: Spec
    lr: Annotated[Number, Field(gt=0)]
    weight_decay: Annotated[Number, Field(ge=0)]
    clip_norm: Annotated[Number, Field(gt=0)] | None
    schedule: Spec
    warmup_epochs: Annotated[Number, Field(ge=0)]
    epochs: Count
    batch_size: Count | Literal["full"]
    early_stopping: Count | None
    weight_average: Annotated[Number, Field(ge=0, lt=1)] | None
    refit: Annotated[bool, Field(strict=True)]
    seed: Seed
    diagnostics: Annotated[bool, Field(strict=True)]

    ece_bins: Annotated[int, Field(strict=True, ge=1, le=1000)]
    mistakes_shown: Annotated[int, Field(strict=True, ge=1, le=200)]

    @property
    def name(self) -> str:
        """What results and MLflow call the data set."""
        return self.own.name if self.dataset == "own" and self.own else self.dataset


class Faults:
    """Collects all faults that the checks find in params.yaml, so that they are reported together."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def noted(self, prefix: str = "") -> Iterator[None]:
        """Record a ValueError that is raised in the block, and go on."""
        try:
            yield
        except ParamsError as error:  # already in lines
            self.lines += str(error).splitlines()
        except ValueError as error:
            self.lines.append(one_line(f"{PARAMS_FILE}: {prefix}{error}"))

    def refuse(self) -> None:
        """Raise ParamsError if a fault was recorded."""
        if self.lines:
            raise ParamsError("\n".join(dict.fromkeys(self.lines)))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also rejects aliases, keys that are given twice, and very deep nesting.

    With aliases, a file of one kilobyte could describe more data than fits into memory. For nested brackets, PyYAML's
    time grows with the square of their number.
    """

    def fetch_more_tokens(self) -> None:
        if self.flow_level + len(self.indents) > MOST_LEVELS:
            raise ParamsError(f"nothing may be nested more than {MOST_LEVELS} deep")
        super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not supported; write the value out", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key_node.value in seen:
                raise ParamsError(f"{_shown(key_node.value, quote=False)} is given twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check a params.yaml.

    Raises:
        ParamsError: with one line for each fault, all faults at once, each naming the file, the key, what is allowed
            and the value found.
    """
    return check_params(read_values(path), path.name)


def check_params(values: dict[str, Any], file: str = PARAMS_FILE.name) -> Params:
    """Check values that were read already; errors as in ``load_params``."""
    for key in values:
        if str(key).startswith(OLD_AUGMENT):  # of version 0.1
            name = key.removeprefix(OLD_AUGMENT)
            raise ParamsError(f"{file}: {key} is now augment.{name}, in one block: `augment: {{{name}: ...}}`")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(fault), values) for fault in error.errors()]
        faulty = {fault["loc"][0] for fault in error.errors()}
        sound = {key: _numbers_inside(value) for key, value in values.items() if key not in faulty}
        raise ParamsError("\n".join(f"{file}: {line}" for line in dict.fromkeys(lines)), sound) from None


def read_values(path: Path) -> dict[str, Any]:
    """The unchecked values of a params.yaml of any version; ParamsError, in one line, if it is not such a file."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the top folder of the project") from None
    if len(content) > MOST_BYTES:
        raise ParamsError(f"{path.name} has more than {MOST_BYTES:,} bytes, which is the limit")
    try:
        values = yaml.load(content.decode(), Loader=_Loader)  # noqa: S506 (a safe loader)
    except ParamsError as error:
        raise ParamsError(f"{path.name}: {error}") from None
    except _NO_YAML as error:
        raise ParamsError(f"{path.name} is not valid YAML: {one_line(error, 300)}") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path.name} must hold keys and values, got {_shown(values)}")
    for key in values:
        if not isinstance(key, str):
            raise ParamsError(f"{path.name}: {_shown(key)} is not a parameter; keys are words")
    return values


def _explain(fault: dict[str, Any], values: dict[str, Any]) -> str:
    """One of pydantic's findings in a line: the key, the allowed values, the given value."""
    top, *inner = map(str, fault["loc"])
    key = ".".join([top, *inner]) if top in BLOCKS else top
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, KEYS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
        return f"{_shown(key, quote=False)} is not a parameter; {hint}"
    if key in _ALTERNATIVES:  # a union: pydantic reports each member's fault; say what is allowed as a whole
        return f"{key} must be {_ALTERNATIVES[key]}, got {_shown(values[key])}"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}"
    allowed = str(fault["msg"]).replace("Input should be", "must be").replace("a valid integer", "a whole number")
    allowed = re.sub("a valid dictionary.*", "keys and values", allowed)
    return f"{key} {allowed.replace('a valid ', 'a ')}, got {_shown(fault['input'])}"


BLOCKS: dict[str, type[BaseModel]] = {"augment": Augmentation, "own": OwnTable}
KEYS = [  # as `dvc exp run -S` takes them
    *(name for name in Params.model_fields if name not in BLOCKS),
    *(f"{block}.{name}" for block, model in BLOCKS.items() for name in model.model_fields),
]
_SPEC = "a name, or one name with its options"
_ALTERNATIVES = {
    "hidden_layers": "a list of widths (whole numbers from 1 to 100000) or layers by name",
    "activation": f"{_SPEC}, or a list with one for each width and each activation in hidden_layers",
    "loss": _SPEC,
    "optimizer": _SPEC,
    "schedule": _SPEC,
    "batch_size": "a whole number greater than or equal to 1, or full",
    "clip_norm": "a number greater than 0, or null",
    "early_stopping": "a whole number greater than or equal to 1, or null",
    "weight_average": "a number greater than or equal to 0 and less than 1, or null",
}


def _shown(value: Any, quote: bool = True) -> str:
    try:
        return one_line(repr(value) if quote else value, 60)
    except (ValueError, RecursionError):  # Python writes no numbers of thousands of digits, and nothing so deep
        return f"a very large {type(value).__name__}"
