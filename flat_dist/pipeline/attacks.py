"""Attacks that measure models: each with all of `evaluation.scores`, and the worst case over scores and attacks.

An attack sees another form of scores only on the texts that it has not broken yet: the others cannot become worse. For
a curve over strength, each attack also runs with fewer candidates of a word, in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.attack.plan import AttackPlan, TextsToAttack, plan_attack
from flat_dist.attack.pool.run import run_attacks, worker_groups
from flat_dist.config.errors import UserError
from flat_dist.config.schema import WORST, Config, Scores
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.worst_case import AttackPart, merge, worst_case_stage
from flat_dist.models.artifact import ModelArtifact
from flat_dist.pipeline.failures import FailedAttack
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import WorkerGroup, reusable
from flat_dist.storage.stage import Artifact, Executor

Log = Callable[[str, Artifact], None]
"""Logs shards under a name, such as textfooler-margin."""


@dataclass(frozen=True)
class Target:
    """A model to measure under attacks."""

    model: ModelArtifact
    texts: TextsToAttack
    attacks: Sequence[str]
    log: Log = lambda name, artifact: None
    neighbours: Sequence[int] = ()
    """Maximum numbers of candidates of a word, with which each attack also runs."""


@dataclass(frozen=True)
class _Attack:
    """One attack on a model, with the forms of scores that it has seen so far."""

    target: Target
    name: str
    neighbours: int = 0
    """Maximum number of candidates of a word; 0: that of the config."""
    parts: list[AttackPart] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    """Why it failed, if it did."""

    @property
    def key(self) -> tuple[int, str]:
        """The same for all strengths of an attack on a model."""
        return id(self.target), self.name

    def take(self, scores: Scores, outcome: Artifact | Exception) -> None:
        """Keep the shards for a form of scores, or the error."""
        if isinstance(outcome, Artifact):
            self.parts.append(AttackPart(self.name, scores, outcome))
        else:
            self.errors.append(outcome)

    def plan(self, config: Config, scores: Scores, examples: pa.Table) -> AttackPlan:
        """The stage of attacking some of the texts with a form of scores."""
        texts = replace(self.target.texts, examples=examples)
        name, attack = f"{self.name}-{scores}", replace(config.attack, scores=scores)
        if self.neighbours:
            name, attack = f"{name}-{self.neighbours}-neighbours", replace(attack, neighbours=self.neighbours)
        config = replace(config, attack=attack)
        return plan_attack(config, self.target.model, texts, self.name, partial(self.target.log, name))

    def unbroken(self) -> pa.Table:
        """The texts that the attack has not changed into wrong ones; at first all."""
        examples = self.target.texts.examples
        if not self.parts:
            return examples
        rows = merge(self.parts)
        left = rows.filter(pc.is_in(rows["status"].cast(pa.string()), pa.array(["failed", "timeout"])))
        return examples.filter(pc.is_in(examples["example_id"], left["example_id"].combine_chunks()))


def _required(outcome: Artifact | Exception) -> Artifact:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@dataclass(frozen=True)
class Attacker:
    """Runs attacks on one pool of workers.

    Args:
        config: settings of the attacks and the evaluation.
        executor: finds complete attacks, and commits the others.
        display: shows a bar for each attack.
        groups: workers to use; none: new ones, which end with the attacks.
        failures: takes the attacks that fail while others go on.
    """

    config: Config
    executor: Executor
    display: Display
    groups: Sequence[WorkerGroup] = ()
    failures: list[FailedAttack] = field(default_factory=list)

    def run(self, plans: Sequence[AttackPlan]) -> list[Artifact]:
        """The shards of attacks."""
        return run_attacks(plans, self.config.attack, self.executor, self.display, self.groups)

    def measure(
        self, targets: Sequence[Target], beside: Sequence[AttackPlan] = ()
    ) -> tuple[list[AttackedModel], list[Artifact]]:
        """Attack models with all forms of scores, and take the worst case of each text.

        Args:
            targets: what to attack.
            beside: other attacks, which run at the same time on the same workers.

        Returns:
            Each model under each of its attacks, and under `WORST` if it has several; and the shards of `beside`. An
            attack that fails is left out, and recorded in `failures`.

        Raises:
            Exception: all attacks on a model fail, or one of `beside`.
        """
        attacks = [
            _Attack(target, name, count)
            for target in targets
            for name in target.attacks
            for count in (0, *sorted(target.neighbours))
        ]
        found: list[Artifact] = []
        with reusable(self.groups or worker_groups(self.config.attack)) as groups:
            pool = replace(self, groups=groups)
            for number, scores in enumerate(self.config.evaluation.scores):
                left = [
                    (attack, rest) for attack in attacks if not attack.errors and (rest := attack.unbroken()).num_rows
                ]
                planned = pool._plan(left, scores)
                others = () if number else beside
                tried = pool._try([*(plan for _, plan in planned), *others])
                for (attack, _), outcome in zip(planned, tried, strict=False):
                    attack.take(scores, outcome)
                found += [_required(outcome) for outcome in tried[len(planned) :]]
        return self._merge(attacks), found

    def _plan(self, left: Sequence[tuple[_Attack, pa.Table]], scores: Scores) -> list[tuple[_Attack, AttackPlan]]:
        """The stages of attacks; those that cannot be planned take their error."""
        planned = []
        for attack, rest in left:
            try:
                planned.append((attack, attack.plan(self.config, scores, rest)))
            except UserError as error:
                attack.errors.append(error)
        return planned

    def _try(self, plans: Sequence[AttackPlan]) -> Sequence[Artifact | Exception]:
        """The shards of attacks, or why an attack has none. All run together; if that fails, one after the other."""
        try:
            return self.run(plans)
        except Exception as error:  # whatever goes wrong in one attack must not lose the others' results
            if len(plans) == 1:
                return [error]
        found: list[Artifact | Exception] = []
        for plan in plans:
            found += self._try([plan])
        return found

    def _merge(self, attacks: Sequence[_Attack]) -> list[AttackedModel]:
        """The worst case of each attack, and of all attacks on each model.

        An attack that failed on one model is left out of the worst case on all models.
        """
        failed = self._report_failures(attacks)
        alone = [each for each in attacks if not each.neighbours and each.key not in failed]
        groups = [(each.name, [each]) for each in alone]
        names = {name for _, name in failed}
        for target in dict.fromkeys(id(each.target) for each in alone):
            own = [each for each in alone if id(each.target) == target and each.name not in names]
            if len(own) > 1:
                groups.append((WORST, own))
        return [self._merged(name, group, attacks) for name, group in groups]

    def _report_failures(self, attacks: Sequence[_Attack]) -> set[tuple[int, str]]:
        """Record and print the attacks that failed.

        Raises:
            Exception: a model has no other attack.
        """
        failed = {each.key: each for each in reversed(attacks) if each.errors}
        for target in {id(each.target): each.target for each in attacks}.values():
            keys = [(id(target), name) for name in target.attacks]
            if all(key in failed for key in keys):
                raise failed[keys[0]].errors[0]
        for each in reversed(failed.values()):
            failure = FailedAttack.on(each.target.model, each.name, each.errors[0])
            self.failures.append(failure)
            self.display.log_line(f"no result: {failure.describe()}; worst is over the other attacks alone")
        return set(failed)

    def _merged(self, name: str, group: Sequence[_Attack], attacks: Sequence[_Attack]) -> AttackedModel:
        """The worst case of attacks on one model, and of the same attacks with fewer candidates."""
        target, names = group[0].target, [each.name for each in group]
        parts = [part for each in group for part in each.parts]
        weaker: dict[int, list[AttackPart]] = {}
        for each in attacks:
            if each.neighbours and each.target is target and each.name in names:
                weaker.setdefault(each.neighbours, []).extend(each.parts)
        return AttackedModel(target.model, name, self._worst_case(target, name, parts), parts, weaker)

    def _worst_case(self, target: Target, name: str, parts: Sequence[AttackPart]) -> Artifact:
        if len(parts) == 1:
            return parts[0].shards
        stage = replace(worst_case_stage(target.model, name, parts), log=partial(target.log, name))
        return self.executor.run(stage)
