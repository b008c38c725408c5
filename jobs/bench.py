"""`python jobs/bench.py` is the command `flat-dist bench`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("bench")
