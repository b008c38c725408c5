"""The plan, the cards, the claims and the page of a reproduction, of made-up numbers and by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flat_dist import cli
from flat_dist.commands import reproduce
from flat_dist.config.errors import IncompleteError, UserError
from flat_dist.config.schema import SubstitutesConfig
from flat_dist.config.validation import validate
from flat_dist.data import shards
from flat_dist.report import paper
from flat_dist.reproduction import cards
from flat_dist.reproduction.cards import CARDS, Card
from flat_dist.reproduction.cells import FIRST_SEED, RECIPES, TABLE_10, USES, Cell, Selection
from flat_dist.reproduction.claims import CLAIMS, Claim, Count, Difference, count, count_published, differences
from flat_dist.reproduction.explained import KEPT, kept_ids, pair_tops
from flat_dist.reproduction.figures import top_k_charts, top_k_curves
from flat_dist.reproduction.job import Reproduction
from flat_dist.reproduction.machine import this_machine
from flat_dist.reproduction.outcomes import decode, decode_pairs, encode, encode_pairs
from flat_dist.reproduction.page import FIGURES, PAGE, grouped, page, readme
from flat_dist.reproduction.plan import Order, Planned, estimate
from flat_dist.reproduction.publish import END, START, publish, update_readme, with_table, write_pictures
from flat_dist.reproduction.recipes import TRANSFER_ATTACKS, Measures, config_of, options_of
from flat_dist.reproduction.records import records
from flat_dist.reproduction.sections import SECTIONS
from flat_dist.reproduction.speed import MEASURED, CellWork, Texts, calibration, missing_seconds
from flat_dist.runtime.hardware import Machine as Gpu
from flat_dist.runtime.hardware import resolve
from flat_dist.runtime.progress import Display
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.sweep.variants import TABLE_5
from tests.reproduction_cards import MACHINE, TAUS, attacked, card, other_card

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"

ALL = Selection(
    tables=("2", "3", "4", "5", "7", "8", "9"),
    models=("cnn", "lstm"),
    datasets=("sst2", "trec"),
    attacks=("textfooler", "pwws"),
    recipes=RECIPES,
    seeds=3,
)


# ---- cells


def test_the_cells_of_all_tables() -> None:
    found = ALL.cells()
    counts = {use: sum(cell.use == use for cell in found) for use in USES}
    assert counts == {"main": 2 * 2 * 2 * 9, "ablation": 9, "transfer": 2 * 9, "words": 9, "groups": 0, "growing": 0}
    assert len({cell.name for cell in found}) == len(found)
    assert [cell.name for cell in found[:4]] == [
        f"main-sst2-cnn-textfooler-{recipe}-{seed}"
        for recipe, seed in (("released", 1111), ("released", 1112), ("released", 1113), ("paper", 1111))
    ]
    assert {(cell.dataset, cell.model, cell.attack) for cell in found if cell.use == "ablation"} == {
        ("sst2", "lstm", "textfooler")
    }


def test_of_all_tables_those_without_a_cell_are_left_out() -> None:
    every = replace(ALL, tables=(*ALL.tables, "10"))
    assert every.cells() == ALL.cells()
    on_news = replace(every, datasets=("ag_news",), seeds=1)
    uses = [(cell.use, cell.model, cell.attack) for cell in on_news.cells() if cell.recipe == "paper"]
    assert uses[-1] == ("groups", "cnn", "textfooler") and {use for use, _, _ in uses[:-1]} == {"main"}
    assert [cell.use for cell in replace(on_news, tables=("10",)).cells()] == ["groups"] * 3


@pytest.mark.parametrize("table", ["2", "3", "7", "8"])
def test_tables_of_the_same_models_are_the_same_cells(table: str) -> None:
    only = replace(ALL, tables=(table,))
    assert only.cells() == replace(ALL, tables=("2", "3", "7", "8")).cells()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "--seeds is 0, but must be from 1 to 1000"),
        ({"tables": ()}, "--tables is empty: name at least one value"),
        ({"models": ("cnn", "cnn")}, "--models is cnn, cnn: name at least one value, each once"),
        ({"models": ("cnn",)}, "--tables 5 is about lstm on sst2, trained against textfooler: add these"),
        ({"tables": ("4",), "datasets": ("trec",)}, "--tables 4 is about cnn or lstm on sst2"),
        ({"tables": ("2", "10")}, "--tables 10 is about cnn on ag_news, trained against textfooler: add these"),
        (
            {"tables": ("growing",), "recipes": ("paper",)},
            "--tables growing is about cnn on customer_reviews or sst2, trained against textfooler by the recipe ours",
        ),
        ({"datasets": ("customer_reviews",)}, "--tables 2 is about cnn or lstm on sst2 or trec or ag_news or imdb"),
    ],
)
def test_a_selection_without_cells_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        replace(ALL, **changes).cells()


# ---- recipes


def config(recipe: str, model: str = "cnn", use: str = "main", **others: Any) -> Any:
    cell = Cell(use, "sst2", model, "textfooler", recipe, 1112)  # type: ignore[arg-type]
    return config_of(cell, "some/", Measures(**others))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("model", ["cnn", "lstm"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_config_is_valid(recipe: str, model: str, use: str) -> None:
    found = config(recipe, model, use)
    validate(found)
    assert found.data.folder == "some/sst2" and found.data.named == "sst2"
    assert (found.model.name, found.attack.name, found.seed) == (model, "textfooler", 1112)
    trained = {"ablation": ("flat",), "words": ("flat",), "groups": ("base",)}
    assert found.training.kinds == trained.get(use, ("base", "adv", "flat"))
    assert found.evaluation.scores == ("probabilities", "margin")
    assert found.evaluation.attacks == (TRANSFER_ATTACKS if use == "transfer" else ("textfooler",))
    assert found.evaluation.explain == (("ig", "lime") if use == "main" else ())


def test_the_recipe_released_has_the_options_of_the_released_code() -> None:
    found = config("released")
    assert found.objective == cli.load_preset("sst2,released").objective
    own = found.objective
    assert (own.beta, own.gamma, own.double_softmax) == (0.1, 0.001, True)
    assert (own.entropy, own.pairs, own.weighting) == ("padded_mean", "union", "union")
    training = found.training
    assert (training.init, training.shards, training.keep, training.rounds) == ("scratch", "replace", "all", 2)
    assert (training.epochs, training.epochs_per_round, training.clip) == (10, 10, 0.0)
    # base and adv 0.01, FLAT 0.005
    rates = (
        training.learning_rate,
        training.adv_learning_rate,
        training.round_learning_rate,
        training.flat_learning_rate,
    )
    assert rates == (0.01, 0.01, 0.005, 0.0)
    assert training.freeze_embeddings == ("base", "continued", "adv", "flat")


def test_the_recipe_paper_follows_the_text() -> None:
    found = config("paper")
    own, training = found.objective, found.training
    assert (own.entropy, own.pairs, own.weighting, own.double_softmax) == ("sum", "pairs", "balanced", False)
    assert (training.init, training.shards, training.keep, training.rounds) == ("base", "accumulate", "successful", 3)
    assert training.adversaries == "attack"


def test_our_recipe_has_the_weights_that_were_found() -> None:
    for model, weight, epochs in (("cnn", 0.2, 6), ("lstm", 0.25, 3)):
        found = config("ours", model)
        assert found.objective.adversarial_weight == weight
        assert found.substitutes == SubstitutesConfig(positions=1.0, candidates=50, smoothing=1.0)
        assert (found.model.dropout, found.training.epochs, found.training.epochs_per_round) == (0.4, 4, epochs)
        assert (found.training.adversaries, found.training.rounds) == ("gradient", 1)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_the_main_job_trains_the_same_models_with_the_options_that_are_shown(recipe: str, model: str) -> None:
    cell = Cell("main", "sst2", model, "pwws", recipe, 1112)  # type: ignore[arg-type]
    shown = cli.parse(options_of(cell).split(), "").config
    own = config_of(cell, None, Measures())
    for name in ("model", "objective", "training", "substitutes", "attack", "seed"):
        assert getattr(shown, name) == getattr(own, name), name


# ---- cards


def test_outcomes_are_read_as_they_were_written() -> None:
    ids = ["a", "b", "c", "d"]
    letters = encode({"a": 1.0, "c": 0.0, "d": np.nan}, ids)
    assert letters == "1-0-"
    np.testing.assert_array_equal(decode(letters), [1, np.nan, 0, np.nan])
    with pytest.raises(ValueError, match="no outcomes"):
        decode("102")
    pairs = encode_pairs({"d": -0.12345, "b": 1.0}, ids)
    assert pairs == "1:1.000 3:-0.123"
    np.testing.assert_array_equal(decode_pairs(pairs, 4), [np.nan, 1, np.nan, -0.123])
    assert np.isnan(decode_pairs("", 2)).all()


def test_cards_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Folder(tmp_path)
    written = [card(), card(1112), other_card("transfer"), other_card("words")]
    for one in written:
        cards.write(results, one)
    assert cards.read(results) == {one.cell.name: one for one in sorted(written, key=lambda one: one.cell.name)}


def test_a_card_of_another_format_is_not_read_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    results = Folder(tmp_path)
    cards.write(results, replace(card(), format="flat_dist.reproduction/0"))
    assert cards.read(results) == {}
    (tmp_path / CARDS / "main-x.json").write_text('{"format": "flat_dist.reproduction/1"}')
    with pytest.raises(DamagedFileError, match=r"main-x.json is damaged .*: delete it, and run the command again"):
        cards.read(results)


def test_the_identity_depends_on_what_decides_the_numbers() -> None:
    cell = Cell("main", "sst2", "cnn", "textfooler", "ours", 1111)
    own = config_of(cell, "some", Measures())

    def identity(config: Any = own, fingerprint: str = "f", of: Cell = cell) -> str:
        return cards.identity_of(cards.settings_of(of, config, fingerprint))

    assert identity() == identity(config_of(cell, "elsewhere", Measures(), storage="other", hardware="cpu"))
    others = [
        identity(fingerprint="g"),
        identity(config_of(cell, "some", Measures(pairs=5))),
        identity(replace(own, objective=replace(own.objective, beta=0.2))),
        identity(of=replace(cell, use="words")),
    ]
    assert len({identity(), *others}) == 1 + len(others)
    # the plan has it before the hardware is known, and so do machines with other hardware
    assert resolve(own, Gpu())[0] != own


# ---- claims


def difference(claim: Claim, cards: list[Card]) -> Difference | None:
    return differences(cards, (claim,)).get(claim)


def find(quantity: str, other: str, method: str = "") -> Claim:
    return next(one for one in CLAIMS if (one.quantity, one.other, one.method) == (quantity, other, method))


def test_differences_are_over_the_texts_that_both_were_measured_on() -> None:
    after = difference(find("after_attack", "adv"), [card()])
    assert after is not None
    # the last text was not measured for FLAT: 4 of 5 against 2 of 5, and no text for which adv alone is right
    assert after.mean == pytest.approx(2 / 5)
    assert after.p_values == [pytest.approx(2 / 2**2)]
    assert after.interval.low <= after.mean <= after.interval.high
    tau = difference(find("tau", "base", "ig"), [card()])
    assert tau is not None
    assert tau.mean == pytest.approx(((0.5 - 0.1) + (0.1 - 0.2)) / 2)  # texts 0 and 1
    clean = difference(find("accuracy", "base"), [card()])
    assert clean is not None and clean.mean == pytest.approx(0.0)  # each alone is right on one text
    assert clean.p_values == [1.0]
    together = differences([card()])
    assert list(together) == list(CLAIMS) and together[find("after_attack", "adv")] == after


def test_differences_are_means_over_seeds() -> None:
    second = card(1112, after={"base": "111111", "adv": "111111", "flat": "111111"})
    found = difference(find("after_attack", "base"), [card(), second])
    assert found is not None
    assert found.mean == pytest.approx((3 / 5 + 0) / 2)
    assert found.p_values == [pytest.approx(2 / 2**3), 1.0]


def test_a_model_that_predicts_one_class_has_no_difference() -> None:
    silent = card(after={"base": "", "adv": "110000", "flat": "111100"})
    assert difference(find("after_attack", "base"), [silent]) is None
    assert difference(find("after_attack", "adv"), [silent]) is not None
    assert difference(find("after_attack", "base"), [card(), replace(silent, cell=card(1112).cell)]) is None


def test_claims_are_counted() -> None:
    claim = find("after_attack", "adv")
    many = {"base": "0" * 40, "adv": "0" * 40, "flat": "1" * 40}
    certain = difference(claim, [card(after=many, right=many)])
    worse = difference(claim, [card(after={"base": "0000", "adv": "1000", "flat": "0000"})])
    assert count(claim, [certain, worse, None]) == Count(holds=1, of=2, certain=1, significant=1)
    within = find("accuracy", "base")
    assert within.holds(-0.01) and not within.holds(-0.011) and not find("tau", "adv", "ig").holds(0.0)
    assert count(within, [difference(within, [card()])]).significant is None


def test_the_papers_own_claims_hold_in_its_own_tables() -> None:
    for claim in CLAIMS:
        found = count_published(claim)
        assert found.of == 32
        # bold in all cells of Tables 3 and 8
        assert found.holds == (32 if claim.quantity != "accuracy" else within_a_point())
    assert count_published(CLAIMS[0], [("sst2", "cnn", "textfooler")]) == Count(1, 1)


def within_a_point() -> int:
    """Cells of Table 2 in which FLAT is at most one point below base, from its rows."""
    rows = {
        (r["model"], r["training"], r["train_attack"], r["dataset"]): float(r["accuracy"])
        for r in paper._read("table2_test_accuracy")
    }
    return sum(
        accuracy >= rows[model, "base", "", dataset] - 1 - 1e-9
        for (model, training, _, dataset), accuracy in rows.items()
        if training == "flat"
    )


def test_table_7_is_the_papers() -> None:
    numbers = paper.numbers("trec", "deberta", "flat", "pwws", "pwws")
    assert (numbers.accuracy, numbers.dev_accuracy) == (0.964, 0.9513)
    assert paper.numbers("sst2", "lstm", "base", "pwws", None).dev_accuracy == 0.8521
    assert paper.numbers("elsewhere", "lstm", "base", "pwws", None).dev_accuracy is None


# ---- tables and page


def table_of(title: str, known: list[Any]) -> dict[tuple[str, ...], dict[str, str]]:
    """Cells by column, of each row, by its text columns."""
    shown = next(section.shown for section in SECTIONS if section.title.startswith(title))
    table = shown.table(records(known))
    texts = table.text_columns
    return {tuple(row[:texts]): dict(zip(table.header[texts:], row[texts:], strict=True)) for row in table.rows}


def test_measured_numbers_stand_beside_published_ones() -> None:
    known = [card(), card(1112, after={**dict.fromkeys(("base", "adv"), "000000"), "flat": "111111"})]
    flat = "SST-2", "CNN", "textfooler", "flat"
    assert table_of("Table 2", known)[flat] == {"published": "83.1", "ours": "83.3 (83.3 to 83.3)"}
    assert table_of("Table 7", known)[flat] == {"published": "83.7", "ours": "75.0 (75.0 to 75.0)"}
    assert table_of("Table 3: after", known)[flat] == {
        "published": "37.1",
        "ours, worst": "90.0 (80.0 to 100.0)",
        "ours, probabilities": "102.5 (92.5 to 112.5)",
    }
    assert table_of("Table 3: Kendall", known)[flat]["published"] == "0.70"
    assert table_of("Table 8: top-5", [card()])[flat] == {
        "published": "0.69",
        "ours, all": "0.88",
        "ours, common": "0.50",
    }
    assert table_of("What rounding decides", [card()])[flat] == {
        "ours, saturated": "25.0",
        "ours, rounding": "12.5",
        "ours, unchanged": "50.0",
    }


def test_recipes_are_columns_and_a_missing_number_is_a_dash() -> None:
    silent = {"base": "", "adv": "110000", "flat": "111100"}
    rows = table_of("Table 3: after", [card(), card(recipe="released", after=silent)])
    base = rows["SST-2", "CNN", "textfooler", "base"]
    assert list(base) == [
        *("published", "released, worst", "released, probabilities", "ours, worst", "ours, probabilities"),
    ]
    assert base["released, worst"] == base["released, probabilities"] == "–" and base["ours, worst"] == "16.7"
    # one of two seeds without a number: no mean
    both = [card(recipe="released", after=silent), card(1112, recipe="released")]
    assert table_of("Table 3: after", both)["SST-2", "CNN", "textfooler", "base"]["released, worst"] == "–"


def test_tables_4_5_9_and_10_have_their_published_numbers() -> None:
    transfer = table_of("Table 4", [other_card("transfer")])
    assert transfer["SST-2", "LSTM", "flat", "genetic"] == {"published": "33.4", "paper": "33.3"}
    assert transfer["SST-2", "LSTM", "base", "pwws"]["published"] == "11.6"
    ablation = table_of("Table 5", [other_card("ablation")])
    row = ablation["SST-2", "LSTM", "textfooler", "flat-gamma-0"]
    assert (row["published"], row["published, after"], row["paper, after"]) == ("84.0", "10.0", "33.3")
    assert set(TABLE_5) >= {"flat-gamma-0", "flat"}
    words = table_of("Table 9", [other_card("words")])
    assert words["SST-2", "LSTM", "importance-word_frequency"] == {
        "published, r": "−0.028",
        "published, p": "0.001",
        "paper, r": "−0.500",
        "paper, p": "0.25",
    }
    assert len(words) == 1  # models have no correlation
    groups = table_of("Table 10", [other_card("groups")])
    columns = ("published", "published, after", "paper", "paper, after")
    numbers = {row[3]: tuple(cells[column] for column in columns) for row, cells in groups.items()}
    assert numbers == {"base": ("91.3", "8.7", "50.0", "33.3"), "groups-20": ("91.0", "1.9", "50.0", "33.3")}
    assert [paper.group_masks(count).after_attack_accuracy for count in TABLE_10.values()] == [
        *(None, 0.012, 0.0192, 0.014, 0.0146, 0.0138)
    ]


def test_the_page_has_all_tables_and_says_what_was_not_run() -> None:
    known = [card(), card(1112), *map(other_card, ("transfer", "ablation", "words", "groups"))]
    text = page(known, ["words-x-scatter-importance.png", "sst2-cnn-textfooler-ours-top-k-ig.png"])
    for section in SECTIONS:
        assert f"## {section.title}\n" in text
    assert "| 2, 3, 7, 8 | SST-2 | CNN | textfooler | – | – | 2 |" in text
    assert "| 2, 3, 7, 8 | TREC | DeBERTa | pwws | – | – | – |" in text
    assert "| 4 | SST-2 | LSTM | textfooler | – | 1 | – |" in text
    assert "| 10 | AG News | CNN | textfooler | – | 1 | – |" in text
    assert "6 cards, 3.0 hours on a processor, 2 cores; 2026-11-30." in text
    assert text.index("### Figure 4") < text.index("words-x-scatter") < text.index("### Figure 6")
    assert f"({FIGURES}/sst2-cnn-textfooler-ours-top-k-ig.png)" in text
    assert [line for line in text.splitlines() if len(line) > 120 and line[0] not in "|!"] == []
    assert "| FLAT’s after-attack accuracy above adv | 32 of 32 | 1 of 1 | 1 of 1; " in text
    assert text == page(known, ["sst2-cnn-textfooler-ours-top-k-ig.png", "words-x-scatter-importance.png"])


def test_a_page_without_cards_has_the_papers_claims_and_no_table() -> None:
    text = page([], [])
    assert "No cell has been run yet." in text and "32 of 32" in text
    assert "## Table" not in text and "## Figures" not in text
    assert "| 10 | AG News | CNN | textfooler | – | – | – |" in text


def test_hours_of_continued_cells_are_said_to_be_more() -> None:
    assert "1.0 hours (more, because some cells were continued" in " ".join(
        page([card(), card(1112, resumed=True)], []).split()
    )


def test_top_k_curves_are_means_over_seeds() -> None:
    curves = top_k_curves([card(), card(1112)])
    assert list(curves) == ["base", "adv", "flat"] and curves["flat"] == pytest.approx([0.1 * k for k in range(1, 11)])
    lacking = card(1112)
    lacking.measured.trainings["adv"].attacks["textfooler"].explained.clear()
    assert top_k_curves([card(), lacking]) == {}
    (chart,) = top_k_charts(grouped([card(), other_card("words")]))
    assert chart.name == "sst2-cnn-textfooler-ours-top-k-ig" and chart.png.startswith(b"\x89PNG")


def test_publishing_writes_page_and_pictures(tmp_path: Path) -> None:
    results = Folder(tmp_path)
    cards.write(results, card())
    write_pictures(results, {"words-x-spread": b"png"})
    publish(results)
    first = (tmp_path / PAGE).read_bytes()
    assert {path.name for path in (tmp_path / FIGURES).iterdir()} == {
        "words-x-spread.png",
        "sst2-cnn-textfooler-ours-top-k-ig.png",
    }
    assert b"### Figure 5" in first and b"### Figure 6" in first
    publish(results)
    assert (tmp_path / PAGE).read_bytes() == first


# ---- the README


def test_the_readme_gets_the_head_of_the_table(tmp_path: Path) -> None:
    results = Folder(tmp_path / "results")
    cards.write(results, card())
    path = tmp_path / "README.md"
    path.write_text(f"before\n\n{START}\nold\n{END}\nafter\n")
    update_readme(path, results)
    text = path.read_text()
    assert text.startswith(f"before\n\n{START}\n\n| data | model |") and text.endswith(f"```\n\n{END}\nafter\n")
    assert "| SST-2 | CNN | textfooler | flat | 83.1 | 37.1 | 83.3 | 80.0 |" in text and "old" not in text
    assert "python jobs/reproduce.py --tables 2,3 --data FOLDER" in text
    assert with_table(text, results, "README.md") == text


@pytest.mark.parametrize("text", ["", f"{START}\n", f"{END}\n{START}\n", f"{START}\n{END}\n{START}\n{END}\n"])
def test_a_readme_without_both_marks_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs the lines .* once each"):
        with_table(text, Folder(tmp_path), "README.md")
    with pytest.raises(UserError, match="is not a file"):
        update_readme(tmp_path / "nowhere.md", Folder(tmp_path))


def test_readme_page_and_cards_of_this_repository_agree() -> None:
    results = Folder(RESULTS)
    known = list(cards.read(results).values())
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    again = "python jobs/reproduce.py --readme README.md"
    assert with_table(text, results, "README.md") == text, f"the README is not that of the cards: {again}"
    assert readme(known) in text
    pictures = [name for name in (results / FIGURES).names() if name.endswith(".png")]
    assert (RESULTS / PAGE).read_text(encoding="utf-8") == page(known, pictures), "the page is not that of the cards"
    for one in known:
        assert (RESULTS / CARDS / f"{one.cell.name}.json").exists()


# ---- time

SST2 = Texts(train=1000, test=200, words=19.0)


def work(recipe: str, use: str = "main", cores: int = 2, attack: str = "textfooler", texts: Texts = SST2) -> CellWork:
    cell = Cell(use, "sst2", "lstm", attack, recipe, FIRST_SEED)  # type: ignore[arg-type]
    return CellWork(cell, config_of(cell, None, Measures()), texts, cores)


def test_the_time_of_a_cell_is_that_of_its_parts() -> None:
    found = work("ours").seconds()
    place = "sst2", "lstm", "ours", FIRST_SEED
    start, speeds = MEASURED.start, MEASURED
    assert found["train", *place, "base"] == pytest.approx(start + 1000 * 4 * speeds.training["lstm"])
    # two trainings at the same time on two cores: each counts half
    own = start + 1000 * 3 * speeds.substitutes["lstm"] / 2
    assert found["train", *place, "textfooler", "flat", 1] == found["train", *place, "textfooler", "adv", 1]
    assert found["train", *place, "textfooler", "flat", 1] == pytest.approx(own)
    assert not any(key[0] == "attack" for key in found)
    explained = start + 200 * 3 * speeds.explain["lstm"] / 2  # all pairs
    assert found["explain", *place, "textfooler"] == pytest.approx(explained)
    assert len([key for key in found if key[0] == "test"]) == 3


def test_rounds_attack_and_train_on_attacked_texts() -> None:
    found = work("paper").seconds()
    attacks = [key for key in found if key[0] == "attack"]
    assert [key[-2:] for key in attacks] == [("base", 1), ("adv", 2), ("adv", 3), ("flat", 2), ("flat", 3)]
    place = "sst2", "lstm", "paper", FIRST_SEED, "textfooler"
    rounds = [found["train", *place, "adv", number] - MEASURED.start for number in (1, 2, 3)]
    # as many attacked texts as clean ones in each step, however many there are
    assert rounds == pytest.approx([2 * 1000 * 10 * MEASURED.training["lstm"] / 2] * 3)
    released = work("released").seconds()
    of_released = released["train", "sst2", "lstm", "released", FIRST_SEED, "textfooler", "adv", 2]
    assert of_released == pytest.approx(rounds[0] + MEASURED.start)  # each text once: 1,000 clean and 1,000 attacked
    assert (
        "attack",
        "sst2",
        "lstm",
        "released",
        FIRST_SEED,
        "textfooler",
        "flat",
        1,
    ) in released  # its own first model


def test_models_with_groups_are_trained_and_attacked_like_base() -> None:
    cell = Cell("groups", "ag_news", "cnn", "textfooler", "released", FIRST_SEED)
    found = CellWork(cell, config_of(cell, None, Measures()), SST2, 2).seconds()
    trainings = [key for key in found if key[0] == "train"]
    assert len(trainings) == len(found) / 2 == len(TABLE_10) and not any(key[0] == "attack" for key in found)
    for kind in ("train", "test"):
        seconds = [value for key, value in found.items() if key[0] == kind]
        assert seconds == [seconds[0]] * len(TABLE_10)
    main = replace(cell, use="main")
    shared = CellWork(main, config_of(main, None, Measures()), SST2, 2).seconds().keys() & found.keys()
    assert {key[5] for key in shared} == {"base"} and len(shared) == 2  # base's training and its attack


def test_shorter_texts_and_more_cores_take_less_time() -> None:
    whole = sum(work("paper").seconds().values())
    assert sum(work("paper", texts=replace(SST2, words=9.5)).seconds().values()) < whole
    assert sum(work("paper", cores=1).seconds().values()) > whole


def test_work_that_cells_share_counts_once() -> None:
    one, other, words = work("ours").seconds(), work("ours", attack="pwws").seconds(), work("ours", "words").seconds()
    first, second, third = missing_seconds([one, other, words], [])
    assert first == pytest.approx(sum(one.values()))
    base = one["train", "sst2", "lstm", "ours", FIRST_SEED, "base"]
    assert second == pytest.approx(sum(other.values()) - base)
    assert third == 0.0  # Table 9 is about models that Table 2 has
    assert missing_seconds([one], [one]) == [0.0]


def test_finished_cells_of_the_same_machine_calibrate() -> None:
    known = [card(hours=0.5), card(1112, hours=1.0), card(1113, hours=9.0, resumed=True)]
    assert calibration(known, MACHINE) == (pytest.approx(1.5 / 0.5), 2)
    assert calibration(known, replace(MACHINE, cores=4)) == (1.0, 0)


def test_this_machine_has_a_processor_and_cores() -> None:
    found = this_machine("a card")
    assert found.processor and found.cores >= 1 and found.gpu == "a card"


# ---- the command


def test_the_command_of_a_card_asks_for_the_same_cells() -> None:
    given = ["--models", "cnn", "--tables", "2,4", "--seeds", "2", "--pairs", "7", "--data", "here", "--storage", "s"]
    command = reproduce.CommandLine(reproduce.Command, given).read("test")
    line = reproduce.line_of(command)
    assert line == (
        "python jobs/reproduce.py --tables 2,4 --models cnn --datasets sst2,trec --attacks textfooler,pwws --recipes "
        "released,paper,ours --seeds 2 --pairs 7 --data FOLDER"
    )
    again = reproduce.CommandLine(reproduce.Command, line.split()[2:]).read("test")
    assert reproduce.order_of(again).selection == reproduce.order_of(command).selection


def write_sst2(folder: Path) -> None:
    (folder / "sst2").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = [
            f"a {word} film number {split}{number},{label}"
            for number in range(5)
            for label, word in enumerate(("bad", "good"))
        ]
        (folder / "sst2" / f"{split}.csv").write_text("\n".join(["text,label", *rows]))


def test_a_dry_run_lists_the_cells_and_the_hours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sst2(tmp_path)
    given = ["--data", str(tmp_path), "--datasets", "sst2", "--tables", "2,9", "--seeds", "1", "--recipes", "ours"]
    given += ["--results", str(tmp_path / "results"), "--storage", str(tmp_path / "runs"), "--dry-run"]
    reproduce.job(given)
    out = capsys.readouterr().out
    assert "1. main-sst2-cnn-textfooler-ours-1111: about " in out and "5. words-sst2-lstm-textfooler-ours-1111" in out
    assert "(--preset sst2,robust,robust_cnn --model.name cnn" in out
    assert "5 of 5 cells are missing: about " in out and " hours on " in out
    assert not (tmp_path / "results").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--tables", "11"], "unknown value of --tables '11'"),
        (["--pairs", "-1"], "--pairs is -1, but must be at least 0"),
        (["--tables", "2", "--data", "elsewhere"], "--data.folder elsewhere/sst2 is not a folder: name one"),
        (["--results", "a_file"], "--results .*a_file cannot be used"),
    ],
)
def test_bad_input_is_one_sentence(
    given: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sst2(tmp_path)
    (tmp_path / "a_file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        reproduce.job(["--datasets", "sst2", "--data", str(tmp_path), "--dry-run", *given])


def test_the_made_up_cards_are_about_the_trainings_that_they_name() -> None:
    cell = card().cell
    assert attacked(cell, "flat", "11").paper.after_attack_accuracy == 0.3707
    assert set(TAUS) == set(card().measured.trainings)


class Failing:
    """A runner whose first cell fails."""

    display = Display(quiet=True)

    def run(self, one: Planned, expected: float) -> tuple[Card, dict[str, bytes]]:
        assert expected > 0
        if one.cell.seed == FIRST_SEED:
            raise UserError("training diverged")
        return replace(card(one.cell.seed), cell=one.cell, identity=one.identity), {"some-spread": b"png"}


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sst2(tmp_path)
    selection = Selection(("2",), ("cnn",), ("sst2",), ("textfooler",), ("ours",), seeds=2)
    order = Order(selection, data=str(tmp_path), results=str(tmp_path / "results"), storage=str(tmp_path / "runs"))
    reproduction, planned = Reproduction(order, "the command"), order.plan()
    failed = reproduction._run_all(planned, estimate(planned), Failing())  # type: ignore[arg-type]
    assert failed == {planned[0].cell.name: "training diverged"}
    assert (tmp_path / "results" / FIGURES / "some-spread.png").exists()
    with pytest.raises(IncompleteError, match=r"1 of 2 cells failed \(main-sst2-cnn-textfooler-ours-1111\)"):
        reproduction._show(planned, failed)
    assert "page:  " in capsys.readouterr().out
    again = order.plan()
    assert [one.is_current for one in again] == [False, True]
    assert list(estimate(again).hours) == [planned[0].cell.name]
    other = replace(order, measures=Measures(pairs=5)).plan()
    assert [one.is_current for one in other] == [False, False] and other[1].known is not None


def test_cards_are_in_the_order_of_the_paper() -> None:
    def of(dataset: str, attack: str, recipe: str) -> Card:
        own = card(recipe=recipe)
        return replace(own, cell=replace(own.cell, dataset=dataset, attack=attack))  # type: ignore[arg-type]

    known = [of("ag_news", "pwws", "ours"), of("trec", "pwws", "ours"), of("sst2", "pwws", "ours")]
    known += [of("sst2", "textfooler", "ours"), of("sst2", "textfooler", "released"), other_card("words")]
    assert [key[1:] for key in grouped(known)] == [
        ("sst2", "cnn", "textfooler", "released"),
        ("sst2", "cnn", "textfooler", "ours"),
        ("sst2", "cnn", "pwws", "ours"),
        ("trec", "cnn", "pwws", "ours"),
        ("ag_news", "cnn", "pwws", "ours"),
        ("sst2", "lstm", "textfooler", "paper"),
    ]


def attack_rows(changed: str, texts: int = 400) -> pa.Table:
    """Rows of an attack that changed the texts whose number ends with one of these digits."""
    swaps = [[{"index": 0, "original": "a", "substitute": "b"}] if str(n)[-1] in changed else [] for n in range(texts)]
    return pa.table(
        {"example_id": [f"t{n}" for n in range(texts)], "status": ["failed"] * texts, "swaps": swaps},
        schema=pa.schema([(name, SHARD.field(name).type if name != "status" else pa.string()) for name in COLUMNS]),
    )


SHARD, COLUMNS = shards.SCHEMA, ("example_id", "status", "swaps")


def test_a_card_keeps_pairs_that_all_models_have() -> None:
    rows = [attack_rows("0123456789"), attack_rows("012345678")]
    every = pa.table({"pair_id": [f"t{n}" for n in range(400)]})
    fewer = pa.table({"pair_id": [f"t{n}" for n in range(20)]})
    assert kept_ids(rows, [every, fewer], "changed", 0) == {f"t{n}" for n in range(20) if n not in (9, 19)}
    drawn = kept_ids(rows, [every, every], "changed", 0)
    assert len(drawn) == KEPT and not any(name.endswith("9") for name in drawn)
    assert drawn != kept_ids(rows, [every, every], "changed", 1)
    assert kept_ids([attack_rows(""), rows[0]], [every, every], "changed", 0) == set()


def test_the_top_5_of_a_pair_is_the_mean_over_its_classes() -> None:
    tops = {
        "pair_id": ["a", "b", "c"],
        "top_k": [[[0.1 * k for k in range(1, 11)], [1.0] * 10], [[], []], [[1.0] * 10]],
    }
    assert pair_tops(pa.table(tops), {"a", "b"}) == {"a": pytest.approx((0.5 + 1.0) / 2)}
