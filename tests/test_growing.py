"""Growing data: its cells, its numbers of made-up cards, and the figure in the README."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flat_dist.commands import reproduce
from flat_dist.config.errors import UserError
from flat_dist.config.serialization import to_dict
from flat_dist.config.validation import validate
from flat_dist.data import shards
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline.adversarial_training import Round
from flat_dist.report.paper import Numbers
from flat_dist.reproduction import cards
from flat_dist.reproduction.cards import Card, Spent
from flat_dist.reproduction.cells import FIRST_SEED, USES, Cell
from flat_dist.reproduction.growing import SOURCES, configs, row_of
from flat_dist.reproduction.growing_measure import renamed, spent_by
from flat_dist.reproduction.growing_numbers import LINES, Growth, growths
from flat_dist.reproduction.growing_page import by_round, chart
from flat_dist.reproduction.growing_page import differences as pays
from flat_dist.reproduction.page import FIGURES, PAGE, grouped, page, readme
from flat_dist.reproduction.publish import publish
from flat_dist.reproduction.recipes import Measures, config_of, options_of
from flat_dist.reproduction.speed import MEASURED, CellWork, Texts
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact
from flat_dist.training.job import TIMINGS, Timings
from tests.pages import results
from tests.reproduction_cards import GROWN, card, growing_card

CELL = Cell("growing", "customer_reviews", "cnn", "textfooler", "ours", FIRST_SEED)
COMMAND = "--tables growing --datasets customer_reviews --seeds 2 --dry-run"


# ---- cells


def test_it_is_run_only_when_it_is_asked_for() -> None:
    given: list[str] = []
    everything = reproduce.order_of(reproduce.CommandLine(reproduce.Command, given).read("test")).selection
    assert "growing" not in everything.tables and all(cell.use != "growing" for cell in everything.cells())
    alone = replace(everything, tables=("growing",)).cells()  # with all models, attacks and recipes
    assert {cell.group for cell in alone} == {("growing", "sst2", "cnn", "textfooler", "ours")}
    with pytest.raises(UserError, match="no table of the paper is about customer_reviews"):
        replace(everything, datasets=("customer_reviews",)).cells()
    assert [use for use, entry in USES.items() if not entry.of_the_paper] == ["growing"]


def test_the_sources_differ_in_nothing_but_the_adversarial_texts() -> None:
    config = config_of(CELL, "elsewhere", Measures(rounds=3))
    assert list(configs(config)) == list(SOURCES)
    for one in configs(config).values():
        validate(one)
    attack, gradient, smoothed = (to_dict(one) for one in configs(config).values())
    assert attack["training"].pop("adversaries") == "attack" and gradient["training"]["adversaries"] == "gradient"
    assert (gradient["substitutes"].pop("smoothing"), smoothed["substitutes"].pop("smoothing")) == (0.0, 0.9)
    assert gradient == smoothed  # the recipe's own models
    del gradient["training"]["adversaries"], attack["substitutes"]["smoothing"]
    assert attack == gradient
    assert (config.training.rounds, config.attack.sample) == (3, 0)
    assert config.evaluation.scores == ("probabilities", "margin") and config.evaluation.explain == ()
    # a step has as many adversarial texts as clean ones from either source, which makes equal steps equal compute
    assert config.objective.weighting == "balanced" and config.training.shards == "accumulate"
    assert config.data.folder is None and config.data.name == "customer_reviews"  # built in
    assert "customer_reviews,robust --model" in options_of(CELL)
    assert options_of(CELL, 3).endswith("--training.adversaries attack --training.rounds 3 --attack.sample 0")


def test_the_smoothed_models_of_round_1_are_those_of_the_recipe() -> None:
    cell = replace(CELL, dataset="sst2")
    main = config_of(replace(cell, use="main"), "some", Measures())
    smoothed = configs(config_of(cell, "some", Measures()))["smoothed"]
    assert replace(smoothed.training, rounds=1) == main.training
    for section in ("data", "model", "objective", "substitutes", "attack", "seed"):
        assert getattr(smoothed, section) == getattr(main, section)


def test_the_number_of_rounds_makes_another_card_of_this_use_alone() -> None:
    def settings(cell: Cell, rounds: int) -> Any:
        return cards.settings_of(cell, config_of(cell, None, Measures(rounds=rounds)), "f")

    assert settings(CELL, 8) != settings(CELL, 3)
    main = replace(CELL, use="main", dataset="sst2")
    assert settings(main, 8) == settings(main, 3)
    with pytest.raises(UserError, match="--rounds is 0, but must be at least 1"):
        Measures(rounds=0).check()


def test_a_dry_run_needs_no_data(assets: object, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reproduce.job([*COMMAND.split(), "--results", str(tmp_path / "results"), "--rounds", "3"])
    out = capsys.readouterr().out
    assert "1. growing-customer_reviews-cnn-textfooler-ours-1111: about " in out and "2 of 2 cells are missing" in out
    command = reproduce.CommandLine(reproduce.Command, [*COMMAND.split(), "--rounds", "3"]).read("test")
    assert " --tables growing " in reproduce.line_of(command) and " --rounds 3" in reproduce.line_of(command)


def test_the_time_is_that_of_all_rounds() -> None:
    config = config_of(CELL, None, Measures(rounds=3))
    found = CellWork(CELL, config, Texts(train=1000, test=200, words=19.0), 2).seconds()
    assert sum("test" in key for key in found) == 1 + 3 * 2 * 3  # base; sources, kinds and rounds
    assert sum(key[:2] == ("attack", "attack") for key in found) == 1 + 2 * 2  # base once for adv and flat
    assert sum(key[:2] == ("gradient", "attack") for key in found) == 0
    trained = found["gradient", "train", "customer_reviews", "cnn", "ours", FIRST_SEED, "textfooler", "flat", 3]
    epochs = config.training.epochs_per_round
    assert trained == pytest.approx(MEASURED.start + 1000 * epochs * MEASURED.substitutes["cnn"] / 2)


# ---- what is measured


def a_round(number: int, *kinds: str, place: Path = Path()) -> Round:
    """A round as the main job yields it, with models in folders such as adv-1."""
    models = [
        ModelArtifact(Folder(place / f"{kind}-{number}"), "0" * 16, model_name=kind, round=number) for kind in kinds
    ]
    attacked = [AttackedModel(model, "textfooler", Artifact(model.folder, "0" * 16)) for model in models]
    found = [replace(results()[0], training=kind, round=number) for kind in kinds]
    return Round(number, attacked, found, {})


def names(one: Round) -> list[str]:
    assert [each.model_name for each in one.attacked] == [result.training for result in one.results]
    return [result.training for result in one.results]


def test_models_have_the_names_of_their_source_and_round() -> None:
    assert names(renamed(a_round(0, "base", "adv", "flat"), "attack")) == ["base"]
    assert names(renamed(a_round(1, "adv", "flat"), "gradient")) == ["adv-gradient-1", "flat-gradient-1"]
    last = a_round(2, "adv", "flat")
    base = a_round(0, "base")
    last = replace(last, attacked=[*base.attacked, *last.attacked], results=[*base.results, *last.results])
    assert names(renamed(last, "attack")) == ["base", "adv-attack-2", "flat-attack-2"]
    rows = {row_of(kind, source, number) for source, kind in LINES for number in (0, 1, 2)}
    assert rows == set(GROWN)


def test_the_work_behind_a_model_is_that_of_all_its_rounds(tmp_path: Path) -> None:
    attack, gradient, _ = configs(config_of(CELL, None, Measures())).values()
    epochs = attack.training.epochs_per_round
    seconds = {"adv-1": [2.0] * epochs, "adv-2": [4.0] * 2, "flat-1": [1.0] * epochs, "flat-2": []}
    for name, own in seconds.items():  # adv-2 was continued with its last two epochs, flat-2 after its last one
        Folder(tmp_path / name).write_json(TIMINGS, asdict(Timings(own, 0.0, "a process", [])))
    for name in ("base", "adv"):
        shards.write_manifest(Folder(tmp_path / name), [], {}, {"worker_seconds": 50.0 if name == "base" else 70.0})
    texts = {"adv": [Folder(tmp_path / "base"), Folder(tmp_path / "adv")], "flat": [Folder(tmp_path / "base")] * 2}
    rounds = [a_round(0, "base", "adv", "flat"), *(a_round(n, "adv", "flat", place=tmp_path) for n in (1, 2))]
    texts_of_training = 3 * attack.training.batch_size - 1
    found = spent_by(rounds, texts, "attack", attack, texts_of_training)
    assert found == {
        "adv-attack-1": Spent(3 * epochs, 2.0 * epochs, 50.0),
        "adv-attack-2": Spent(6 * epochs, 6.0 * epochs, 120.0),
        "flat-attack-1": Spent(3 * epochs, 1.0 * epochs, 50.0),
        "flat-attack-2": Spent(6 * epochs, None, 100.0),
    }
    assert found["adv-attack-2"].seconds == 6.0 * epochs + 120.0 and found["flat-attack-2"].seconds is None
    on_the_fly = spent_by(rounds, {}, "gradient", gradient, texts_of_training)["adv-gradient-2"]
    assert on_the_fly == Spent(6 * epochs, 6.0 * epochs, 0.0)


# ---- numbers, page and README


def growth(*known: Card) -> Growth:
    (found,) = growths(grouped(known))
    return found


def test_cards_are_read_as_they_were_written_and_have_no_published_number(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    cards.write(folder, growing_card())
    assert cards.read(folder) == {growing_card().cell.name: growing_card()}
    for dataset in ("sst2", "customer_reviews"):
        trained = growing_card(dataset=dataset).measured.trainings["base"]  # type: ignore[arg-type]
        assert trained.attacks["textfooler"].paper == Numbers()


def test_numbers_are_means_over_texts_then_seeds() -> None:
    one = growth(growing_card(), growing_card(FIRST_SEED + 1, after={**GROWN, "flat-attack-2": "000000"}))
    assert one.last == 2 and one.seeds == "2 seeds" and one.title == "customer reviews, CNN, textfooler"
    assert one.shares["base"].mean == pytest.approx(1 / 6)
    assert one.shares["flat-attack-2"].mean == pytest.approx((4 / 5 + 0) / 2)
    assert one.shares["base"].interval.low <= 1 / 6 <= one.shares["base"].interval.high
    assert one.seconds("adv-attack-2") == 80.0 and one.seconds("adv-gradient-2") == 20.0


def test_the_tables_have_every_round_and_say_whether_it_pays() -> None:
    one = growth(growing_card())
    table = by_round(one)
    head = ["round", "steps", *(f"{kind}, {name}" for name in SOURCES.values() for kind in ("adv", "flat"))]
    assert list(table.header) == head
    assert [row[:2] for row in table.rows] == [["0", "0"], ["1", "12"], ["2", "24"]]
    assert all(cell.startswith("16.7 (") and cell.endswith("); 83.3") for cell in table.rows[0][2:])
    assert table.rows[2][3].startswith("80.0 (") and table.rows[2][3].endswith("); 83.3; 80 s")
    assert table.rows[2][5].endswith("; 20 s")
    found = {row[0]: row[1].split(" ")[0] for row in pays(one).rows}
    assert found == {
        "adv, attacked texts: round 2 minus round 1": "16.7",
        "flat, attacked texts: round 2 minus round 1": "40.0",  # on the five texts that both were measured on
        "adv, on the fly: round 2 minus round 1": "0.0",
        "flat, on the fly: round 2 minus round 1": "0.0",
        "adv, on the fly, smoothed: round 2 minus round 1": "16.7",
        "flat, on the fly, smoothed: round 2 minus round 1": "0.0",
        "adv, round 2: attacked texts minus on the fly": "−16.7",
        "adv, round 2: attacked texts minus on the fly, smoothed": "−33.3",
        "flat, round 2: attacked texts minus on the fly": "−20.0",
        "flat, round 2: attacked texts minus on the fly, smoothed": "−20.0",
        "attacked texts, round 2: flat minus adv": "20.0",
        "on the fly, round 2: flat minus adv": "16.7",
        "on the fly, smoothed, round 2: flat minus adv": "16.7",
    }


def test_a_model_that_predicts_one_class_is_a_dash() -> None:
    one = growth(growing_card(after={**GROWN, "adv-attack-2": ""}))
    assert by_round(one).rows[2][2].startswith("–; 83.3") and "adv-attack-2" not in one.shares
    assert {row[0]: row[1] for row in pays(one).rows}["attacked texts, round 2: flat minus adv"] == "–"
    assert chart(one).png.startswith(b"\x89PNG")


def test_a_card_without_one_of_the_sources_has_dashes() -> None:
    one = growth(growing_card(after={row: letters for row, letters in GROWN.items() if "smoothed" not in row}))
    assert by_round(one).rows[1][-2:] == ["–", "–"] and by_round(one).rows[1][2].startswith("33.3")
    assert {row[0]: row[1:] for row in pays(one).rows}["on the fly, smoothed, round 2: flat minus adv"] == ["–", "–"]
    assert chart(one).png.startswith(b"\x89PNG")


def test_seeds_with_other_rounds_or_other_texts_are_not_mixed() -> None:
    first = {row: letters for row, letters in GROWN.items() if not row.endswith("2")}
    shorter = growth(growing_card(), growing_card(FIRST_SEED + 1, after=first))
    assert shorter.last == 1 and len(by_round(shorter).rows) == 2 and len(pays(shorter).rows) == 7
    other = growing_card(FIRST_SEED + 1)
    other = replace(other, measured=replace(other.measured, texts={"train": 1, "dev": 1, "test": 1}))
    assert growth(growing_card(), other).cards == [growing_card()]


def test_the_page_has_it_beside_the_paper() -> None:
    picture = "growing-customer_reviews-cnn-textfooler-ours"
    known = [card(), growing_card(), growing_card(dataset="sst2")]
    text = page(known, [f"{picture}.png"])
    assert "## Growing data\n" in text and f"![{picture}]({FIGURES}/{picture}.png)" in text
    assert text.index("### customer reviews, CNN, textfooler, 1 seed") < text.index(
        "### SST-2, CNN, textfooler, 1 seed"
    )
    assert "## Figures" not in text and "| growing |" not in text
    assert [line for line in text.splitlines() if len(line) > 120 and line[0] not in "|!"] == []
    without = page([card()], [])
    assert "Growing" not in without
    # the claims, the tables and the coverage are those of the paper's cells alone
    for part in ("## Claims", "## Table 2", "## Cells"):
        own, other = (whole.split(part)[1].split("\n## ")[0] for whole in (text, without))
        assert own == other


def test_the_readme_has_the_figure_only_if_there_is_a_card() -> None:
    assert "growing" not in readme([card()])
    text = readme([card(), growing_card(dataset="sst2"), growing_card()])
    assert text.endswith("](docs/results/figures/growing-customer_reviews-cnn-textfooler-ours.png)")
    assert text.count("![") == 1 and "docs/results/README.md#growing-data" in text
    assert text.startswith("| data | model |")


def test_publishing_draws_the_figure(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for one in (growing_card(), growing_card(FIRST_SEED + 1)):
        cards.write(folder, one)
    publish(folder)
    picture = tmp_path / FIGURES / "growing-customer_reviews-cnn-textfooler-ours.png"
    first = picture.read_bytes()
    assert "2 seeds" in (tmp_path / PAGE).read_text()
    publish(folder)
    assert picture.read_bytes() == first
