"""A run that kills itself: ``python killed_run.py SUITE OUT POINT COUNT``.

POINT is the function before which (or ``+`` after which) the process dies at its COUNT-th call.
"""

import os
import signal
import sys

from rcm_bench import environment, store_blobs, store_records
from rcm_bench.verbs.run import run

suite, out, point, count = sys.argv[1:]
calls = 0


def dying(real, after=False):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(count) and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def half_written(handle, data):
    global calls
    calls += 1
    if calls == int(count):
        real_write(handle, bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real_write(handle, data)


real_write = os.write
if point == "write":
    os.write = half_written
elif point == "rename":
    os.replace = dying(os.replace)
elif point == "link":
    os.link = dying(os.link)
elif point == "+link":
    os.link = dying(os.link, after=True)
elif point == "+blobs":
    store_blobs.Blobs.put = dying(store_blobs.Blobs.put, after=True)
elif point == "+records":
    store_records.RecordWriter.append = dying(store_records.RecordWriter.append, after=True)
elif point == "aggregate":
    import rcm_bench.finish

    rcm_bench.finish.aggregate = dying(rcm_bench.finish.aggregate)
else:
    sys.exit(f"unknown point {point}")
environment.pick_device = lambda: "cpu"  # torch is not imported for a model that needs none
run(suite, out)
