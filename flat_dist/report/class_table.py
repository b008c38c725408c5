"""The table of the classes: accuracy, F1 and accuracy after the attack of each."""

from collections.abc import Callable, Sequence

from flat_dist.data.labels import printable
from flat_dist.evaluation.classes import OfClass, mean
from flat_dist.evaluation.result import Result
from flat_dist.report.formatting import percent
from flat_dist.report.table import Table

HEADER = ("attack", "training", "class", "texts", "accuracy, %", "F1, %", "attacked", "after\nattack, %")
MEAN = "mean of the classes"


def class_table(results: Sequence[Result], name: Callable[[Result], str]) -> Table:
    """A row for each class under each attack, and one for the means over classes, whose F1 is macro-F1.

    Args:
        results: sorted by attack.
        name: name of a result's attack.
    """
    rows = [
        (name(result), result.training, called, *cells)
        for result in results
        if result.by_class
        for called, cells in [*_classes(result), (MEAN, _means(result))]
    ]
    return Table(HEADER, rows, text_columns=3)


def _classes(result: Result) -> list[tuple[str, tuple[str, ...]]]:
    return [(printable(name), _numbers(one)) for name, one in result.by_class.items()]


def _numbers(one: OfClass) -> tuple[str, ...]:
    accuracy, f1 = percent(one.accuracy), percent(one.f1)
    return (f"{one.n:,}", accuracy, f1, f"{one.attacked:,}", percent(one.after_attack_accuracy))


def _means(result: Result) -> tuple[str, ...]:
    classes = list(result.by_class.values())
    texts, attacked = (f"{sum(getattr(one, name) for one in classes):,}" for name in ("n", "attacked"))
    accuracy, after = (
        percent(mean([getattr(one, name) for one in classes])) for name in ("accuracy", "after_attack_accuracy")
    )
    return texts, accuracy, percent(result.macro_f1), attacked, after
