"""The settings of a cell: presets of its dataset, recipe and model, and what the tables need."""

from dataclasses import dataclass, replace

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.schema import BUILT_IN, Config, Hardware, Training
from flat_dist.reproduction.cells import TABLE_10, TRAININGS, Cell, Use
from flat_dist.sweep.variants import TABLE_5

TRANSFER_ATTACKS = ("pwws", "genetic", "iga", "pso", "clare", "bae")
"""The attacks of Table 4, in the order of its columns. The paper calls genetic Gene."""


@dataclass(frozen=True)
class Measures:
    """What to measure, the same for all cells."""

    sample: int = 0
    """Test texts that the attack in training gets; 0: all."""
    transfer_sample: int = 200
    """Test texts that each attack of Table 4 gets; 0: all. Most of these attacks are a hundred times slower."""
    pairs: int = 0
    """Pairs of each model to explain with each method; 0: all. With fewer, the mean over all texts, as in the paper, is
    not known where the attack changed more texts for all models."""
    rounds: int = 8
    """Rounds of the models of `--tables growing`."""

    def check(self) -> None:
        """Raise UserError for a number that is too small."""
        options = {"--sample": self.sample, "--transfer-sample": self.transfer_sample, "--pairs": self.pairs}
        for name, value in options.items():
            if value < 0:
                raise UserError(f"{name} is {value}, but must be at least 0 (0: all)")
        if self.rounds < 1:
            raise UserError(f"--rounds is {self.rounds}, but must be at least 1")


def presets_of(cell: Cell) -> str:
    """The presets of a cell, separated by commas, as `--preset` takes them.

    The built-in data has those of the main job: robust_cnn was chosen on SST-2.
    """
    if cell.dataset == BUILT_IN:
        return f"{BUILT_IN},robust"
    of_recipe = f"robust,robust_{cell.model}" if cell.recipe == "ours" else cell.recipe
    return f"{cell.dataset},{of_recipe}"


def kinds_of(cell: Cell) -> tuple[Training, ...]:
    """The kinds of training of a cell's models."""
    by_use: dict[Use, tuple[Training, ...]] = {"ablation": ("flat",), "words": ("flat",), "groups": ("base",)}
    return by_use.get(cell.use, TRAININGS)


def rows_of(cell: Cell) -> tuple[str, ...]:
    """Names of a cell's models: kinds of training, or rows of Table 5 or 10."""
    by_use: dict[Use, tuple[str, ...]] = {"ablation": tuple(TABLE_5), "groups": tuple(TABLE_10)}
    return by_use.get(cell.use, kinds_of(cell))


def options_of(cell: Cell, rounds: int = Measures.rounds) -> str:
    """The options of `flat-dist train` that train the models of a cell, apart from the data; of a cell about growing
    data, those on attacked texts."""
    grown = f" --training.adversaries attack --training.rounds {rounds} --attack.sample 0"
    return (
        f"--preset {presets_of(cell)} --model.name {cell.model} --attack.name {cell.attack} --training.kinds "
        f"{' '.join(kinds_of(cell))} --seed {cell.seed}{grown if cell.use == 'growing' else ''}"
    )


def config_of(
    cell: Cell, data: str | None, measures: Measures, storage: str = "runs", hardware: Hardware = "auto"
) -> Config:
    """The config of a cell.

    Args:
        cell: what to train and measure.
        data: folder that has the folder of each dataset; None: the Hugging Face hub.
        measures: how much to measure.
        storage: folder of the stages.
        hardware: profile.
    """
    config = cli.load_preset(presets_of(cell))
    if cell.use == "growing":
        config = _growing(config, measures.rounds)
    evaluation = replace(
        config.evaluation,
        attacks=_attacks(cell),
        sample=measures.transfer_sample if cell.use == "transfer" else measures.sample,
        explain=("ig", "lime") if cell.use == "main" else (),
        ig_pairs=measures.pairs,
        lime_pairs=measures.pairs,
    )
    return replace(
        config,
        data=replace(config.data, folder=_folder(cell, data)),
        model=replace(config.model, name=cell.model),
        training=replace(config.training, kinds=kinds_of(cell)),
        attack=replace(config.attack, name=cell.attack),
        evaluation=evaluation,
        tracking=replace(config.tracking, enabled=False),
        storage=storage,
        hardware=hardware,
        seed=cell.seed,
    )


def _folder(cell: Cell, data: str | None) -> str | None:
    """Folder of a cell's dataset; None: built in, or from the hub."""
    return None if data is None or cell.dataset == BUILT_IN else f"{data.rstrip('/')}/{cell.dataset}"


def _growing(config: Config, rounds: int) -> Config:
    """More rounds, in which all training texts are attacked; `flat_dist.reproduction.growing` has the sources."""
    return replace(config, training=replace(config.training, rounds=rounds), attack=replace(config.attack, sample=0))


def _attacks(cell: Cell) -> tuple[str, ...]:
    by_use: dict[Use, tuple[str, ...]] = {"transfer": TRANSFER_ATTACKS}
    return by_use.get(cell.use, (cell.attack,))
