"""`python tuning/sweep.py` is the command `flat-dist tune`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("tune")
