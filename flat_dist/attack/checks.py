"""Checks of the attacks of a command, before any work. Large libraries are imported only for attacks that need them."""

from collections.abc import Iterable

from flat_dist.attack.strength import resolve_strength
from flat_dist.config.attacks import entry_of, max_queries, recipe_of
from flat_dist.config.errors import UserError, option
from flat_dist.config.schema import AttackConfig, Config, Scores
from flat_dist.resources.catalogue import check_available, sources


def check_attacks(
    attacks: Iterable[str], config: AttackConfig, scores: Iterable[Scores], pairs: bool = False
) -> list[str]:
    """Check that attacks can be built, with their resources and limits, and can follow the scores.

    Args:
        attacks: names and paths.
        config: resources and limits.
        scores: what the attacks see.
        pairs: whether they attack pairs of sentences.

    Returns:
        For each attack that this package does not have itself, and each that TextAttack runs because of the pairs,
        which program runs it; and which attacks end after how many queries, if the config does not say so.

    Raises:
        UserError: one of them cannot be run.
    """
    attacks, found = tuple(dict.fromkeys(attacks)), []
    for attack in attacks:
        entry = entry_of(attack)
        check_available(entry, sources(config))
        resolve_strength(config, None, recipe_of(attack))
        if pairs or not entry.is_own:
            from flat_dist.attack.runner import ENGINE, runner_of

            runner, *_ = [runner_of(attack, config, seen, pairs) for seen in dict.fromkeys(scores)]
            if not entry.is_own or runner.name != ENGINE:
                found.append(runner.describe(attack))
    return [*found, *_own_limits(attacks, config)]


def _own_limits(attacks: Iterable[str], config: AttackConfig) -> list[str]:
    """The attacks that end after a number of queries of their own, in words."""
    limited: dict[int, dict[str, None]] = {}
    for attack in attacks if config.max_queries is None else ():
        if limit := max_queries(attack, None):
            limited.setdefault(limit, {})[attack] = None
    return [
        f"{', '.join(names)} end{'s' if len(names) == 1 else ''} after {limit:,} queries a text: "
        f"{option('attack.max_queries')} sets another limit, and 0 none"
        for limit, names in limited.items()
    ]


def check_run(config: Config) -> list[str]:
    """`check_attacks` for the attacks of a run, in training and on test texts.

    Raises:
        UserError: one of them cannot be run, or does not list the substitutes that training makes.
    """
    evaluation, entry = config.evaluation, entry_of(config.attack.name)
    if (adversaries := config.training.adversaries) != "attack" and not entry.lists_candidates:
        raise UserError(
            f"--training.adversaries {adversaries} makes substitutes from an attack's candidates of a word, which "
            f"{entry.name} does not list: choose --attack.name textfooler or pwws, or --training.adversaries attack"
        )
    check_curve(config)
    return check_attacks(
        (config.attack.name, *evaluation.attacks),
        config.attack,
        (config.attack.scores, *evaluation.scores),
        config.data.text_pair_column is not None,
    )


def check_curve(config: Config) -> None:
    """Raise UserError if an attack on test texts cannot have the numbers of candidates that `evaluation.neighbours`
    asks for."""
    unlimited = [attack for attack in config.evaluation.attacks if not entry_of(attack).has_strength]
    if config.evaluation.neighbours and unlimited:
        raise UserError(
            f"{option('evaluation.neighbours')} does not hold for {', '.join(unlimited)}, whose candidates are their "
            "own: leave it out, or leave out these attacks"
        )
