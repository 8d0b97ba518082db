"""Runs side by side, and the champion: what is shown, what is advised, what is refused."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow.entities import LoggedModelOutput, Metric, Param
from tests.mlflow_store import MLFLOW_WARNS, copy_store

from commands import champion, compare, ranking
from pipeline.errors import StageError
from tracking.address import ENVIRONMENT
from tracking.contents import flat, read_params
from tracking.store import Store, open_store


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
            metrics={"final_val_accuracy": accuracy, "val_log_loss": loss, "test_accuracy": other.get("test", 0.5)},
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
    assert not {"seed", "val_log_loss"} & {cell for row in cells for cell in row}  # the same
    assert any("no parameter differs" in line for line in compare.table([run("a", lr=1), run("b", lr=1)]))
    odd = compare.table([run("a\x1b[2J", lr="\n1"), run("b\r", float("nan"), lr=2), run("c", float("inf"))])
    assert all(line.isprintable() for line in odd)
    assert "nan (+nan)" in "\n".join(odd)


def test_the_better_one_is_told_by_validation_never_by_the_test_rows() -> None:
    worse, better = experiment("worse", 0.90, test=0.99), experiment("better", 0.91, test=0.10)
    better_one, command = compare.advice([worse, better], {}, {"worse", "better"})
    assert better_one == "Best on the rows held out for validation: better"
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
    assert ranking.named(runs, "grid-1") == ranking.named(runs, "synthetic-grid-1") == [newest]
    assert ranking.named(runs, "grid-*") == runs
    older.info.run_id = "id-of-the-older"
    assert ranking.named(runs, "id-of-the-older") == [older]
    with pytest.raises(StageError, match="did you mean synthetic-grid-1"):
        ranking.named(runs, "grid-2")


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
    assert ranking.comparable(one, second) == ranking.comparable(second, one) == comparable
    assert not ranking.comparable(one, run("of another program", data="other"))


def test_older_versions_go_by_checksums_and_the_parameters_are_those_before_training() -> None:
    one, same, other = (run("old", data=data, old=True, features="table", **ROWS) for data in ("x", "x", "y"))
    assert ranking.comparable(one, same)
    assert not ranking.comparable(one, other)
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    deciding = {key for name in ("fetch", "preprocess", "split") for key in stages[name]["params"]}
    deciding -= {"features", "own", "extra_ink"}  # drawings are only added to the training rows
    assert deciding == set(ranking.ROWS) == set(ROWS)


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


def test_an_ink_champion_after_one_of_the_table_says_that_its_input_is_another() -> None:
    first, ink = run("first", features="table", **ROWS), run("ink", 0.95, features="ink", **ROWS)
    registry: Any = Registry(first, ink)
    assert "input" not in champion.crown(registry, first)
    assert champion.crown(registry, ink).endswith("; it takes another input: features: ink, not table")


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
    monkeypatch.setattr(champion, "load_params", lambda path: SimpleNamespace(name="pendigits"))
    newest, best, elsewhere = run("newest", 0.9), run("best", 0.95), run("elsewhere", 0.99, data="other")
    assert champion.candidate([newest, best, elsewhere], []) is best
    assert champion.candidate([newest, best, elsewhere], ["newest"]) is newest
    elsewhere.data.tags["dataset"] = "synthetic"
    monkeypatch.setattr(champion, "load_params", lambda path: SimpleNamespace(name="synthetic"))
    assert champion.candidate([newest, best, elsewhere], []) is elsewhere
    assert champion.candidate([newest, best], []) is best  # without the data set, a run is on synthetic digits
    with pytest.raises(StageError, match="no finished run"):
        champion.candidate([], [])


@pytest.fixture
def forty(workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of 40 runs: 11 settings of three seeds, of which grid-10 has the best mean and grid-4 the best run;
    one run as committed, which does worst; two on other rows, and four that are unfinished."""
    copy_store(empty_store, workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that the address that MLflow sets goes with the test
    for name, value in ({"DVC_ROOT": str(workspace), "COLUMNS": "120"} | ENVIRONMENT).items():
        monkeypatch.setenv(name, value)
    store, shipped = open_store(), flat(read_params(workspace))
    client = store.client

    def log(name: str, accuracy: float, *, status: str = "FINISHED", data: str = "d", **changes: Any) -> None:
        tags = {"dataset": shipped["dataset"], "data.sha256": data, "checksums": "content", "dvc.exp_name": name}
        created = client.create_run(store.experiment_id, tags=tags, run_name=name)
        run_id = created.info.run_id
        values = {"final_val_accuracy": accuracy, "val_log_loss": 1 - accuracy, "test_accuracy": 1 - accuracy / 2}
        params = [Param(key, value) for key, value in (shipped | flat(changes)).items()]
        client.log_batch(run_id, [Metric(*pair, 1, 0) for pair in values.items()], params)
        if name == "grid-4-2":
            model = client.create_logged_model(store.experiment_id, "network", run_id)
            client.finalize_logged_model(model.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        if status != "RUNNING":
            client.set_terminated(run_id, status)

    log("elsewhere", 0.99, data="other")
    log("elsewhere-too", 0.98, data="other")
    log("as-shipped", 0.5)
    for width in range(11):
        for seed in range(3):
            lucky = 0.2 if (width, seed) == (4, 2) else 0
            log(f"grid-{width}-{seed}", 0.6 + width / 50 + seed / 1000 + lucky, hidden_layers=[width + 1], seed=seed)
    for status in ("RUNNING", "FAILED", "FAILED", "KILLED"):
        log("unfinished", 0.97, status=status)
    return store


@MLFLOW_WARNS
def test_forty_runs_are_ranked_by_setting_and_the_best_run_is_the_one_that_champion_takes(
    forty: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(main: Any, *arguments: str, width: int = 120) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("sys.argv", ["python src", *arguments])
        main()
        return capsys.readouterr().out.splitlines()

    lines = said(compare.main)
    mean, deviation = np.mean([0.68, 0.681, 0.882]), np.std([0.68, 0.681, 0.882], ddof=1)
    rows = [line.split() for line in lines[1:12]]
    assert [row[:2] for row in rows] == [
        *([str(place + 1), f"grid-{width}-2"] for place, width in enumerate((10, 9, 8, 4, 7, 6, 5, 3, 2, 1))),
        ["12", "as-shipped"],
    ]
    assert rows[3][2:6] == ["(n=3)", f"{mean:.4f}", "±", f"{deviation:.4f}"]
    assert rows[3][-1] == "hidden_layers=[5]"
    assert lines[12] == "The best single run is of row 4: grid-4-2, validation accuracy 88.20%, log-loss 0.1180."
    assert rows[-1][-2:] == ["as", "committed"]
    assert lines[13] == "Left out: 1 lower in rank, 2 on other data or validation rows, 1 running, 2 failed, 1 stopped."
    assert lines[15] == "Best on the rows held out for validation: grid-4-2"
    assert lines[-1] == "  make champion (registers its model)"
    assert said(champion.main)[0].startswith("models:/synthetic@champion is now grid-4-2: ")
    assert said(compare.main)[-1] == "  it is models:/synthetic@champion"

    narrow = said(compare.main, width=60)
    assert max(map(len, narrow[:12])) <= 60
    assert "val_log_loss" not in narrow[0]
    assert [line.split()[:2] for line in narrow if line.startswith(("1 ", "12"))] == [
        ["1", "grid-10-2"],
        ["12", "as-shipped"],
    ]
    by_test = said(compare.main, "--metric", "test_accuracy", "grid-1*", "grid-0-1")
    assert [line.split()[1] for line in by_test[1:4]] == ["grid-0-1", "grid-1-2", "grid-10-2"]
    assert by_test[-2] == "Best on the rows held out for validation: grid-10-2"
    with pytest.raises(StageError, match="no run has the metric test_acuracy; did you mean test_accuracy"):
        said(compare.main, "--metric", "test_acuracy")


def test_a_narrow_terminal_gets_one_table_below_the_other() -> None:
    runs = [run("a-name-as-long-as-usual", lr=1), run("another", lr=2), run("third", lr=3)]
    below = compare.side_by_side(runs, 60)
    assert [line.split() for line in below if "a-name" in line] == [
        ["a-name-as-long-as-usual", name] for name in ("another", "third")
    ]
    assert compare.side_by_side(runs, 90) == compare.table(runs)
