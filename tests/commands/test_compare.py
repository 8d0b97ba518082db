"""Runs side by side, and the champion: what is shown, what is advised, what is refused."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from commands import champion, compare
from pipeline.errors import StageError
from tracking.contents import flat


def run(name: str, accuracy: float = 0.9, loss: float = 0.5, **other: Any) -> Any:
    """A finished run; ``other`` are parameters, but for ``data``, the checksum, ``old``, whether that is of an older
    version, and ``test``, the test accuracy."""
    tags = {"data.sha256": other.pop("data", "d"), "git.commit": "0123456789abcdef", "dataset": "pendigits"}
    tags |= {} if other.pop("old", False) else {"checksums": "content"}
    return SimpleNamespace(
        info=SimpleNamespace(run_name=name, run_id=f"id-{name}"),
        data=SimpleNamespace(
            tags=tags,
            params={key: str(value) for key, value in other.items() if key != "test"},
            metrics={"final_val_accuracy": accuracy, "final_val_loss": loss, "test_accuracy": other.get("test", 0.5)},
        ),
        outputs=SimpleNamespace(model_outputs=[SimpleNamespace(model_id=f"m-{name}")]),
    )


def experiment(name: str, *figures: float, **params: Any) -> Any:
    made = run(name, *figures, **params)
    made.data.tags["dvc.exp_name"] = name
    return made


def test_only_differing_parameters_are_shown_with_metrics_and_deltas() -> None:
    lines = compare.table([run("a", 0.9, lr=0.1, seed=1), run("b", 0.95, lr=0.2, seed=1, dropout=0.1)])
    cells = [line.split() for line in lines]
    assert cells[0] == ["a", "b"]
    assert ["lr", "0.1", "0.2"] in cells
    assert ["dropout", "-", "0.1"] in cells
    assert ["final_val_accuracy", "0.9000", "0.9500", "(+0.0500)"] in cells
    assert not {"seed", "final_val_loss"} & {cell for row in cells for cell in row}  # the same
    assert any("no parameter differs" in line for line in compare.table([run("a", lr=1), run("b", lr=1)]))
    odd = compare.table([run("a\x1b[2J", lr="\n1"), run("b\r", float("nan"), lr=2), run("c", float("inf"))])
    assert all(line.isprintable() for line in odd)
    assert "nan (+nan)" in "\n".join(odd)


def test_the_better_one_is_told_by_validation_never_by_the_test_rows() -> None:
    worse, better = experiment("worse", 0.90, test=0.99), experiment("better", 0.91, test=0.10)
    better_one, command = compare.advice([worse, better], {}, {"worse", "better"})
    assert better_one == "Better on the people held out for validation: better"
    assert command == "  dvc exp apply better"
    assert "first" in compare.advice([run("first", 0.9, 0.1), run("second", 0.9, 0.2)], {}, ())[0]
    assert "equally well" in compare.advice([run("a"), run("b")], {}, ())[0]
    assert "different rows" in compare.advice([run("a", 0.9), run("b", 0.95, data="other")], {}, ())[0]


LAYERS = [{"conv1d": {"filters": 48, "pad": None}}, "activation", {"conv1d": {"filters": 8}}, 256]


@pytest.mark.parametrize("made", [run, experiment])
def test_what_is_no_experiment_of_dvc_is_made_again_from_its_parameters(made: Any) -> None:
    params = {"hidden_layers": LAYERS, "lr": 0.02, "optimizer.adam.beta1": 0.8, "schedule": "cosine", "clip_norm": None}
    here = flat({"hidden_layers": [32], "lr": 0.1, "schedule": "one_cycle", "seed": 0, "clip_norm": 1})
    one = made("one")
    one.data.params = flat({**params, "seed": 0})
    command = shlex.split(compare.command_for(one, here, {"other"}))
    assert (command[:3], command[3::2]) == (["dvc", "exp", "run"], ["-S"] * len(params))
    parsed = OverridesParser.create().parse_overrides(command[4::2])
    assert {override.key_or_group: override.value() for override in parsed} == params
    assert compare.command_for(one, one.data.params, {"other"}).startswith("dvc repro ")


def test_runs_are_found_by_any_of_their_names_the_newest_first() -> None:
    newest, older = experiment("grid-1"), experiment("grid-1")
    newest.info.run_name = older.info.run_name = "synthetic-grid-1"
    runs = [newest, older]
    assert compare.named(runs, "grid-1") is compare.named(runs, "synthetic-grid-1") is newest
    older.info.run_id = "id-of-the-older"
    assert compare.named(runs, "id-of-the-older") is older
    with pytest.raises(StageError, match="did you mean synthetic-grid-1"):
        compare.named(runs, "grid-2")


ROWS = {"dataset": "pendigits", "synthetic_rows_per_writer": 250, "split_by": "writer", "validation_writers": 6}
ROWS |= {"validation_fraction": 0.2, "split_seed": 0}


@pytest.mark.parametrize(("other", "comparable"), [
    ({"data": "the same", "split_seed": 9}, True), ({"data": "changed"}, False),
    ({"data": "of ink", "features": "ink"}, True),  # the same digits, of which it reads something else
    ({"data": "of ink", "features": "ink", "split_seed": 9}, False),
    ({"data": "bytes", "old": True}, True),  # an older version's checksum is another one for the same rows
    ({"data": "bytes", "old": True, "validation_writers": 5}, False), ({"data": "", "dataset": "pendigits"}, True),
    ({"data": "", "dataset": "synthetic"}, False),
], ids=str)  # fmt: skip
def test_runs_on_the_same_rows_are_comparable(other: dict[str, Any], comparable: bool) -> None:
    one = run("one", data="the same", features="table", **ROWS)
    second = run("second", **({"features": "table"} | ROWS | other))
    assert compare.comparable(one, second) == compare.comparable(second, one) == comparable
    assert not compare.comparable(one, run("of another program", data="other"))


def test_older_versions_go_by_checksums_and_the_parameters_are_those_before_training() -> None:
    one, same, other = (run("old", data=data, old=True, features="table", **ROWS) for data in ("x", "x", "y"))
    assert compare.comparable(one, same)
    assert not compare.comparable(one, other)
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    deciding = {key for name in ("fetch", "preprocess", "split") for key in stages[name]["params"]}
    assert deciding - {"features"} == set(compare.ROWS) == set(ROWS)


class Registry:
    """MLflow's registry of models, as far as it is used, with one model."""

    def __init__(self, *runs: Any) -> None:
        self.runs = {made.info.run_id: made for made in runs}
        self.versions: list[str] = []
        self.aliases: dict[str, int] = {}
        self.create_registered_model = lambda name, description: None
        self.set_registered_model_alias = lambda name, alias, version: self.aliases.update({alias: version})
        self.get_model_version = lambda name, version: SimpleNamespace(run_id=self.versions[version - 1])
        self.get_run = self.runs.__getitem__

    def search_registered_models(self, wanted: str) -> list[Any]:
        return [SimpleNamespace(aliases=self.aliases)] if self.versions else []

    def create_model_version(self, name: str, source: str, run_id: str, model_id: str) -> Any:
        assert source == f"models:/{model_id}"
        self.versions.append(run_id)
        return SimpleNamespace(version=len(self.versions))

    def champion(self) -> str:
        return self.versions[self.aliases["champion"] - 1]


def test_the_first_is_champion_and_a_better_one_takes_over() -> None:
    first, better = run("first", 0.9), run("better", 0.95)
    registry: Any = Registry(first, better)
    champion.crown(registry, first)
    assert registry.champion() == "id-first"
    assert "after first" in champion.crown(registry, better)
    assert registry.champion() == "id-better"
    assert "already" in champion.crown(registry, better)
    assert len(registry.versions) == 2


@pytest.mark.parametrize(("challenger", "reason"), [
    (run("worse", 0.89, 0.1, test=0.99), "does worse than the champion, first"),
    (run("sadder", 0.9, 0.6), "does worse"),
    (run("elsewhere", 0.99, data="other"), "other rows"),
])  # fmt: skip
def test_a_worse_or_incomparable_one_is_refused(challenger: Any, reason: str) -> None:
    first = run("first", 0.9, 0.5)
    registry: Any = Registry(first, challenger)
    champion.crown(registry, first)
    with pytest.raises(StageError, match=reason):
        champion.crown(registry, challenger)
    assert registry.champion() == "id-first"


def test_the_candidate_is_the_best_on_the_rows_of_the_newest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(champion, "load_params", lambda path: SimpleNamespace(dataset="pendigits"))
    newest, best, elsewhere = run("newest", 0.9), run("best", 0.95), run("elsewhere", 0.99, data="other")
    assert champion.candidate([newest, best, elsewhere], []) is best
    assert champion.candidate([newest, best, elsewhere], ["newest"]) is newest
    monkeypatch.setattr(champion, "load_params", lambda path: SimpleNamespace(dataset="synthetic"))
    with pytest.raises(StageError, match="no finished run on synthetic"):
        champion.candidate([newest], [])
