"""Mask similarity as NumPy and SciPy compute it: test/fixtures/methods/router-analysis.json.

    PYTHON scripts/reference/router-analysis.py > test/fixtures/methods/router-analysis.json

Masks of five tasks over two layers of one 6 x 7 matrix each; cosine, correlation of the 0/1 vectors (phi), average linkage over
1 - mean phi, Pearson and Spearman of the first layer's cosines with given similarities.
"""

import json

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr, spearmanr

rng = np.random.default_rng(3)
tasks, layers, size = 5, 2, 42
masks = np.ones((tasks, layers, size), dtype=int)
for task in range(tasks):
    for layer in range(layers):
        masks[task, layer, rng.choice(size, 8 + task, replace=False)] = 0
cosine = [[[float(a @ b / np.sqrt(a.sum() * b.sum())) for b in masks[:, l]] for a in masks[:, l]] for l in range(layers)]
phi = [np.corrcoef(masks[:, l]).tolist() for l in range(layers)]
distance = 1 - np.mean(phi, axis=0)
np.fill_diagonal(distance, 0)
other = rng.random((tasks, tasks))
other = (other + other.T) / 2
lower = np.tril_indices(tasks, -1)
x, y = np.array(cosine[0])[lower], other[lower]
print(
    json.dumps(
        {
            "masks": masks.tolist(),
            "cosine": cosine,
            "phi": phi,
            "heights": linkage(squareform(distance, checks=False), "average")[:, 2].tolist(),
            "other": other.tolist(),
            "pearson": pearsonr(x, y).statistic,
            "spearman": spearmanr(x, y).statistic,
        }
    )
)
