"""`python jobs/attack.py` is the command `flat-dist attack`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("attack")
