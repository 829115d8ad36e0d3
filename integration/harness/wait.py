"""Waiting for a condition, never for a time."""

import time


def wait_for(condition, what, within=30.0, instead=None):
    """Returns the first true answer of `condition`; AssertionError naming `what` after `within` seconds, with what is there
    `instead`."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {within} s" + (f": {instead()}" if instead else "")
        time.sleep(0.02)
