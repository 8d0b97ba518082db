"""`make ui` and `dvc plots` as a browser shows them; skipped where there is no Chromium."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_tracking import ROOT, set_param, write_evaluation, write_figures, write_training

import tracking

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=2200,1400"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")  # no network
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def keep_picture(browser: Any, name: str) -> None:
    """Where PICTURES names a folder, keep what the browser shows there; so docs/images/mlflow.png is made."""
    if folder := os.environ.get("PICTURES"):
        browser.save_screenshot(f"{folder}/{name}")


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address that `make ui` says, of a store with two runs that differ in lr; and the runs' ids."""
    for name in ("MLFLOW_TRACKING_URI", "PENDIGITS_TRACKING", *tracking.ORIGIN.values()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    store, folder, ids = tracking.open_store(), tmp_path / "checkout", []
    folder.mkdir()
    (folder / "src").symlink_to(ROOT / "src")
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"hidden_layers": [4]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for seed, (name, lr) in enumerate((("steep-hill", 0.125), ("flat-lake", 0.25))):
        set_param(folder, "lr", lr)
        write_training(folder, seed)
        write_evaluation(folder)
        write_figures(folder)
        run = tracking.ensure_run(store, folder, {"dvc.exp_name": name, "dvc.baseline_rev": "c0ffee"})
        assert run
        ids.append(run.id)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"import tracking; tracking.FIRST_PORT = {port}; tracking.ui()"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with (tmp_path / "said").open("w") as said:
        command = [sys.executable, "-c", code]
        server = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield re.findall(r"http://\S+", (tmp_path / "said").read_text())[0], ids
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def test_runs_are_listed_and_compared(page: tuple[str, list[str]], browser: Any) -> None:
    address, ids = page
    browser.get(address)
    wait_for(lambda: "2 matching runs" in text_of(browser))
    wait_for(lambda: "test_accuracy" in text_of(browser))
    shown = text_of(browser)
    assert "One row is one run of the pipeline" in shown
    for word in ("steep-hill", "flat-lake", "final_val_accuracy", "test_loss"):
        assert word in shown
    keep_picture(browser, "runs.png")

    browser.get("about:blank")  # another fragment alone would not load the page again
    browser.get(f"{address}&compareRunsMode=CHART")
    search = "input[placeholder='Search metric charts']"
    wait_for(lambda: browser.find_elements("css selector", search))
    browser.find_element("css selector", search).send_keys("^val_loss")
    wait_for(lambda: curves_over_each_other(browser))
    keep_picture(browser, "mlflow.png")

    base = address.partition("/#/")[0]
    chosen = ",".join(f'"{run_id}"' for run_id in ids)
    browser.get(f'{base}/#/compare-runs?runs=[{chosen}]&experiments=["1"]')
    wait_for(lambda: "Show diff only" in text_of(browser))
    shown = text_of(browser)
    assert "weights.png" in shown or "Artifacts" in shown
    keep_picture(browser, "compared.png")
    assert re.search(r"lr\s+0\.125\s+0\.25|lr\s+0\.25\s+0\.125", shown)


def curves_over_each_other(browser: Any) -> bool:
    """Whether a chart of val_loss names both runs in its legend."""
    legends = str(browser.execute_script("return document.body.textContent"))
    return all(f"{name} (val_loss)" in legends for name in ("steep-hill", "flat-lake"))


def test_the_plots_page_draws_without_a_network(browser: Any, tmp_path: Path) -> None:
    """DVC's own renderer, with the template that `make plots` has made, on the plots of dvc.yaml and two revisions."""
    template = ROOT / ".dvc/plots.html"
    if not template.exists():
        pytest.skip("`make plots` has not made .dvc/plots.html")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    def write(accuracy: float, predictions: str) -> None:
        rows = "".join(f"{n},{1 / n},{1 - accuracy / n},{1.1 / n},{accuracy}\n" for n in range(1, 9))
        (tmp_path / "metrics/history.csv").write_text("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n" + rows)
        (tmp_path / "metrics/predictions.csv").write_text("digit,predicted\n" + predictions)

    (tmp_path / "metrics").mkdir()
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    write(0.5, "1,1\n1,7\n7,7\n")
    run("git", "init", "-q")
    run(sys.executable, "-m", "dvc", "init", "-q")
    run("git", "add", ".")
    run("git", "-c", "user.name=A Person", "-c", "user.email=person@example.com", "commit", "-q", "-m", "One")
    write(0.4, "1,1\n1,7\n7,1\n")
    shutil.copy(template, tmp_path / ".dvc/plots.html")
    (tmp_path / ".dvc/config.local").write_text("[plots]\n    html_template = plots.html\n")
    run(sys.executable, "-m", "dvc", "plots", "diff", "HEAD", "workspace")
    page = tmp_path / "dvc_plots/index.html"
    assert "<script src" not in page.read_text()
    browser.get(page.as_uri())
    drawn = "return document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length"
    wait_for(lambda: browser.execute_script(drawn) >= 3, 30)
    keep_picture(browser, "plots.png")
