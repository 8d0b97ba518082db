"""The page in a real browser: test digits as pointer events, every switch, a live training; skipped without Chromium.

`PICTURES=docs/images .venv/bin/python -m pytest tests/web/test_in_browser.py` makes docs/images/page.png.
AXE=axe.min.js names a copy of axe-core, which then checks the page too.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.commands.test_page import CHROMIUM, DRIVER, PICTURES
from tests.ui_at_work import ROOT, asked, free_port, wait_for

from data_sets import synthetic
from data_sets.pendigits import TEST, parse_table
from data_sets.unipen import parse_ink
from neural_net import Network, dense_layers, fit
from pen.features import FEATURE_SETS
from pen.ink import Ink
from pen.recognizer import Recognizer, recognizer_files
from pen.strokes import strokes_of
from pipeline.model import read_model
from pipeline.paths import MODELS, RAW
from web.bodies import features_of

FOLDER = RAW / "pendigits"
REAL = (FOLDER / TEST.ink).exists() and MODELS.exists()
AXE = os.environ.get("AXE")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
browsing = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")

# Draws strokes (x, y from 0 to 1, y downwards) with the pointer; gives the digit that the page then shows. The last
# point comes with the pointer's end alone, as when a mouse is fast.
REPLAY = """
const [strokes, done] = arguments, pad = document.getElementById("pad"), verdict = document.getElementById("verdict");
pad.setPointerCapture = () => {};  // which a pointer of a script has not
document.getElementById("clear").click();
const box = pad.getBoundingClientRect(), about = {pointerId: 1, pointerType: "pen", bubbles: true};
const send = (type, [x, y]) => pad.dispatchEvent(new PointerEvent(type,
    {...about, clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
for (const stroke of strokes) {
    send("pointerdown", stroke[0]);
    for (const point of stroke.slice(1, -1)) send("pointermove", point);
    send("pointerup", stroke.at(-1));
}
(function look() {
    if (verdict.dataset.version === pad.dataset.version) done(Number(verdict.dataset.digit));
    else setTimeout(look, 2);
})();
"""


@pytest.mark.skipif(not REAL, reason="needs the real digits and their network, as `make run` leaves them")
def test_the_pages_features_are_as_good_as_the_official_ones() -> None:
    ink, model = parse_ink((FOLDER / TEST.ink).read_bytes(), TEST.ink), read_model(MODELS)
    X, digit = parse_table((FOLDER / TEST.table).read_bytes(), TEST.table)
    drawn = (model.probabilities(features_of(model, ink)).argmax(1) == digit).mean()
    official = (model.predict(X) == digit).mean() if model.features == "table" else drawn
    assert len(digit) == 3498
    assert abs(drawn - official) <= 0.003


class Page(NamedTuple):
    """A page of `make draw`, what its network is, and digits of writers that the network does not know."""

    address: str
    model: Recognizer
    ink: Ink
    folder: Path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The real network and digits where they are; else generated digits, and a small network for them."""
    folder = tmp_path_factory.mktemp("checkout")
    if REAL:
        (folder / "models").symlink_to(MODELS.resolve())
        (folder / "data").symlink_to(RAW.parent.resolve())
        model, ink = read_model(MODELS), parse_ink((FOLDER / TEST.ink).read_bytes(), TEST.ink)
    else:
        training, ink = synthetic.make_data_set(60, np.random.default_rng(1))
        network = Network(dense_layers([64, 32], 10), 16, rng=0)
        fit(network, FEATURE_SETS["table"].of(strokes_of(training)), training.digit, rng=0, epochs=30)
        model = Recognizer(network, "synthetic")
        (folder / "models").mkdir()
        for name, content in recognizer_files(model).items():
            (folder / "models" / name).write_bytes(content)
    port = free_port()
    command = [sys.executable, str(ROOT / "src"), "draw", "--port", str(port)]
    with (folder / "said").open("w") as said:
        server = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
    address = f"http://127.0.0.1:{port}/"
    wait_for(lambda: server.poll() is not None or asked(f"{address}ping")[0] == 200)
    yield Page(address, model, ink, folder)
    server.terminate()
    server.wait(20)
    assert (folder / "said").read_text() == f"{address}  (Ctrl-C ends it)\n"


@pytest.fixture
def browser(page: Page) -> Iterator[Any]:
    """A browser at the page; nothing may appear in its console."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1440,1200", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(30)
    driver.get(page.address)
    wait_for(lambda: driver.execute_script("return document.body.dataset.ready") == "yes", 30)
    yield driver
    assert driver.get_log("browser") == []
    driver.quit()


def placed(strokes: list[Any]) -> list[Any]:
    """Strokes of the ink within the pad: from 0 to 1, y downwards."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    shift, side = (low + high) / 2, 1.25 * (high - low).max()
    return [(0.5 + (stroke - shift) / side * [1, -1]).tolist() for stroke in strokes]


def go(browser: Any, view: str) -> None:
    browser.find_element("css selector", f"nav a[href='#{view}']").click()
    wait_for(lambda: browser.find_element("id", view).is_displayed(), 10)


def check_access(browser: Any) -> None:
    """Axe-core finds nothing serious, and nothing is wider than the window."""
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    if AXE:
        code = Path(AXE).read_text()
        run = "axe.run().then(found => arguments[0](found.violations.map(fault => [fault.id, fault.impact])))"
        faults = browser.execute_async_script(f"{code};{run}")
        assert [fault for fault, impact in faults if impact in ("serious", "critical")] == []


@browsing
def test_digits_drawn_with_the_pointer_are_recognized_as_in_the_pipeline(page: Page, browser: Any) -> None:
    chosen = [int(i) for digit in range(10) for i in np.flatnonzero(page.ink.digit == digit)[:50]]
    shown = [browser.execute_async_script(REPLAY, placed(page.ink[i])) for i in chosen]
    predicted = page.model.probabilities(features_of(page.model, page.ink)).argmax(1)[chosen]
    digit = page.ink.digit[chosen]
    assert abs((np.array(shown) == digit).mean() - (predicted == digit).mean()) <= 0.01
    assert (np.array(shown) == predicted).mean() > 0.98


@browsing
def test_an_answer_that_fails_loses_none_after_it(browser: Any) -> None:
    script = """
const done = arguments[0];
import("/static/dom.js").then(async ({latest}) => {
    const seen = [];
    const call = latest(async (text) => { seen.push(text); await null; if (text === "wrong") throw new Error(text); });
    const failed = call("wrong").catch(() => seen.push("caught"));
    call("left out");
    call("last");
    await failed;
    await call("wrong").catch(() => seen.push("told"));
    done(seen);
});"""
    assert browser.execute_async_script(script) == ["wrong", "last", "wrong", "told"]


def slow(stroke: np.ndarray) -> np.ndarray:
    """Hundreds of points that tremble, each of them twice."""
    rng, at = np.random.default_rng(0), np.linspace(0, len(stroke) - 1, 40 * len(stroke))
    dense = np.column_stack([np.interp(at, np.arange(len(stroke)), axis) for axis in stroke.T])
    return np.repeat(dense + rng.normal(0, 0.002, dense.shape), 2, axis=0)


ODD: dict[str, Callable[[list[np.ndarray]], list[np.ndarray]]] = {  # drawings on a pad from 0 to 1
    "small, in a corner": lambda strokes: [0.02 + 0.06 * stroke for stroke in strokes],
    "large": lambda strokes: [0.5 + 1.24 * (stroke - 0.5) for stroke in strokes],
    "few points": lambda strokes: [np.concatenate([stroke[:-1:3], stroke[-1:]]) for stroke in strokes],
    "slow": lambda strokes: [slow(stroke) for stroke in strokes],
    "a dot before": lambda strokes: [np.array([[0.9, 0.95]]), *strokes],
    "a dot after": lambda strokes: [*strokes, np.array([[0.1, 0.1], [0.105, 0.1]])],
    "the pen lifted on its way": lambda strokes: [
        part for stroke in strokes for part in np.array_split(stroke, 2) if len(part)
    ],
}


@browsing
@pytest.mark.parametrize("odd", ODD)
def test_odd_drawings_are_recognized_as_the_plain_ones(page: Page, browser: Any, odd: str) -> None:
    predicted = page.model.probabilities(features_of(page.model, page.ink)).argmax(1)
    right = np.flatnonzero(predicted == page.ink.digit)
    chosen = [int(i) for digit in range(10) for i in right[page.ink.digit[right] == digit][:6]]
    drawn = [ODD[odd]([np.array(stroke) for stroke in placed(page.ink[i])]) for i in chosen]
    shown = [browser.execute_async_script(REPLAY, [stroke.tolist() for stroke in strokes]) for strokes in drawn]
    assert (np.array(shown) == page.ink.digit[chosen]).mean() > 0.93


@browsing
def test_a_digit_is_drawn_with_the_mouse_taken_back_broken_and_stepped_through(page: Page, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    pad = browser.find_element("id", "pad")
    mouse = ActionChains(browser, duration=20).move_to_element_with_offset(pad, -60, -100).click_and_hold()
    for way in ((120, 0), (-40, 100), (-30, 100)):
        mouse = mouse.move_by_offset(*way)
    mouse.release().perform()
    wait_for(lambda: len(browser.find_elements("css selector", ".overlay .point")) == 8, 10)
    wait_for(lambda: len(browser.find_elements("css selector", "#nearest .pen-path")) == 5, 10)
    check_access(browser)
    tile = browser.find_elements("css selector", ".layer canvas")[-2]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)
    ActionChains(browser).move_to_element(tile).perform()
    wait_for(lambda: "unit" in browser.find_element("id", "readout").text, 10)
    pictures = "return [...document.querySelectorAll('.layer canvas')].map(canvas => canvas.toDataURL())"
    ActionChains(browser).move_to_element(pad).perform()
    plain = browser.execute_script(pictures)
    tile.send_keys("\ue015\ue014")  # its first unit, then the one beside it
    assert "unit 1:" in browser.find_element("id", "readout").text
    wait_for(lambda: browser.execute_script(pictures)[-3] != plain[-3], 10)  # what each value before adds
    assert browser.execute_script(pictures)[-2:] == plain[-2:]
    browser.find_elements("css selector", "button.bar")[3].send_keys("")
    assert len(browser.find_elements("css selector", ".overlay .arrow")) == 8

    go(browser, "break")
    for switch in ("drop_biases", "shuffle_points", "no_temperature"):
        browser.find_element("id", switch).click()
    browser.execute_script("noise.value = 1; noise.dispatchEvent(new Event('input', {bubbles: true}))")
    browser.find_element("id", "zeroed").send_keys("linear1")
    wanted = '{"zeroed":"linear1","noise":1,"drop_biases":true,"shuffle_points":true,"no_temperature":true}'
    wait_for(lambda: browser.find_element("id", "switches").get_attribute("data-shown") == wanted, 20)
    share = browser.find_element("css selector", "[data-measure=accuracy] b").text
    assert float(share.split()[0]) < 30  # nothing of the path gets through
    check_access(browser)

    go(browser, "step")
    wait_for(lambda: len(browser.find_elements("css selector", "#steps math")) >= 10, 10)
    browser.find_element("css selector", ".matrix button").click()
    assert " · " in browser.find_element("css selector", ".worked:not([hidden])").text
    check_access(browser)
    before = browser.find_element("id", "steps").get_attribute("data-loss")
    browser.find_element("id", "step-truth").send_keys("3")
    wait_for(lambda: browser.find_element("id", "steps").get_attribute("data-loss") != before, 10)

    for key, left in (("undo", 0), ("clear", 0)):
        browser.find_element("id", key).click()
        assert len(browser.find_elements("css selector", ".ink polyline")) == left
    pad.send_keys(" ", "\ue014" * 5, "\ue015" * 5)  # the keyboard's pen: down, right, down
    assert len(browser.find_elements("css selector", ".ink polyline")) == 1


@browsing
def test_a_training_is_started_changed_provoked_and_stopped(browser: Any) -> None:
    def epoch() -> int:
        return int(browser.find_element("id", "train").get_attribute("data-epoch") or 0)

    def status() -> str:
        return str(browser.find_element("id", "training-status").text)

    go(browser, "train")
    browser.find_element("id", "start").click()
    wait_for(lambda: epoch() > 5, 30)
    browser.find_element("id", "train-data").send_keys("spirals")
    wait_for(lambda: browser.find_element("id", "train").get_attribute("data-data") == "spirals" and epoch() > 0, 30)
    check_access(browser)
    browser.find_element("id", "stop").click()
    stopped = epoch()
    for provoke, said in ((1, "diverged"), (2, "Finished"), (0, "Finished")):
        browser.find_elements("css selector", ".provoke")[provoke].click()
        wait_for(lambda said=said: said in status(), 60)
    browser.find_elements("css selector", ".cure")[0].click()
    wait_for(lambda: "Finished" in status(), 60)
    assert stopped < 150
    assert float(status().split(":")[1].split()[0]) > 50  # percent right
    go(browser, "draw")


@browsing
def test_labelled_drawings_are_kept_only_with_consent(page: Page, browser: Any) -> None:
    strokes = placed(page.ink[0])
    browser.execute_async_script(REPLAY, strokes)
    seven = browser.find_elements("css selector", "#labels button")[7]
    assert not seven.is_enabled()
    browser.find_element("id", "consent").click()
    seven.click()
    wait_for(lambda: "1 × 7" in browser.find_element("id", "kept").text, 10)
    assert "extra_ink=data/own/drawings.unipen" in browser.find_element("id", "keep-command").text
    ink = parse_ink((page.folder / "drawings/drawings.unipen").read_bytes(), "drawings")
    assert ink.digit.tolist() == [7]
    browser.execute_script("window.confirm = () => true")
    browser.find_element("id", "forget").click()
    wait_for(lambda: "Deleted. 0 drawings" in browser.find_element("id", "kept").text, 10)
    assert not (page.folder / "drawings/drawings.unipen").exists()


@browsing
@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1440, "dark"), (3840, "light"), (1280, "light")])
def test_it_fits_every_screen(page: Page, browser: Any, width: int, theme: str) -> None:
    size = {"width": width, "height": width * 2 // 3 if width > 500 else 780, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_script(f"localStorage.setItem('theme', '{theme}')")
    browser.refresh()
    wait_for(lambda: len(browser.find_elements("css selector", ".example")) == 10, 30)
    digit = next(i for i in np.flatnonzero(page.ink.digit == 8))
    browser.execute_async_script(REPLAY, placed(page.ink[int(digit)]))
    for view in ("draw", "break", "step", "train", "draw"):
        go(browser, view)
        check_access(browser)
    box, letters = browser.execute_script(
        "return [consent.offsetHeight, parseFloat(getComputedStyle(document.body).fontSize)]"
    )
    assert box >= letters
    if PICTURES and width == 1280:
        browser.execute_script("scrollTo(0, 0); document.activeElement.blur()")
        browser.save_screenshot(str(PICTURES / "page.png"))
