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
from flat_dist.config.schema import WORST, Config, Scores
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.worst_case import AttackPart, merge, worst_case_stage
from flat_dist.models.artifact import ModelArtifact
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


@dataclass(frozen=True)
class Attacker:
    """Runs attacks on one pool of workers.

    Args:
        config: settings of the attacks and the evaluation.
        executor: finds complete attacks, and commits the others.
        display: shows a bar for each attack.
        groups: workers to use; none: new ones, which end with the attacks.
    """

    config: Config
    executor: Executor
    display: Display
    groups: Sequence[WorkerGroup] = ()

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
            Each model under each of its attacks, and under `WORST` if it has several; and the shards of `beside`.
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
                left = [(attack, rest) for attack in attacks if (rest := attack.unbroken()).num_rows]
                plans = [attack.plan(self.config, scores, rest) for attack, rest in left]
                shards = pool.run([*plans, *(() if number else beside)])
                for (attack, _), own in zip(left, shards, strict=False):
                    attack.parts.append(AttackPart(attack.name, scores, own))
                found = found or shards[len(plans) :]
        return self._merge(attacks), found

    def _merge(self, attacks: Sequence[_Attack]) -> list[AttackedModel]:
        """The worst case of each attack, and of all attacks on each model."""
        alone = [each for each in attacks if not each.neighbours]
        groups = [(each.name, [each]) for each in alone]
        for target in dict.fromkeys(id(each.target) for each in alone):
            own = [each for each in alone if id(each.target) == target]
            if len(own) > 1:
                groups.append((WORST, own))
        return [self._merged(name, group, attacks) for name, group in groups]

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
