import json
import re
from collections import defaultdict
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from flat_dist.evaluation import consistency, top_k
from flat_dist.evaluation.adversarial_sets import SetResult
from flat_dist.evaluation.annotation import Annotation, Judged
from flat_dist.evaluation.attributions import SCHEMA
from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.substitutions import Replacement
from flat_dist.evaluation.transfer import Transfer
from flat_dist.evaluation.validity import Validity
from flat_dist.evaluation.word_importance import Words
from flat_dist.report import charts, figures, paper, report, word_tables
from flat_dist.report import saliency as saliency_payload
from flat_dist.report.formatting import fixed, percent, significant, standard_error
from flat_dist.report.page import Page, Saliency
from flat_dist.report.report import write
from flat_dist.storage.folder import Folder
from tests import pages

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'"


def written(folder: Path, page: Page) -> str:
    write(Folder(folder), page)
    return (folder / "index.html").read_text(encoding="utf-8")


def table(html: str, section: str) -> list[list[str]]:
    """Cells of the first table of a section, its head first."""
    part = html[html.index(f'<section id="{section}">') :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")], re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of the page that most tests look at."""
    found = tmp_path_factory.mktemp("report")
    written(found, pages.page())
    return found


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the tables alone: a page has sixteen charts, which take seconds."""
    monkeypatch.setattr(report, "_charts", lambda page: defaultdict(list))


@pytest.mark.parametrize(
    ("asked", "accuracy", "after_attack", "taus", "tops"),
    [
        # Tables 2, 3 and 8
        (("sst2", "cnn", "flat", "textfooler", "textfooler"), 0.8309, 0.3707, (0.70, 0.39), (0.82, 0.69)),
        (("trec", "deberta", "adv", "pwws", "pwws"), 0.9640, 0.6360, (0.64, 0.12), (0.91, 0.80)),
        (("imdb", "lstm", "base", "textfooler", "textfooler"), 0.8803, 0.0016, (0.53, 0.39), (0.46, 0.50)),
        (("ag_news", "bert", "flat", "pwws", "pwws"), 0.9309, 0.4916, (0.30, 0.08), (0.42, 0.24)),
        # a base model has seen no attack: nothing is unseen to it
        (("sst2", "cnn", "base", "pwws", "textfooler"), 0.8418, 0.0829, (0.53, 0.37), (0.72, 0.68)),
        # Table 4
        (("sst2", "cnn", "flat", "pwws", "textfooler"), 0.8309, 0.4256, (), ()),
        (("sst2", "lstm", "adv", "clare", "textfooler"), 0.8232, 0.0390, (), ()),
        (("sst2", "deberta", "base", "bae", None), 0.9418, 0.3861, (), ()),
        (("sst2", "cnn", "flat", "genetic", "textfooler"), 0.8309, 0.5502, (), ()),
        # movie reviews that the paper has not
        (
            ("rotten_tomatoes_sample", "cnn", "adv", "textfooler", "textfooler"),
            0.8215,
            0.0253,
            (0.52, 0.35),
            (0.72, 0.68),
        ),
        # it has nothing on transfer from PWWS, on other datasets, models, trainings and attacks
        (("sst2", "cnn", "flat", "textfooler", "pwws"), 0.8331, None, (), ()),
        (("imdb", "cnn", "flat", "pwws", "textfooler"), 0.8889, None, (), ()),
        (("custom", "cnn", "flat", "pwws", "pwws"), None, None, (), ()),
        (("sst2", "minilm", "flat", "pwws", "pwws"), None, None, (), ()),
        (("sst2", "cnn", "mine", "pwws", "pwws"), None, None, (), ()),
        (("sst2", "cnn", "flat", "mine", "mine"), None, None, (), ()),
    ],
)
def test_the_papers_numbers(
    asked: tuple[str, str, str, str, str | None],
    accuracy: float | None,
    after_attack: float | None,
    taus: tuple[float, ...],
    tops: tuple[float, ...],
) -> None:
    found = paper.numbers(*asked)
    assert (found.accuracy, found.after_attack_accuracy) == (accuracy, after_attack)
    assert (tuple(found.kendall_tau.values()), tuple(found.top_5.values())) == (taus, tops)
    assert tuple(found.kendall_tau) == (("ig", "lime") if taus else ())


def test_the_papers_correlations() -> None:
    assert paper.correlations() == {
        "importance-word_frequency": (-0.028, 0.001),
        "importance-substitution_frequency": (0.087, 5.79e-5),
        "word_frequency-substitution_frequency": (0.162, 1.65e-8),
    }


def test_formatted_numbers() -> None:
    assert [fixed(None), fixed(float("nan")), fixed(-0.456), fixed(1234.5, 1)] == ["–", "–", "−0.46", "1,234.5"]
    assert [percent(0.1234), percent(None)] == ["12.3", "–"]
    assert [significant(value, 3) for value in (5.79e-5, 0.001, 0, None)] == ["5.79 × 10⁻⁵", "0.001", "0", "–"]
    assert standard_error(0.5, 400) == pytest.approx(0.025)
    assert standard_error(0.5, 0) is None


def test_curves_over_strength_are_charts_and_tables(html: str, folder: Path, tmp_path: Path) -> None:
    head, *rows = table(html, "strength")
    assert head == ["attack", "training", "sees", *(f"{share} %" for share in range(0, 101, 10))]
    assert rows[0][:5] == ["textfooler", "base", "probabilities", "74.5", "68.5"]
    assert rows[3] == ["textfooler", "adv", "worst (upper bound)", "74.0", *rows[3][4:13], "4.0"]
    assert len(rows) == 12
    section = html[html.index('<section id="strength">') :].split("</section>")[0]
    names = ["strength-changed-textfooler", "strength-neighbours-textfooler", "strength-changed-pwws"]
    assert re.findall(r'<svg [^>]*class="([^"]*)"', section) == names
    assert all((folder / "figures" / f"{name}.png").stat().st_size for name in names)
    found = table(section[section.index("<h3>") :].replace("<h3>", '<section id="n">', 1), "n")
    assert found[0] == ["attack", "training", "1", "8", "50"]
    assert found[3] == ["textfooler", "flat", "60.0", "32.0", "10.0"]
    plain = replace(pages.results()[0], by_changed_words={}, by_neighbours={})
    assert 'id="strength"' not in written(tmp_path, pages.page(results=[plain]))


def test_the_table_of_models_includes_the_papers_numbers(html: str) -> None:
    head, *rows = table(html, "models")
    assert head[:6] == ["attack", "training", "accuracy, %", "paper,\nSST-2", "after\nattack, %", "paper,\nSST-2"]
    assert [row[:2] for row in rows[:4]] == [["textfooler", t] for t in ("base", "adv", "flat")] + [
        ["pwws, unseen", "base"]
    ]
    # sqrt(0.765 * 0.235 / 400) = 0.0212, sqrt(0.075 * 0.925 / 400) = 0.0132
    assert rows[2][2:] == ["76.5 ± 1.1", "83.1", "7.5 ± 1.3", "37.1", "90.0", "101", "13.7", "400"]
    assert rows[5][5] == "42.6"  # Table 4
    assert "Columns “paper, SST-2” are the paper’s CNN on SST-2, trained against textfooler" in html
    assert "The paper has no numbers for rotten_tomatoes_sample" in html


@pytest.mark.usefixtures("no_charts")
def test_without_a_known_training_attack_only_base_has_the_papers_numbers(tmp_path: Path) -> None:
    results = [replace(row, trained_on=None) for row in pages.results(("pwws",))]
    _, *rows = table(written(tmp_path, pages.page(results=results, rounds=())), "models")
    assert [row[0] for row in rows] == ["pwws"] * 3
    assert [row[3] for row in rows] == ["84.2", "–", "–"] and [row[5] for row in rows] == ["8.3", "–", "–"]


def test_the_table_of_consistency(html: str) -> None:
    head, *rows = table(html, "consistency")
    assert head[3:10] == ["Kendall’s τ", "95 % interval", "top-5", "pairs", "τ,\nown pairs", "top-5,\nown pairs",
                          "own\npairs"]  # fmt: skip
    assert head[-3:] == ["without τ", "unaligned", "completeness\nerror"]
    common, own = ["0.54", "0.50 to 0.58", "0.71", "50"], ["0.54", "0.71", "100"]
    assert rows[4] == ["textfooler", "flat", "IG", *common, *own, "3", "1", "0.0012"]
    assert rows[-1][6:] == ["50", "0.39", "0.68", "100 of 300", "0", "0", "–"]


def test_margins_by_outcome(html: str) -> None:
    part = html[html.index("Margins before the attack") :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows[1:]]
    assert cells[0] == ["textfooler", "base", "skipped", "10", "−7.2", "−5.0", "−2.8", "0.0"]
    # 20.5, 21.5, ... 29.5 are all above 16.6; of 10.5 ... 19.5 only 17.5, 18.5 and 19.5 are.
    assert cells[5] == ["textfooler", "adv", "failed", "10", "22.8", "25.0", "27.2", "100.0"]
    assert cells[4] == ["textfooler", "adv", "successful", "10", "12.8", "15.0", "17.2", "30.0"]
    assert part.count("<svg") >= 3


def test_consistency_by_outcome_and_over_all_texts(html: str) -> None:
    part = html[html.index("By outcome of the attack") :]
    head, *rows = table(f'<section id="consistency">{part}', "consistency")
    assert head[3:7] == ["outcome", "Kendall’s τ", "top-5", "pairs"] and head[-1] == "texts left\nunchanged"
    assert [row[3:] for row in rows[:3]] == [
        ["failed", "–", "–", "0", "0.44", "0.65", "10", "5"],
        ["skipped", "–", "–", "0", "–", "–", "0", "295"],
        ["successful", "0.44", "0.65", "50", "0.44", "0.65", "90", "0"],
    ]
    head, *rows = table(f'<section id="consistency">{part[part.index("Over all texts") :]}', "consistency")
    assert head[3:] == ["τ,\nall texts", "paper,\nSST-2", "top-5,\nall texts", "paper,\nSST-2", "unchanged, %", "texts"]
    assert rows[4] == ["textfooler", "flat", "IG", "0.81", "0.70", "0.87", "0.82", "75.0", "400"]
    assert rows[-1] == ["pwws, unseen", "flat", "LIME", "0.81", "–", "0.87", "–", "25.0", "400"]


@pytest.mark.usefixtures("no_charts")
def test_without_the_shown_size_there_are_dashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (consistency, top_k):
        monkeypatch.setattr(module, "TOP", 11)
    head, *rows = table(written(tmp_path, pages.page()), "consistency")
    assert {row[head.index("top-5")] for row in rows} == {"–"}  # the heading is made when the module is imported
    data = saliency_payload.payload(pages.saliencies(count=2), pages.LABELS)
    assert data is not None
    assert set(data["attacks"][0]["rows"]["ig"]["flat"]["0"]["top"]) == {None}


@pytest.mark.usefixtures("no_charts")
def test_without_the_papers_numbers_there_are_no_columns_for_them(tmp_path: Path) -> None:
    html = written(tmp_path, pages.page(dataset="mine", model="encoder"))
    assert not [name for name in table(html, "models")[0] + table(html, "consistency")[0] if "paper" in name]
    assert "Columns “paper" not in html


def test_correlations_words_and_replacements(html: str) -> None:
    head, *rows = table(html, "importance")
    assert head == ["model", "correlation of", "r", "p", "words", "r, paper’s\nLSTM", "p, paper’s\nLSTM"]
    assert rows[4] == [
        "flat", "importance – substitution frequency", "0.112", "3.21 × 10⁻⁹", "3,000", "0.087", "5.79 × 10⁻⁵",
    ]  # fmt: skip
    assert rows[5][2:4] == ["–", "–"]
    words = pages.page().importances[-1].words
    seen = [index for index in range(len(words.words)) if words.frequency_V[index] >= 5]
    best = max(seen, key=lambda index: words.importance_V[index])
    _, first, *others = table(html, "words")
    assert first[0] == words.words[best] and len(others) == 19
    assert ["film", "cinema 30, flick 5", "40"] in table(html, "replacements")


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    empty = Page(
        title="nothing", facts={}, dataset="mine", model="cnn", label_names=(), split="test", texts=1, results=()
    )
    html = written(tmp_path, empty)
    assert "<section" not in html and "<svg" not in html
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["index.html"]
    no_pairs = Saliency("base", "pwws", "ig", SCHEMA.empty_table())
    assert 'id="saliency"' not in written(tmp_path, replace(empty, saliencies=[no_pairs]))


def test_undefined_numbers_are_shown_as_dashes(tmp_path: Path) -> None:
    nowhere = Consistency(None, {}, 0, 0)
    bare = [replace(row, attack_success_rate=None, mean_queries=None, words_changed=float("nan"), n=0,
                    interpretations={"ig": pages.interpretation(nowhere)}) for row in pages.results()]  # fmt: skip
    nothing = pages.pair(
        "0", [], [], np.random.default_rng(0), kendall_tau=[None, None], completeness_error=float("nan")
    )
    saliency = Saliency("base", "pwws", "ig", pa.Table.from_pylist([nothing], SCHEMA))
    words = Words(("a",), np.array([9]), np.array([0]), np.array([0.5]))
    importance = replace(pages.importance("flat", 0), words=words, spread=np.array([np.nan]))
    html = written(tmp_path, pages.page(results=bare, saliencies=[saliency], importances=[importance]))
    shown = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(r"\b(NaN|nan|None)\b", shown)
    assert "NaN" not in html[html.index('id="saliency-data"') : html.index("</script>")]
    assert table(html, "models")[1][-4:] == ["–", "–", "–", "0"]


def test_html_in_texts_is_escaped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [pages.pair(HOSTILE, [HOSTILE, "film"], [HOSTILE, "movie"], rng, status=HOSTILE)]
    page = pages.page(
        title=HOSTILE,
        facts={HOSTILE: HOSTILE},
        label_names=(HOSTILE, "b"),
        split="test",
        texts=1,
        results=[replace(row, attack=HOSTILE, training=HOSTILE) for row in pages.results()],
        rounds=[replace(row, training=f"{HOSTILE} $x_$") for row in pages.rounds()],
        saliencies=[Saliency(HOSTILE, HOSTILE, "ig", pa.Table.from_pylist(rows, SCHEMA))],
        importances=[replace(pages.importance(HOSTILE, 0), synonyms=HOSTILE)],
        replacements={HOSTILE: [Replacement(HOSTILE, 1, ((HOSTILE, 1),))]},
        cards=[{HOSTILE: HOSTILE}],
    )
    html = written(tmp_path, page)
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html and "onerror=alert(2)&gt;" in html
    start = html.index('id="saliency-data">') + len('id="saliency-data">')
    data = json.loads(html[start : html.index("</script>", start)])
    assert data["texts"][0] == [HOSTILE, "film"] and data["labels"] == [HOSTILE, "b"]
    assert all(re.fullmatch(r"[a-z0-9-]+\.png", path.name) for path in (tmp_path / "figures").iterdir())


def test_the_same_page_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(Folder(tmp_path / name), pages.page(saliencies=pages.saliencies(count=3)))
    one, two = ({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
                for name in ("one", "two"))  # fmt: skip
    assert one == two and len(one) == 18  # index.html, words.csv and 16 charts
    assert all(data.startswith(b"\x89PNG") for path, data in one.items() if path.suffix == ".png")


def test_the_page_is_self_contained(html: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|<link|src=", re.sub(r"base64,[\w+/=\s]*", "", html))
    assert set(re.findall(r'href="(.)', html)) <= {"#", "d"}  # inside charts: their own parts, and data
    assert len(html.encode()) < 2_000_000
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_with_long_texts_the_page_has_fewer_pairs() -> None:
    data = saliency_payload.payload(pages.saliencies(words=250), pages.LABELS)
    assert data is not None
    for attack in data["attacks"]:
        assert 1 <= len(attack["ids"]) < saliency_payload.MAX_PAIRS and attack["total"] == 71
    assert len(json.dumps(data, separators=(",", ":"))) < 2_000_000


def test_pairs_that_all_models_have_come_first() -> None:
    few = [pages.saliency("base", "pwws", "ig", 5, 0), pages.saliency("flat", "pwws", "ig", 3, 1)]
    few[0] = replace(few[0], pairs=few[0].pairs.take([4, 3, 2, 1, 0]))
    data = saliency_payload.payload(few, pages.LABELS)
    assert data is not None
    assert data["attacks"][0]["ids"] == ["2", "1", "0", "4", "3"]
    row = data["attacks"][0]["rows"]["ig"]["flat"]["2"]
    expected = few[1].pairs.to_pylist()[2]
    assert data["texts"][row["words"][1]] == expected["perturbed_words"]
    assert row["tau"] == pytest.approx(expected["kendall_tau"], rel=1e-3)
    assert row["top"] == pytest.approx([of_class[4] for of_class in expected["top_k"]], rel=1e-3)
    assert row["values"][0] == [pytest.approx(of_class, rel=1e-3) for of_class in expected["original_attributions"]]


@pytest.mark.usefixtures("no_charts")
def test_the_first_sentences_of_pairs_are_shown(tmp_path: Path) -> None:
    shown = replace(pages.saliency("base", "pwws", "ig", 2, 0), first_sentences={"1": "a premise", "other": "none"})
    data = saliency_payload.payload([shown], pages.LABELS)
    assert data is not None and data["attacks"][0]["first"] == {"1": "a premise"}
    assert "first sentence, fixed" in written(tmp_path, pages.page(saliencies=[shown]))


def test_the_alignment_is_kept_if_words_have_no_counterpart() -> None:
    rows = [pages.pair("0", ["a", "fine", "film"], ["a", "film"], np.random.default_rng(0))]
    saliency = Saliency("base", "pwws", "ig", pa.Table.from_pylist(rows, SCHEMA))
    data = saliency_payload.payload([saliency], pages.LABELS)
    assert data is not None
    assert data["attacks"][0]["rows"]["ig"]["base"]["0"]["aligned"] == [[0, 0], [2, 1]]


def test_words_csv_has_all_words() -> None:
    words = pages.words(3000)
    head, first, *others = word_tables.words_csv(words).splitlines()
    assert head == "word,importance,frequency,replaced"
    assert first == f"the,{words.importance_V[0]:.6g},2000,{words.replaced_V[0]}"
    assert len(others) == 2999


def test_lines_differ_in_style_and_have_contrast_on_light_and_dark() -> None:
    styles = charts.styles(["mine", "flat", "base", "adv"])
    assert list(styles) == ["base", "adv", "flat", "mine"]
    for key in ("color", "marker", "linestyle"):
        assert len({style[key] for style in styles.values()}) == 4
    for colour in (*charts.COLOURS.values(), *charts.OTHER_COLOURS):
        light = _luminance(colour)
        assert 1.05 / (light + 0.05) >= 3 and (light + 0.05) / (_luminance("#15171b") + 0.05) >= 3


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_base_which_is_trained_once_is_a_level_line_through_all_rounds() -> None:
    axes = Figure().add_subplot()
    figures._draw_rounds(axes, pages.rounds(), "accuracy", "accuracy")
    (level,) = axes.collections[0].get_segments()
    assert level.tolist() == [[0, 74], [2, 74]]
    assert {line.get_label(): line.get_xdata().tolist() for line in axes.lines} == {
        "base": [0],
        "adv": [0, 1, 2],
        "flat": [0, 1, 2],
    }


@pytest.mark.usefixtures("no_charts")
def test_transfer_sets_validity_and_peoples_answers_have_sections(tmp_path: Path) -> None:
    direct = Transfer("pwws", "base", "base", 0, 9, 0.2, 0.75, 5, 0.6, 3, 1.0, 40.0)
    across = replace(direct, model="flat", accuracy=0.5, transferred=0.25)
    matrix = [direct, replace(direct, made_against="flat"), across, replace(direct, model="flat", made_against="flat")]
    valid = {"successful": Validity(7, 0.91, None, 0.2)}
    page = pages.page()
    page = replace(
        page,
        results=[replace(page.results[0], validity=valid), *page.results[1:]],
        transfers=matrix,
        sets=[SetResult("log", "pairs", "<base>", 0, 8, 1, None, 0.625, None)],
        annotation=Annotation(1, Judged(4, 0.5, None, 1.0)),
    )
    html = written(tmp_path, page)
    assert table(html, "validity")[1][2:] == ["successful", "7", "0.910", "–", "20.0"]
    assert table(html, "sets")[1] == ["log", "<base>", "–", "62.5", "–", "8", "1"]
    assert table(html, "annotation")[1] == ["all", "4", "50.0", "–", "100.0"]
    assert table(html, "transfer")[0] == ["training", "no attack, %", "textfooler", "pwws"]
    base, flat = across_rows(html)
    assert base == ["pwws", "base", "20.0", "direct", "20.0"]
    assert flat == ["pwws", "flat", "20.0", "50.0", "direct"]
    plain = written(tmp_path / "plain", pages.page())
    assert not any(f'<section id="{name}">' in plain for name in ("transfer", "sets", "annotation", "validity"))


def across_rows(html: str) -> list[list[str]]:
    """Rows of the matrix of accuracies."""
    section = html[html.index('<section id="transfer">') :]
    matrix = section[section.index("Texts made against another model") :].replace("<h3>", '<section id="matrix">', 1)
    return table(f'<section id="matrix">{matrix}', "matrix")[1:]
