"""`make ui` and `dvc plots` as a browser shows them on the first visit; skipped where there is no Chromium.

`PICTURES=docs/images .venv/bin/python -m pytest tests/commands/test_page.py` makes the pictures of MLflow in docs/.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.mlflow_store import MLFLOW_WARNS, copy_store
from tests.ui_at_work import ROOT, ui_at_work, wait_for

import evaluate
import fetch
import plot
import preprocess
import split
import train
from pipeline import paths
from tracking.mlflow_run import ORIGIN, ensure_run, run_name
from tracking.store import open_store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
RUNS: dict[str, dict[str, Any]] = {
    "tanh": {"lr": 0.001, "activation": "tanh"}, "small-step": {"lr": 0.001}, "large-step": {"lr": 0.01},
}  # fmt: skip
PICTURES = Path(os.environ["PICTURES"]).resolve() if "PICTURES" in os.environ else None
DATASET = "pendigits" if PICTURES else "synthetic"
COLOURS = ("#d55e00", "#0072b2", "#009e73")  # MLflow makes them of the runs' ids, at times two alike
CURVES = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(900),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH"), MLFLOW_WARNS,
]  # fmt: skip


@pytest.fixture
def browser() -> Iterator[Any]:
    """A browser that has been nowhere yet, as wide as a laptop's, with a mouse and without a network."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1220"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    mouse = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
    options.add_argument(f"--blink-settings={mouse}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def keep_picture(browser: Any, name: str) -> None:
    if PICTURES:
        assert browser.save_screenshot(str(PICTURES / name))


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


class Page(NamedTuple):
    """What `make ui` shows: of which checkout, where, and the curves of each run."""

    folder: Path
    address: str
    curves: dict[str, dict[str, list[float]]]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Page]:
    """The page of three runs that differ in lr and activation; on the real data if pictures are made of it."""
    folder, curves = tmp_path_factory.mktemp("checkout"), {}
    (folder / "src").symlink_to(ROOT / "src")
    copy_store(empty_store, folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"dataset": DATASET, "synthetic_rows_per_writer": 10, "hidden_layers": [64, 32], "epochs": 20}
    params |= {"batch_size": 32, "weight_average": None, "refit": False}
    params |= {"hidden_layers": [256, 128], "epochs": 40} if PICTURES else {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", *ORIGIN.values()):
            patch.delenv(name, raising=False)
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("PENDIGITS_MIRROR", str(ROOT.parent / "shared/pendigits"))
        patch.setattr(sys, "path", list(sys.path))  # to which MLflow adds the code of each model
        patch.chdir(folder)
        store = open_store()
        for name, changes in RUNS.items():
            Path("params.yaml").write_text(yaml.safe_dump(params | changes))
            for script in (train, evaluate, plot) if curves else (fetch, preprocess, split, train, evaluate, plot):
                script.main()
            with Path(paths.HISTORY).open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            curves[run_name(DATASET, {"dvc.exp_name": name})] = {
                curve: [float(row[curve]) for row in rows] for curve in CURVES
            }
            run = ensure_run(store, Path(), {"dvc.exp_name": name, "dvc.baseline_rev": "c0ffee"})
            assert run
            store.client.set_tag(run.id, "mlflow.runColor", COLOURS[len(curves) - 1])  # a dot clicked sets it too
        with ui_at_work(tmp_path_factory.mktemp("elsewhere")) as address:
            yield Page(folder, address, curves)


def test_the_table_and_two_runs_compared(page: Page, browser: Any) -> None:
    browser.get(page.address)
    wait_for(lambda: "3 matching runs" in text_of(browser))
    wait_for(lambda: columns_of(browser)[-1:] == ["Duration"])
    shown = text_of(browser)
    assert "One row is one run of the pipeline" in shown
    for distraction in (
        "shared view",
        "Claude",
        "telemetry",
        "Prompts",
        "PERMISSION_DENIED",
    ):  # the Assistant offers models; GenAI, prompts
        assert distraction not in shown
    metrics = ["final_val_accuracy", "test_accuracy", "test_log_loss"]
    params = ["hidden_layers", "activation", "lr", "epochs", "seed"]
    assert columns_of(browser) == ["Run Name", "Created", *metrics, *params, "Duration"]
    assert set(page.curves) <= set(shown.split())
    keep_picture(browser, "mlflow_runs.png")

    rows = browser.find_elements("css selector", "input[aria-label^='Press Space to toggle row selection']")
    for row in rows[:2]:  # the newest: large-step and small-step
        row.click()
    browser.find_element("xpath", "//button[normalize-space()='Compare']").click()
    wait_for(lambda: parameters_compared(browser) == {"lr": ["0.01", "0.001"]})
    wait_for(lambda: browser.find_elements("xpath", "//*[text()='weights.png']"))
    browser.find_element("xpath", "//*[text()='weights.png']").click()
    wait_for(lambda: len(pictures_of(browser)) == 2)
    first, second = pictures_of(browser)
    assert first != second
    assert "Prompts" not in text_of(browser)


def test_the_curves_of_all_runs_over_each_other(page: Page, browser: Any) -> None:
    browser.get(f"{page.address}?compareRunsMode=CHART")
    wait_for(lambda: drawn_in(browser).keys() == set(CURVES))
    for curve, lines in drawn_in(browser).items():
        assert lines == {name: pytest.approx(curves[curve]) for name, curves in page.curves.items()}
    keep_picture(browser, "mlflow.png")

    browser.execute_script("localStorage.setItem('mlflow.workflowType_v1', '\"genai\"')")  # what is changed there stays
    browser.refresh()
    assert browser.execute_script("return localStorage.getItem('mlflow.workflowType_v1')") == '"genai"'


def columns_of(browser: Any) -> list[str]:
    """The headers of the table that are seen whole, in the order of the screen."""
    return list(
        browser.execute_script("""
        const root = document.querySelector('.ag-root'), table = root && root.getBoundingClientRect();
        return [...document.querySelectorAll('.ag-header-cell')].map(cell => [
                cell.innerText.trim(), cell.getBoundingClientRect(), cell.querySelector('[data-testid^=sort-header]')])
            .filter(([text, cell, label]) => text && label && cell.right <= table.right
                && label.getBoundingClientRect().right <= cell.right)
            .sort((one, other) => one[1].left - other[1].left).map(([text]) => text);""")
    )


def parameters_compared(browser: Any) -> dict[str, list[str]]:
    rows = browser.execute_script("""
        const table = [...document.querySelectorAll('table')].find(table => table.innerText.match(/^\\s*lr\\b/m));
        return table ? [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim())) : [];""")
    return {name: values for name, *values in rows}


def pictures_of(browser: Any) -> list[str]:
    """The addresses of the pictures that are loaded and seen."""
    return list(
        browser.execute_script("""
        return [...document.images].filter(image => image.naturalWidth > 0 && image.offsetWidth > 100
            && image.alt == 'weights.png').map(image => image.src);""")
    )


def drawn_in(browser: Any) -> dict[str, dict[str, list[float]]]:
    """The lines in each chart, by the chart's title and the run's name."""
    charts = browser.execute_script("""
        return [...document.querySelectorAll('.js-plotly-plot')].map(plot => [
            plot.closest('[data-testid=experiment-view-compare-runs-card]').innerText.trim().split('\\n')[0],
            plot.data.filter(line => line.type == 'scatter').map(line => [line.name, Array.from(line.y)])]);""")
    return {title: dict(lines) for title, lines in charts}


def test_the_plots_page_draws_without_a_network(page: Page, browser: Any, tmp_path: Path) -> None:
    """DVC's own renderer, with the template that `make plots` has made, on the plots of dvc.yaml."""
    template = ROOT / ".dvc/plots.html"
    if not template.exists():
        pytest.skip("`make plots` has not made .dvc/plots.html")

    def dvc(*arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    shutil.copytree(page.folder / "metrics", tmp_path / "metrics")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    dvc("init", "-q", "--no-scm")
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots")
    shutil.copy(template, tmp_path / ".dvc/plots.html")
    dvc("config", "plots.html_template", "plots.html")
    dvc("plots", "show")
    drawn = tmp_path / "dvc_plots/index.html"
    assert "<script src" not in drawn.read_text()
    browser.get(drawn.as_uri())
    count = "return document.querySelectorAll('.vega-embed svg.marks').length"
    wait_for(lambda: browser.execute_script(count) == 3, 30)
    shown = text_of(browser)
    assert [title for title in ("Training objective", "Accuracy", "mistakes coloured") if title not in shown] == []
