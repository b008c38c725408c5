"""`python jobs/flat_round.py` is the command `flat-dist train`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("train")
