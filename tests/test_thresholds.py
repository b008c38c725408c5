"""`--fail-under`: which number counts, what is under a threshold, and the same as JUnit XML."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.options import CommandLine
from flat_dist.config.schema import WORST
from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.model_consistency import ModelConsistency
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.thresholds import METRICS, Threshold, check, check_measured, parse
from flat_dist.report.junit import junit


def consistency(tau: float | None, top: float) -> ModelConsistency:
    of_pairs = Consistency(tau, {5: top}, 4, 0)
    return ModelConsistency(of_pairs, of_pairs, None, {}, {}, 4, 4, 4, {}, None)


def result(model: str, attack: str, after: float | None, tau: float | None = 0.5) -> Result:
    found = {} if attack == WORST else {"ig": consistency(tau, 0.6), "lime": consistency(0.7, 0.2)}
    return Result(model, 1, attack, None, 0.75, after, None, None, None, 20, found, macro_f1=0.625)


RESULTS = [
    result("base", "textfooler", 0.25),
    result("base", "pwws", 0.3, tau=-0.1),
    result("base", WORST, 0.2),
    result("flat", "textfooler", 0.5, tau=None),
    result("flat", "pwws", 0.45),
    result("flat", WORST, 0.4),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy=0.75", [(0.75, True), (0.75, True)]),
        ("accuracy=0.7500001", [(0.75, False), (0.75, False)]),
        ("macro_f1=0.625", [(0.625, True), (0.625, True)]),
        ("pwws:macro_f1=0.63", [(0.625, False), (0.625, False)]),
        ("after_attack_accuracy=0.4", [(0.2, False), (0.4, True)]),  # the worst of each text, not the worst attack
        ("pwws:after_attack_accuracy=0.4", [(0.3, False), (0.45, True)]),
        ("worst:after_attack_accuracy=.2", [(0.2, True), (0.4, True)]),
        ("kendall_tau=0", [(-0.1, False), (0.5, True)]),  # flat has none under TextFooler by integrated gradients
        ("textfooler:kendall_tau=0.6", [(0.5, False), (0.7, True)]),
        ("top_5=0.2", [(0.2, True), (0.2, True)]),
    ],
)
def test_the_lowest_value_of_each_checkpoint_counts(text: str, expected: list[tuple[float, bool]]) -> None:
    found = check([parse(text)], ["base", "flat"], RESULTS)
    assert [(one.value, one.passed) for one in found] == expected
    assert [one.model for one in found] == ["base", "flat"]


def test_thresholds_are_exact_for_shares_of_texts() -> None:
    for n in range(1, 200):
        for k in range(n + 1):
            share = k / n
            (equal,) = check([parse(f"accuracy={share!r}")], ["base"], [replace(RESULTS[0], accuracy=share)])
            assert equal.passed
    (tenth,) = check([parse("accuracy=0.7")], ["base"], [replace(RESULTS[0], accuracy=7 / 10)])
    assert tenth.passed


def test_what_was_not_measured_is_under_every_threshold() -> None:
    one_class = [result("base", "textfooler", None), result("base", "pwws", 0.9)]
    (found,) = check([parse("after_attack_accuracy=0")], ["base"], one_class)
    assert (found.value, found.passed) == (None, False)
    assert "has no value (the attack has no result, or the model predicts one class only)" in found.sentence
    (failed,) = check([parse("accuracy=0")], ["base"], [])
    assert not failed.passed and "no attack has a result" in failed.sentence
    (undefined,) = check([parse("textfooler:kendall_tau=-1")], ["base"], [result("base", WORST, 0.5)])
    assert not undefined.passed


def test_sentences_say_what_was_measured_and_what_is_required() -> None:
    base, flat = check([parse("after_attack_accuracy=0.4")], ["base", "flat"], RESULTS)
    assert base.sentence == "base: after_attack_accuracy is 0.2 under the attack worst, which is under 0.4"
    assert flat.sentence == "flat: after_attack_accuracy is 0.4 under the attack worst, which reaches 0.4"
    (clean,) = check([parse("accuracy=0.8")], ["base"], RESULTS)
    assert clean.sentence == "base: accuracy is 0.75, which is under 0.8"
    (of_classes,) = check([parse("macro_f1=0.6")], ["base"], RESULTS)
    assert of_classes.sentence == "base: macro_f1 is 0.625, which reaches 0.6"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("after_attack_accuracy", "write METRIC=VALUE"),
        ("after_attack=0.4", "unknown metric of --fail-under 'after_attack': choose one of accuracy, after_attack_acc"),
        ("attack_success_rate=0.4", "unknown metric"),  # which is better when it is lower
        ("=0.4", "unknown metric"),
        ("accuracy=40", "accuracy is from 0 to 1: write 0.4 for 40 percent"),
        ("accuracy=-0.1", "accuracy is from 0 to 1"),
        ("macro_f1=60", "macro_f1 is from 0 to 1: write 0.4 for 40 percent"),
        ("accuracy=nan", "accuracy is from 0 to 1"),
        ("kendall_tau=-1.1", "kendall_tau is from -1 to 1"),
        ("accuracy=high", "'high' is not a number"),
        ("accuracy=", "'' is not a number"),
    ],
)
def test_a_threshold_that_means_nothing_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert message in str(error.value)


def test_a_threshold_about_what_is_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown attack of --fail-under 'pwsw'.*did you mean 'pwws'"):
        check_measured([parse("pwsw:accuracy=0.1")], ["pwws"], explained=True)
    with pytest.raises(UserError, match=r"needs attributions: add --evaluation\.explain ig"):
        check_measured([parse("kendall_tau=0.1")], ["pwws"], explained=False)
    check_measured([parse("pwws:after_attack_accuracy=0.1"), parse("accuracy=1")], ["pwws"], explained=False)


def test_an_attack_may_be_a_python_path() -> None:
    text = "textattack.attack_recipes:LEAP2023.build:after_attack_accuracy=0.1"
    assert parse(text) == Threshold("after_attack_accuracy", 0.1, "textattack.attack_recipes:LEAP2023.build")
    assert str(parse(text)) == text
    assert set(METRICS) == {"accuracy", "macro_f1", "after_attack_accuracy", "kendall_tau", "top_5"}


@pytest.mark.parametrize(
    "given",
    [
        ["--fail-under", "accuracy=0.5", "pwws:accuracy=0.4"],
        ["--fail-under", "accuracy=0.5,pwws:accuracy=0.4"],
        ["--fail-under", "accuracy=0.5", "--fail-under", "pwws:accuracy=0.4"],
        ["--fail-under=accuracy=0.5", "--fail-under=pwws:accuracy=0.4"],
    ],
)
def test_the_option_may_be_repeated(given: list[str]) -> None:
    from flat_dist.commands.evaluate import Command

    command = CommandLine(Command, ["--checkpoint", "x", *given]).read("test")
    assert command.fail_under == ("accuracy=0.5", "pwws:accuracy=0.4")


def test_junit_has_a_test_case_for_each_threshold_and_checkpoint() -> None:
    checks = check([parse("after_attack_accuracy=0.4"), parse("accuracy=0.7")], ["base", "flat <&>"], RESULTS)
    root = ElementTree.fromstring(junit(checks))
    assert root.tag == "testsuites"
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "4", "failures": "3", "errors": "0"
    }  # fmt: skip
    (suite,) = root
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "4", "3")
    cases = [(case.get("classname"), case.get("name"), [part.tag for part in case]) for case in suite]
    assert cases == [
        ("base", "after_attack_accuracy=0.4", ["failure"]),
        ("base", "accuracy=0.7", ["system-out"]),
        ("flat <&>", "after_attack_accuracy=0.4", ["failure"]),
        ("flat <&>", "accuracy=0.7", ["failure"]),
    ]
    failure = suite[0][0]
    assert failure.get("message") == failure.text == checks[0].sentence
