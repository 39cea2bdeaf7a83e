"""How long PyTorch takes for the threshold of a mask: the k-th smallest of 768 x 3072 magnitudes, by kthvalue, topk and sort.

    PYTHON bench/peer/thresholds.py THREADS ROUNDS      prints one JSON object with medians in milliseconds
"""

import json
import statistics
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
rounds = int(sys.argv[2]) * 4
scores = (torch.rand(768, 3072) * 2 - 1) / 768**0.5
zeros = int((1 - 0.9) * scores.numel())


def median_ms(what):
    times = []
    for turn in range(2 + rounds):
        scores.add_(5e-5 * torch.sign(torch.rand_like(scores) - 0.5))
        start = time.perf_counter()
        what()
        if turn >= 2:
            times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times), 1)


print(
    json.dumps(
        {
            "torchKthvalueMs": median_ms(lambda: scores.abs().flatten().kthvalue(zeros)),
            "torchTopkMs": median_ms(lambda: scores.abs().flatten().topk(zeros, largest=False)),
            "torchSortMs": median_ms(lambda: scores.abs().flatten().sort()),
        }
    )
)
