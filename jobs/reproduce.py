"""`python jobs/reproduce.py` is the command `flat-dist reproduce`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("reproduce")
