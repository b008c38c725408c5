"""The command `flat-dist`: its verbs, and what each of them runs."""

import importlib
import sys
from typing import NamedTuple

import flat_dist
import flat_dist.runtime.start  # the first import: an interrupt of the others must be one line
from flat_dist import cli
from flat_dist.config.errors import UserError, unknown
from flat_dist.config.options import HELP
from flat_dist.runtime import interrupts

PROGRAM = "flat-dist"


class Verb(NamedTuple):
    """One command of `flat-dist`. Its code is `flat_dist.commands.NAME`, which has a function `job`."""

    purpose: str
    """One line for `flat-dist --help`."""
    interrupted: str = interrupts.CONTINUES
    """What to say after an interrupt."""


VERBS = {
    "train": Verb("train a classifier, attack it, make it robust (FLAT), and compare the models"),
    "attack": Verb("attack a checkpoint on the texts of a dataset, or on one text"),
    "evaluate": Verb("measure checkpoints: accuracy, accuracy under attack, consistency of attributions"),
    "tune": Verb("search hyperparameters, or compare FLAT with parts left out (--ablation)"),
    "reproduce": Verb("train and measure the cells of the paper's tables, and write them beside its numbers"),
    "predict": Verb("predict the classes of texts, and explain them", "the predictions written so far are complete"),
    "export": Verb("write a model for transformers, for MLflow, or as a folder that flat_dist loads elsewhere"),
    "report": Verb("print the table of a finished run, or send what it kept for MLflow"),
    "resources": Verb("list, build or verify the offline resources that attacks use"),
    "bench": Verb("measure speed and memory on this machine", "no measurement is kept"),
    "prepare": Verb("download and build the offline resources, so that no later command waits for them"),
}

EXAMPLES = """First steps:

  flat-dist prepare
  flat-dist train --dry-run --data.train a.csv --data.dev b.csv --data.test c.csv     print the plan, and exit
  flat-dist train --data.train a.csv --data.dev b.csv --data.test c.csv               columns text and label
  echo "a fine film" | flat-dist predict --checkpoint runs/stages/train-flat-1-...
  flat-dist evaluate --checkpoint runs/stages/train-flat-1-... --fail-under after_attack_accuracy=0.4
"""


def main() -> None:
    """Run the command that the first argument names, on the other arguments."""
    verb, *rest = sys.argv[1:] or [""]
    if verb in VERBS:
        sys.argv = [f"{PROGRAM} {verb}", *rest]  # helps name the program so
        run(verb)
    else:
        cli.main(lambda _: describe(verb))


def run(verb: str) -> None:
    """Run a command on the command line's arguments. Its module is imported only here, so that each starts fast."""
    cli.main(
        lambda arguments: importlib.import_module(f"flat_dist.commands.{verb}").job(arguments), VERBS[verb].interrupted
    )


def describe(asked: str) -> None:
    """Print the commands, or the version.

    Raises:
        UserError: something else is asked for.
    """
    if asked in HELP:
        print(f"usage: {PROGRAM} COMMAND [OPTIONS]\n\n{str(flat_dist.__doc__).splitlines()[0]}\n")
        print(*(f"  {name:10} {verb.purpose}" for name, verb in VERBS.items()), sep="\n")
        print(f"\n{PROGRAM} COMMAND --help lists the options of a command.\n\n{EXAMPLES}", end="")
    elif asked == "--version":
        print(f"{PROGRAM} {flat_dist.__version__}")
    elif asked:
        raise unknown("command", asked, VERBS)
    else:
        raise UserError(f"name a command: {', '.join(VERBS)} ({PROGRAM} --help describes them)")


if __name__ == "__main__":
    main()
