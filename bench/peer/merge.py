"""The straightforward merge: load both models whole, compute, save.

    python merge.py BASE TUNED OUT interpolate|ties
"""

import json
import os
import resource
import sys
import time

import numpy as np
from safetensors.numpy import load_file, save_file

base_path, tuned_path, out, method = sys.argv[1:]
start, cpu = time.perf_counter(), time.process_time()
base, tuned = load_file(base_path), load_file(tuned_path)
if method == "interpolate":
    merged = {name: base[name] + np.float32(0.25) * (tuned[name] - base[name]) for name in base}
else:
    # TIES of one model over its whole vector: what stays is the largest fifth of its differences.
    tau = {name: tuned[name] - base[name] for name in base}
    sizes = np.concatenate([np.abs(t).ravel() for t in tau.values()])
    k = len(sizes) - int(0.2 * len(sizes))
    threshold = np.partition(sizes, k - 1)[k - 1]
    merged = {name: base[name] + np.float32(0.25) * np.where(np.abs(t) >= threshold, t, 0) for name, t in tau.items()}
save_file(merged, out)
# As ours does: the result is on the disk, not only in the page cache.
descriptor = os.open(out, os.O_RDONLY)
os.fsync(descriptor)
os.close(descriptor)
print(
    json.dumps(
        {
            "ms": 1000 * (time.perf_counter() - start),
            "cpuMs": 1000 * (time.process_time() - cpu),
            "peakMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )
)
