"""Sweeps: the space, what is best of trials, the preset and the page; without Ray."""

import html
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flat_dist import cli
from flat_dist.commands import tune
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_yaml, result_values
from flat_dist.evaluation.result import Result
from flat_dist.storage.folder import Folder
from flat_dist.sweep import report, search
from flat_dist.sweep.page import NAMES, SweepPage
from flat_dist.sweep.space import SearchSpace
from flat_dist.sweep.trials import (
    DIVERGED,
    FINISHED,
    OBJECTIVES,
    PRUNED,
    Records,
    RoundMetrics,
    Trial,
    apply_point,
    best,
    describe,
    pareto_front,
    preset,
    score,
)

AXES = {"objective.beta": (0.1, 1.0, 10.0), "objective.gamma": (0.001, 1.0)}
BASE = Result("flat", 0, "textfooler", True, 0.75, 0.04, 0.9, 90.0, 0.1, 200)


def measured(accuracy: float, after_attack: float, tau: float | None = 0.5, number: int = 2) -> RoundMetrics:
    return RoundMetrics(number, accuracy, after_attack, tau, {"dev/accuracy": accuracy}, 1)


def trial(beta: float, *rounds: RoundMetrics, gamma: float = 1.0, status: str = FINISHED, reason: str = "") -> Trial:
    return Trial({"objective.beta": beta, "objective.gamma": gamma}, status, reason, rounds)


# ---- which trial is best


def test_the_best_trial_is_robust_and_within_the_tolerance() -> None:
    accurate, robust, degenerate = (
        trial(0.1, measured(0.75, 0.05)),
        trial(1.0, measured(0.74, 0.09)),
        trial(10.0, measured(0.5, 0.5)),
    )
    pruned = trial(0.1, measured(0.8, 0.3, number=1), gamma=0.001, status=PRUNED)
    all_trials = [degenerate, pruned, accurate, robust]
    assert best(all_trials, "after_attack_accuracy", 0.01) == robust
    assert best(all_trials, "after_attack_accuracy", 0.0) == accurate
    assert best(all_trials, "after_attack_accuracy", 0.3) == degenerate
    assert best(all_trials, "accuracy", 0.01) == accurate
    assert best([pruned], "accuracy", 0.01) is None


def test_of_equally_robust_trials_the_more_accurate_is_best() -> None:
    trials = [trial(0.1, measured(0.741, 0.09)), trial(1.0, measured(0.745, 0.09)), trial(10.0, measured(0.743, 0.09))]
    for order in itertools.permutations(trials):
        assert best(order, "after_attack_accuracy", 0.01) == trials[1]


shares = st.integers(0, 4).map(lambda value: value / 4)


@given(st.lists(st.tuples(shares, shares, shares), min_size=1, max_size=12))
def test_the_pareto_front_is_exactly_the_trials_that_are_not_dominated(
    values: list[tuple[float, float, float]],
) -> None:
    trials = [trial(float(number), measured(*three)) for number, three in enumerate(values)]
    front = {one.name for one in pareto_front(trials)}

    def beaten(own: tuple[float, float, float]) -> bool:
        return any(
            all(b >= a for a, b in zip(own, other, strict=True)) and any(b > a for a, b in zip(own, other, strict=True))
            for other in values
        )

    assert front == {one.name for one, own in zip(trials, values, strict=True) if not beaten(own)}


def test_a_model_that_predicts_one_class_does_not_win() -> None:
    least = 0.75 - 0.01
    real, constant = measured(0.73, 0.09), measured(0.5, 0.5)
    assert score(real, "after_attack_accuracy", least) == pytest.approx(0.09 - 5 * 0.01)
    assert score(constant, "after_attack_accuracy", least) == pytest.approx(0.5 - 5 * 0.24)
    assert score(measured(0.8, 0.09), "after_attack_accuracy", least) == 0.09
    assert score(measured(0.8, 0.09, None), "kendall_tau", least) == -1.0


# ---- trials


def test_records_are_read_as_written(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    assert records.all() == {} and records.read("trial-1") is None
    first = trial(0.1, measured(0.7, 0.1, number=1), status=PRUNED)
    second = trial(1.0, status=DIVERGED, reason="loss is nan")
    for one in (first, second):
        records.write(one)
    assert records.all() == {first.name: first, second.name: second}
    assert records.read(first.name) == first


def test_descriptions_of_trials() -> None:
    assert describe(trial(0.1, measured(0.712, 0.095))).endswith(
        "(beta 0.1, gamma 1): accuracy 71.2 %, after attack 9.5 %, tau 0.50"
    )
    assert describe(trial(0.1, measured(0.7, 0.1, number=1), status=PRUNED)).endswith("; pruned after 1 round")
    assert describe(trial(0.1, status=DIVERGED, reason="loss is nan")).endswith(
        "; diverged after 0 rounds: loss is nan"
    )


# ---- the space


def test_the_space_is_that_of_appendix_e() -> None:
    axes = SearchSpace().axes(tune.parse([]).config)
    assert {name: (min(values), max(values)) for name, values in axes.items()} == {
        "training.round_learning_rate": (1e-5, 0.1),
        "training.round_clip": (1e-3, 10.0),
        "objective.beta": (1e-5, 1000.0),
        "objective.gamma": (1e-5, 1000.0),
    }
    for values in axes.values():
        steps = [later / earlier for earlier, later in itertools.pairwise(values)]
        assert all(2 <= step <= 10.0001 for step in steps)


def test_a_point_is_applied_to_the_config() -> None:
    placed = apply_point(
        Config(), {"objective.beta": 10.0, "training.round_clip": 5.0, "training.round_learning_rate": 0.1}
    )
    assert (placed.objective.beta, placed.training.round_clip, placed.training.round_learning_rate) == (10.0, 5.0, 0.1)
    assert placed.training.clip == Config().training.clip
    assert placed.training.learning_rate == Config().training.learning_rate


def test_trials_measure_on_dev_and_have_one_training() -> None:
    command = tune.parse(["--attack.name", "pwws"])
    config = command.config
    assert (config.evaluation.split, config.evaluation.attacks) == ("dev", ("pwws",))
    assert (config.training.kinds, config.evaluation.explain) == (("flat",), ("ig",))


def test_adversarial_training_has_neither_beta_nor_gamma() -> None:
    command = tune.parse(["--training.kinds", "adv"])
    assert list(command.space.axes(command.config)) == ["training.round_learning_rate", "training.round_clip"]


def test_an_ablation_has_the_settings_of_the_main_job() -> None:
    command = tune.parse(["--ablation", "--preset", "sst2"])
    assert command.config == cli.load_preset("sst2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--searcher", "tp"], "unknown value of --searcher 'tp'.*did you mean 'tpe'"),
        (["--samples", "0"], "--samples must be at least 1"),
        (["--space.beta", "0.1", "-1"], "--objective.beta is -1.0, but must be at least 0"),
        (["--space.learning-rate", "0"], "--training.round-learning-rate is 0.0, but must be above 0"),
        (["--space.gamma", "1", "1"], "each once"),
        (["--evaluation.split", "test"], "must select on dev"),
        (["--evaluation.attacks", "pwws"], "compared after textfooler"),
        (["--training.kinds", "adv", "flat"], "one training"),
        (["--training.workers", "2"], "one worker"),
    ],
)
def test_invalid_sweeps_are_rejected(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        command = tune.parse(arguments)
        command.space.axes(command.config)


# ---- the share of a trial


@pytest.mark.parametrize(
    ("cluster", "options", "workers", "bundles"),
    [
        ({"CPU": 1.0}, {}, 1, [{}, {"CPU": 1.0}]),
        ({"CPU": 2.0}, {}, 1, [{}, {"CPU": 1.0}]),
        ({"CPU": 64.0}, {}, 4, [{}, *([{"CPU": 1.0}] * 4)]),
        ({"CPU": 2.0}, {"workers": 2}, 2, [{}, {"CPU": 1.0}, {"CPU": 1.0}]),
        ({"CPU": 16.0, "GPU": 1.0}, {"device": "cuda", "gpus_per_worker": 0.25}, 4, [{}, {"CPU": 4.0, "GPU": 1.0}]),
        ({"CPU": 2.0, "GPU": 1.0}, {"device": "cuda", "gpus_per_worker": 0.25}, 2, [{}, {"CPU": 2.0, "GPU": 1.0}]),
    ],
)
def test_resources_of_a_trial_fit_the_cluster(
    cluster: dict[str, float],
    options: dict[str, Any],
    workers: int,
    bundles: Sequence[dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search.ray, "cluster_resources", lambda: cluster)
    config = Config()
    assert search._resources(replace(config, attack=replace(config.attack, **options)), 16) == (workers, bundles)


# ---- the preset


def test_the_preset_is_the_config_of_the_trial() -> None:
    command = tune.parse(["--preset", "rotten_tomatoes", "--model.name", "lstm", "--storage", "elsewhere"])
    placed = apply_point(command.config, {"objective.beta": 10.0, "training.round_clip": 1e-3})
    written = yaml.safe_dump(preset(placed))
    assert result_values(from_yaml(written, "best.yaml")) == result_values(placed)
    assert "storage" not in written and "epochs_per_round: 6" in written


def test_a_preset_file_may_be_given_by_uri(tmp_path: Path) -> None:
    Folder(tmp_path).write("best.yaml", b"objective: {beta: 7.0}")
    for name in (str(tmp_path / "best.yaml"), f"file://{tmp_path}/best.yaml"):
        assert cli.load_preset(name).objective.beta == 7.0
    with pytest.raises(UserError, match=r"worst.yaml does not exist"):
        cli.load_preset(f"file://{tmp_path}/worst.yaml")


# ---- the page


def some_trials() -> list[Trial]:
    known = [
        trial(beta, measured(0.7 + beta / 1000, 0.05 + beta / 100, 0.5 if beta < 10 else None), gamma=gamma)
        for beta, gamma in itertools.product(*AXES.values())
    ]
    pruned = replace(known[1], status=PRUNED, rounds=(measured(0.6, 0.1, number=1),))
    broken = replace(known[3], status=DIVERGED, reason="loss is <nan>", rounds=())
    return [known[0], pruned, known[2], broken, known[4], known[5]]


def a_page(**others: Any) -> SweepPage:
    trials = some_trials()
    values: dict[str, Any] = {
        "title": "Sweep of cnn-flat on sentences",
        "facts": {"seed": "1111"},
        "axes": AXES,
        "trials": trials,
        "best": best(trials, "after_attack_accuracy", 0.01),
        "base": BASE,
        "tolerance": 0.01,
        "seed": 1,
    }
    return SweepPage(**{**values, **others})


def test_the_page_shows_every_trial(tmp_path: Path) -> None:
    report.write(Folder(tmp_path), a_page())
    written = (tmp_path / "index.html").read_text()
    for one in some_trials():
        assert one.name in written
    assert html.escape("loss is <nan>") in written and "loss is <nan>" not in written
    assert written.count("<svg") == 3
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == ["front", "importance", "parallel"]
    before = written
    report.write(Folder(tmp_path), a_page())
    assert (tmp_path / "index.html").read_text() == before


def test_html_in_names_is_escaped(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    report.write(Folder(tmp_path), a_page(title=hostile, facts={hostile: hostile}))
    written = (tmp_path / "index.html").read_text()
    assert "alert(1)</script>" not in written and "<img" not in written
    assert written.count(html.escape(hostile, quote=False).replace('"', "&#34;").replace("'", "&#39;")) == 4


def test_without_finished_trials_there_are_no_charts(tmp_path: Path) -> None:
    broken = [replace(one, status=DIVERGED, reason="loss is nan", rounds=()) for one in some_trials()]
    report.write(Folder(tmp_path), a_page(trials=broken, best=None, axes=AXES))
    assert "<svg" not in (tmp_path / "index.html").read_text()


def test_importance_of_the_only_relevant_hyperparameter() -> None:
    trials = [
        trial(beta, measured(0.7, 0.1 + beta / 100), gamma=gamma) for beta, gamma in itertools.product(*AXES.values())
    ]
    found = report.importances(a_page(trials=trials))
    assert list(found) == ["after_attack_accuracy"]  # accuracy and tau are the same for all
    assert found["after_attack_accuracy"]["objective.beta"] == pytest.approx(1.0, abs=0.05)
    assert found["after_attack_accuracy"]["objective.gamma"] == pytest.approx(0.0, abs=0.05)
    assert report.importances(a_page(trials=trials[:3])) == {}


def test_objectives_have_names() -> None:
    assert set(NAMES) == set(OBJECTIVES)
