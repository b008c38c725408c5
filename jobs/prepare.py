"""`python jobs/prepare.py` is the command `flat-dist prepare`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("prepare")
