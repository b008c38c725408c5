"""The report's page in a real browser. Without Chromium these tests skip; CI installs it."""

import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from flat_dist.evaluation.attributions import SCHEMA
from flat_dist.report.page import Page, Saliency
from flat_dist.report.report import write
from flat_dist.storage.folder import Folder
from tests import pages

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [name for name, path in (("chromium", CHROMIUM), ("chromedriver", CHROMEDRIVER)) if path is None]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)} on this machine"),
]

MODEL, LINE, WORD = "#cards .model", "#cards .text", "#cards .w"


@pytest.fixture(scope="module")
def page() -> Page:
    return pages.page()


@pytest.fixture(scope="module")
def address(page: Page, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write(Folder(folder), page)
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1100,900"):
        options.add_argument(f"--{flag}")
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The page, anew; whatever a test does with it, the browser has nothing to complain about."""
    scheme(browser, "light")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def scheme(browser: webdriver.Chrome, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    return [found.text for found in browser.find_elements(By.CSS_SELECTOR, selector)]


def select(browser: webdriver.Chrome, name: str) -> Select:
    return Select(browser.find_element(By.ID, name))


def shown(browser: webdriver.Chrome) -> list[tuple[str, str]]:
    """Words of the original and of the adversarial text of each model."""
    lines = [
        " ".join(word.text for word in line.find_elements(By.CSS_SELECTOR, ".w"))
        for line in browser.find_elements(By.CSS_SELECTOR, LINE)
    ]
    return list(zip(lines[::2], lines[1::2], strict=True))


def expected(page: Page, attack: str, method: str, pair_id: str) -> list[tuple[str, str]]:
    rows = [
        row
        for one in page.saliencies
        if (one.attack, one.method) == (attack, method)
        for row in one.pairs.to_pylist()
        if row["pair_id"] == pair_id
    ]
    return [(" ".join(row["original_words"]), " ".join(row["perturbed_words"])) for row in rows]


def test_the_first_pair_is_shown_for_each_model(opened: webdriver.Chrome, page: Page) -> None:
    assert texts(opened, f"{MODEL} h3") == ["base", "adv", "flat"]
    assert shown(opened) == expected(page, "textfooler", "ig", "0")
    assert re.fullmatch(r"\[positive \d\d %\]", texts(opened, f"{LINE} b")[0])
    assert re.fullmatch(r"\[negative \d\d % ×\]", texts(opened, f"{LINE} b")[1])
    row = page.saliencies[0].pairs.to_pylist()[0]
    measures = texts(opened, ".measures")[0].replace("−", "-")
    assert f"class positive · τ {row['kendall_tau'][1]:.2f} · top-5 {row['top_k'][1][4]:.2f}" in measures
    assert "completeness error 0.0123" in measures
    assert "60 pairs. This page has 60 of the 71" in texts(opened, "#count")[0]


def test_replaced_words_are_underlined_and_words_have_their_attributions_as_titles(
    opened: webdriver.Chrome, page: Page
) -> None:
    row = page.saliencies[0].pairs.to_pylist()[0]
    line = opened.find_elements(By.CSS_SELECTOR, LINE)[1]
    words = line.find_elements(By.CSS_SELECTOR, ".w")
    underlined = [word.text for word in words if "underline" in word.value_of_css_property("text-decoration-line")]
    changed = [b for a, b in zip(row["original_words"], row["perturbed_words"], strict=True) if a != b]
    assert underlined == changed
    numbers = [float((word.get_attribute("title") or "").replace("−", "-")) for word in words]
    assert numbers == pytest.approx(row["perturbed_attributions"][1], rel=1e-3)
    strongest = max(range(len(numbers)), key=lambda index: abs(numbers[index]))
    assert "--a: 1.000" in (words[strongest].get_attribute("style") or "")


def test_the_pair_selector_and_the_buttons_change_the_texts(opened: webdriver.Chrome, page: Page) -> None:
    select(opened, "pair").select_by_value("7")
    assert shown(opened) == expected(page, "textfooler", "ig", "7")
    before, after = (opened.find_element(By.ID, name) for name in ("previous", "next"))
    after.click()
    assert shown(opened) == expected(page, "textfooler", "ig", "8")
    before.click()
    before.click()
    assert shown(opened) == expected(page, "textfooler", "ig", "6")
    select(opened, "pair").select_by_value("0")
    assert not before.is_enabled() and after.is_enabled()
    select(opened, "pair").select_by_index(59)
    assert before.is_enabled() and not after.is_enabled()


def test_the_filter_keeps_pairs_that_have_the_word(opened: webdriver.Chrome, page: Page) -> None:
    field = opened.find_element(By.ID, "filter")
    field.send_keys("Pesky")
    found = [option.get_attribute("value") or "" for option in select(opened, "pair").options]
    wanted = [
        str(pair)
        for pair in range(60)
        if any("pesky" in text for both in expected(page, "textfooler", "ig", str(pair)) for text in both)
    ]
    assert found == wanted and 0 < len(found) < 60
    assert shown(opened) == expected(page, "textfooler", "ig", wanted[0])
    assert f"{len(wanted)} pairs of 60" in texts(opened, "#count")[0]
    field.send_keys(" nowhere")
    assert texts(opened, "#cards") == ["No pair contains this word."]
    assert not opened.find_element(By.ID, "next").is_enabled()
    opened.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", field)
    assert len(select(opened, "pair").options) == 60


def test_attack_and_method_select_other_numbers(opened: webdriver.Chrome, page: Page) -> None:
    select(opened, "pair").select_by_value("3")
    assert [option.text for option in select(opened, "attack").options] == ["textfooler", "pwws"]
    assert [option.text for option in select(opened, "method").options] == ["IG", "LIME"]
    select(opened, "attack").select_by_value("1")
    select(opened, "method").select_by_value("lime")
    assert select(opened, "pair").first_selected_option.get_attribute("value") == "3"
    assert shown(opened) == expected(page, "pwws", "lime", "3")
    assert "completeness" not in texts(opened, ".measures")[0]


def test_the_other_class_has_opposite_attributions(opened: webdriver.Chrome) -> None:
    def signs() -> list[str]:
        return [word.get_attribute("class") or "" for word in opened.find_elements(By.CSS_SELECTOR, WORD)]

    predicted = signs()
    assert [option.text for option in select(opened, "class").options] == ["as predicted", *pages.LABELS]
    select(opened, "class").select_by_value("1")
    assert signs() == predicted
    select(opened, "class").select_by_value("0")
    turned = [name.replace(" for", " x").replace(" against", " for").replace(" x", " against") for name in predicted]
    assert signs() == turned
    assert "class negative" in texts(opened, ".measures")[0]


def test_a_model_without_the_pair_shows_a_message(browser: webdriver.Chrome, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    aligned = [{"original": 0, "perturbed": 0}, {"original": 2, "perturbed": 1}]
    longer = pages.pair("0", ["a", "fine", "film"], ["a", "film", "indeed"], rng, alignment=aligned)
    saliencies = [
        Saliency(training, "pwws", "ig", pa.Table.from_pylist(rows, SCHEMA))
        for training, rows in (("base", [longer]), ("flat", []))
    ]
    write(Folder(tmp_path), pages.page(saliencies=saliencies))
    browser.get((tmp_path / "index.html").as_uri())
    assert texts(browser, f"{MODEL} h3") == ["base", "flat"]
    assert "no pair: " in texts(browser, ".measures")[1]
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows_of(browser, "#numbers")]
    assert [(row[1], row[3]) for row in cells] == [("a", "a"), ("film", "film"), ("fine", "–"), ("–", "indeed")]
    assert browser.get_log("browser") == []


def rows_of(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, f"{selector} tbody tr")


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_chart_is_drawn(opened: webdriver.Chrome, name: str) -> None:
    scheme(opened, name)
    charts = opened.find_elements(By.CSS_SELECTOR, "svg")
    # margins of three models; strength: two by changed words, one by neighbours; rounds; top-k; scatters; spread
    assert len(charts) == 3 + 3 + 2 + 4 + 3 + 1
    for chart in charts:
        assert chart.get_attribute("role") == "img" and chart.get_attribute("aria-label")
        assert chart.size["width"] > 200 and chart.size["height"] > 150
        colours = Image.open(BytesIO(chart.screenshot_as_png)).convert("RGB").getcolors(1 << 24)
        assert len(colours) > 20
        corner = max(colours)[1]  # the background is the page's own
        assert (sum(corner) > 700) == (name == "light")
        bars = opened.execute_script(
            "return [...arguments[0].querySelectorAll('path, use, image, text')]"
            ".map(one => one.getBoundingClientRect()).filter(box => box.width > 0 || box.height > 0).length",
            chart,
        )
        assert bars > 10


def test_every_chart_has_a_table_of_its_numbers(opened: webdriver.Chrome) -> None:
    counts = opened.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.charts')].map(one => [one.dataset.charts,"
        " one.nextElementSibling.querySelectorAll('td.n').length]))"
    )
    assert counts == {
        "margins": 3 * 3 * 5,  # training, outcome; a count, three quartiles, a share
        "strength": 2 * 3 * 2 * 11,  # attack, training, scores, share of words that may change
        "rounds": 7 * 5,  # training and round
        "top_k": 2 * 2 * 3 * 10,  # attack, method, training, k
        "scatters": 2000 * 3,  # the most frequent words
        "spread": 2 * 6,  # model; five quantiles and a count
    }
    opened.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert len(rows_of(opened, "#numbers")) == 3 * 20


CONTRASTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
function over(colours) {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function luminance(rgb) {
  const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const found = {}, written = "h1, h2, p, td, th, caption, summary, .w, .text b, button:enabled, select, svg text";
for (const one of document.querySelectorAll(written)) {
  const behind = [];
  for (let up = one; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
  const style = getComputedStyle(one), ink = one.tagName === "text" ? style.fill : style.color;
  const [a, b] = [over(behind), over([...behind, ink])].map(luminance).sort((x, y) => y - x);
  found[one.tagName] = Math.min(found[one.tagName] ?? 99, (a + 0.05) / (b + 0.05));
}
return found;
"""


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("button", [False, True])
def test_texts_are_readable_in_light_and_dark(opened: webdriver.Chrome, name: str, button: bool) -> None:
    """By the system's preference, or by the button against it."""
    scheme(opened, {"light": "dark", "dark": "light"}[name] if button else name)
    if button:
        opened.find_element(By.ID, "theme").click()
    opened.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 27)"}[name]
    contrasts = opened.execute_script(CONTRASTS)
    assert {"P", "TD", "SPAN", "B", "text", "SELECT"} <= contrasts.keys()
    assert {tag: value for tag, value in contrasts.items() if value < 4.5} == {}


def test_a_narrow_screen_needs_no_horizontal_scrolling(opened: webdriver.Chrome) -> None:
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 400
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_works_in_the_sandboxed_frame_of_an_artifact_viewer(
    opened: webdriver.Chrome, address: str, page: Page
) -> None:
    html = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    opened.get("about:blank")
    opened.execute_script(
        "const frame = document.createElement('iframe'); frame.setAttribute('sandbox', 'allow-scripts');"
        "frame.width = 1000; frame.height = 800; frame.srcdoc = arguments[0]; document.body.append(frame);",
        html,
    )
    opened.switch_to.frame(0)
    opened.implicitly_wait(10)
    assert opened.find_elements(By.CSS_SELECTOR, WORD)
    opened.implicitly_wait(0)
    select(opened, "pair").select_by_value("5")
    assert shown(opened) == expected(page, "textfooler", "ig", "5")
    opened.find_element(By.ID, "theme").click()
    chart = opened.find_element(By.CSS_SELECTOR, "svg")
    assert len(Image.open(BytesIO(chart.screenshot_as_png)).convert("RGB").getcolors(1 << 24)) > 20
    opened.switch_to.default_content()
