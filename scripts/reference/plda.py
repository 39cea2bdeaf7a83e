"""Values of SpeechBrain's PLDA and of plain Gaussian densities that test/metrics/plda.test.ts holds ours against.

    PYTHON scripts/reference/plda.py PLDA_LDA.py > test/fixtures/metrics/plda.json

PLDA_LDA.py is the file of that name in SpeechBrain 1.1.2 (its package also wants torchaudio, which this does not).
"""

import importlib.util
import json
import sys

import numpy as np

spec = importlib.util.spec_from_file_location("plda_lda", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

rng = np.random.default_rng(5)
dim, speakers = 5, 40
factors = rng.normal(size=(dim, 2)) * 1.5
noise = np.linalg.cholesky(np.eye(dim) + 0.4 * np.ones((dim, dim)))
names, rows = [], []
for s in range(speakers):
    h = rng.normal(size=2)
    for _ in range(3 + s % 4):
        names.append(f"s{s}")
        rows.append(factors @ h + noise @ rng.normal(size=dim) + 2)
x = np.round(np.array(rows), 5)
n = len(x)
stat = module.StatObject_SB(
    modelset=np.array(names, dtype="|O"),
    segset=np.array([f"g{i}" for i in range(n)], dtype="|O"),
    start=np.array([None] * n),
    stop=np.array([None] * n),
    stat0=np.ones((n, 1)),
    stat1=x.copy(),
)
plda = module.PLDA(rank_f=2, nb_iter=400)
plda.plda(stat)
between = plda.F @ plda.F.T


def density(value, covariance):
    return -0.5 * (value @ np.linalg.solve(covariance, value) + np.linalg.slogdet(2 * np.pi * covariance)[1])


total = between + plda.Sigma
joint = np.block([[total, between], [between, total]])
pairs = [(0, 1), (0, 5), (7, 8), (10, 100), (3, 3)]
scores = [
    density(np.concatenate([x[i] - plda.mean, x[j] - plda.mean]), joint)
    - density(x[i] - plda.mean, total)
    - density(x[j] - plda.mean, total)
    for i, j in pairs
]
print(
    json.dumps(
        {
            "speakers": names,
            "x": x.tolist(),
            "between": between.tolist(),
            "residual": plda.Sigma.tolist(),
            "pairs": pairs,
            "scores": scores,
        }
    )
)
