"""`python jobs/evaluate.py` is the command `flat-dist evaluate`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("evaluate")
