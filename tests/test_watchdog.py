import subprocess
import sys

HANGS = """
import time
from flat_dist.scheduling.watchdog import Watchdog
watchdog = Watchdog()
watchdog.seconds = {seconds}
with watchdog:
    for _ in range({ticks}):
        time.sleep(0.05)
        watchdog.tick()
    {then}
time.sleep(1.5)
print("alive")
"""


def run(seconds: float, ticks: int, then: str) -> tuple[int, str, str]:
    code = HANGS.format(seconds=seconds, ticks=ticks, then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_process_that_hangs_ends_and_writes_its_stack() -> None:
    for hang in ("time.sleep(60)", "__import__('re').match('(a*)*b', 'a' * 60)"):  # the second keeps Python's lock
        code, out, err = run(1.0, 1, hang)
        assert (code, out) == (1, "")
        assert 'File "<string>", line' in err


def test_progress_and_the_end_of_the_work_stop_the_timer() -> None:
    assert run(1.0, 30, "pass")[:2] == (0, "alive\n")
    assert run(0.0, 1, "time.sleep(1.5)")[:2] == (0, "alive\n")
