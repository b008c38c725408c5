"""Attacks whose builder a user writes: found by their path, checked before a run, and part of the stage."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flat_dist.attack import runner
from flat_dist.attack.checks import check_attacks
from flat_dist.attack.plan import AttackPlan, TextsToAttack, plan_attack
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.runner import ENGINE, TEXTATTACK
from flat_dist.config import attacks
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example
from flat_dist.models.artifact import open_checkpoint
from flat_dist.pipeline import run_folder
from flat_dist.resources.assets import Assets
from flat_dist.storage.folder import Folder
from tests.markdown import ROOT, Page

MODULE = """
import textattack
from textattack import Attack
from textattack.attack_recipes import DeepWordBugGao2018, PWWSRen2019, Kuleshov2017
from textattack.constraints.pre_transformation import MaxModificationRate, RepeatModification, StopwordModification
from textattack.goal_functions import TargetedClassification, UntargetedClassification
from textattack.search_methods import GreedySearch, GreedyWordSwapWIR
from textattack.transformations import WordSwapNeighboringCharacterSwap, WordSwapWordNet


def swaps(wrapper):
    return DeepWordBugGao2018.build(wrapper, use_all_transformations=False)


def synonyms(wrapper):
    constraints = [RepeatModification(), StopwordModification()]
    return Attack(UntargetedClassification(wrapper), constraints, WordSwapWordNet(), GreedyWordSwapWIR("unk"))


def few(wrapper):
    constraints = [RepeatModification(), MaxModificationRate(0.1)]
    return Attack(UntargetedClassification(wrapper), constraints, WordSwapWordNet(), GreedyWordSwapWIR("unk"))


def raises(wrapper):
    raise KeyError("lost")


def nothing(wrapper):
    return None


def targeted(wrapper):
    return Attack(TargetedClassification(wrapper), [RepeatModification()], WordSwapWordNet(), GreedySearch())


def aims(wrapper):
    goal = UntargetedClassification(wrapper, target_max_score=0.7)
    return Attack(goal, [RepeatModification()], WordSwapWordNet(), GreedySearch())


def budget(wrapper):
    goal = UntargetedClassification(wrapper, query_budget=9)
    return Attack(goal, [RepeatModification()], WordSwapWordNet(), GreedySearch())


class Other(textattack.models.wrappers.ModelWrapper):
    model = None

    def __call__(self, texts):
        return None


def elsewhere(wrapper):
    return Attack(UntargetedClassification(Other()), [RepeatModification()], WordSwapWordNet(), GreedySearch())


def gradients(wrapper):
    search = GreedyWordSwapWIR("gradient")
    return Attack(UntargetedClassification(wrapper), [RepeatModification()], WordSwapWordNet(), search)


value = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assets: Assets) -> Iterator[Path]:
    """The current folder, with the user's module; each test has a module of its own, because Python keeps modules."""
    name = f"users_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import nowhere_to_be_found")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    runner._tried.cache_clear()
    yield tmp_path / f"{name}.py"
    runner._tried.cache_clear()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("swap", "has no swap; write package.module:function"),
        ("value", "value is a int, but must be a function"),
        ("raises", "raises KeyError: 'lost'"),
        ("nothing", "returns NoneType, but must return a textattack.Attack"),
        ("targeted", "has the goal TargetedClassification, but only UntargetedClassification can be measured here"),
        ("elsewhere", "attacks another model than the wrapper"),
        ("gradients", "reads the model's gradients"),
        ("budget", "has a query budget of its own"),
    ],
)
def test_a_builder_that_cannot_be_used_is_one_sentence(here: Path, function: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_attacks([f"{here.stem}:{function}"], AttackConfig(), ["probabilities"])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [("nowhere.at.all", "there is no module nowhere in"), ("{}_broken", "raises ModuleNotFoundError: No module named")],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(here: Path, module: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_attacks([f"{module.format(here.stem)}:build"], AttackConfig(), ["probabilities"])


def test_a_goal_that_aims_at_a_probability_cannot_follow_margins(here: Path) -> None:
    check_attacks([f"{here.stem}:aims"], AttackConfig(), ["probabilities"])
    with pytest.raises(UserError, match=r"cannot follow margins, because its goal .* aims at a probability below 0.7"):
        check_attacks([f"{here.stem}:aims"], AttackConfig(), ["probabilities", "margin"])


def test_limits_of_strength_do_not_hold_for_a_users_attack(here: Path) -> None:
    with pytest.raises(UserError, match="do not hold for"):
        check_attacks([f"{here.stem}:swaps"], AttackConfig(neighbours=8), ["probabilities"])


def test_the_engine_runs_a_users_attack_if_it_knows_all_of_its_parts(here: Path) -> None:
    known, unknown, limited = (
        runner.runner_of(f"{here.stem}:{name}", AttackConfig(), "probabilities")
        for name in ("synonyms", "swaps", "few")
    )
    assert (known.name, known.resources) == (ENGINE, ("stopwords", "wordnet"))
    assert (unknown.name, unknown.resources) == (TEXTATTACK, ("stopwords",))
    # Its limit depends on earlier changes, which the engine does not ask for again.
    assert limited.name == TEXTATTACK and "MaxModificationRate" in limited.reason


def plan(attack: str, victim: Folder, sentences: Dataset, max_queries: int | None = None) -> AttackPlan:
    config = Config(attack=AttackConfig(device="cpu", max_queries=max_queries))
    texts = TextsToAttack("test", sentences.test.slice(0, 4), "data")
    return plan_attack(config, open_checkpoint(victim, "flat"), texts, attack)


def test_builders_do_not_share_stages_or_runs(here: Path, victim: Folder, sentences: Dataset) -> None:
    storage = Folder("nowhere")
    one, other = (plan(f"{here.stem}:{name}", victim, sentences) for name in ("swaps", "synonyms"))
    before = run_folder.identity(Config(attack=AttackConfig(name=f"{here.stem}:swaps")), "data")
    here.write_text(MODULE + "\n# changed\n")
    runner._tried.cache_clear()
    changed = plan(f"{here.stem}:swaps", victim, sentences)
    folders = {each.folder(storage).uri for each in (one, other, changed)}
    assert len(folders) == 3 and not any(":" in uri.rpartition("/")[2] for uri in folders)
    assert one.job.identity["runner"] == TEXTATTACK and "runner" not in other.job.identity
    assert run_folder.identity(Config(attack=AttackConfig(name=f"{here.stem}:swaps")), "data") != before


def test_an_attacks_own_limit_of_queries_is_a_part_of_its_stage(victim: Folder, sentences: Dataset) -> None:
    def folder(attack: str, max_queries: int | None) -> str:
        found = plan(attack, victim, sentences, max_queries)
        expected = attacks.max_queries(attack, max_queries)
        assert found.job.identity["limits"]["queries"] == found.job.limits["cpu"].max_queries == expected
        return found.folder(Folder("nowhere")).uri

    assert folder("pwws", None) == folder("pwws", 0) != folder("pwws", 3000)
    assert folder("genetic", None) == folder("genetic", 10_000) != folder("genetic", 0)


def test_a_worker_refuses_another_file_than_that_of_the_run(here: Path, victim: Folder, sentences: Dataset) -> None:
    job = plan(f"{here.stem}:swaps", victim, sentences).job
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in sentences.test.slice(0, 4).to_pylist()]
    session = AttackSession()
    assert {record.status for record in session.process(job, rows)} <= {"successful", "failed", "skipped"}
    here.write_text(MODULE + "\n# changed\n")
    with pytest.raises(UserError, match="on this machine differs from that of the run"):
        session.process(replace(job, seed=job.seed + 1), rows)


def test_the_builder_that_the_documentation_shows_makes_typing_mistakes(
    here: Path, victim: Folder, sentences: Dataset
) -> None:
    shown = Page(ROOT / "docs" / "adding-an-attack.md").files["my_package/attacks.py"]
    module = f"{here.stem}_shown"
    (here.parent / f"{module}.py").write_text(shown)
    job = plan(f"{module}:typing_mistakes", victim, sentences, max_queries=60).job
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in sentences.test.slice(0, 4).to_pylist()]
    records = AttackSession().process(job, rows)
    pairs = [
        (before, after)
        for record in records
        for before, after in zip(record.original_text.split(), record.perturbed_text.split(), strict=True)
        if before != after
    ]
    assert pairs and {record.status for record in records} <= {"successful", "failed", "skipped", "timeout"}
    for before, after in pairs:
        different = [place for place, letters in enumerate(zip(before, after, strict=True)) if len(set(letters)) == 2]
        assert len(different) == 1 and 0 < different[0] < len(before) - 1 and len(before) >= 4
