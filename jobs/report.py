"""`python jobs/report.py` is the command `flat-dist report`."""

from flat_dist.commands.main import run

if __name__ == "__main__":
    run("report")
