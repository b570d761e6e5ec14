"""One side of the comparison of times: does a step whenever it is asked, and says how long it took.

Asked over standard input, a step's name a line; answers on standard output, JSON a line. What the
libraries print goes to standard error.
"""

import json
import os
import sys
import time


def serve(make_steps):
    """Answer until the input ends.

    Args:
        make_steps: Gives functions by name; what they return is not looked at, so they must have
            finished their work, a device's too, when they return.
    """
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        steps = make_steps()
        for line in sys.stdin:
            work = steps[line.strip()]
            processor, wall = time.process_time(), time.perf_counter()
            work()
            found = {"processor": time.process_time() - processor}
            found["wall"] = time.perf_counter() - wall
            answers.write(json.dumps(found) + "\n")
            answers.flush()
