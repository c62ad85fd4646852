"""The processes that tests fork where Ray is imported (tests/forking.py) are to Ray what fresh ones are."""

from __future__ import annotations

import subprocess

DRAW = """
import sys, threading
assert "ray.data" in sys.modules
import ray
drawn = [ray.NodeID.from_random().hex()]
thread = threading.Thread(target=lambda: drawn.append(ray.NodeID.from_random().hex()))
thread.start()
thread.join()
print(*drawn)
"""


def test_each_draws_numbers_of_its_own(ray_python: str) -> None:
    drawn = [subprocess.check_output([ray_python, "-c", DRAW], text=True).split() for _ in range(2)]
    assert len({*drawn[0], *drawn[1]}) == 4
