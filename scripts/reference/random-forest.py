"""Decision trees and random forests of scikit-learn: test/fixtures/reference/forest.json.

    python scripts/reference/random-forest.py > test/fixtures/reference/forest.json

Rows follow from formulas that test/superb/forest.test.ts repeats.
"""
import json
import sys

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

ROWS, DIM = 240, 9
i, d = np.meshgrid(np.arange(ROWS), np.arange(DIM), indexing="ij")
x = (np.sin(12.9898 * (i + 1) + 78.233 * (d + 1)) * 43758.5453 % 1).astype(np.float32)
score = x[:, 0] + 2 * (x[:, 1] - 0.5) * (x[:, 2] - 0.5) + 0.3 * x[:, 3]
y = np.digitize(score, [0.45, 0.8])
train, test = slice(0, 160), slice(160, ROWS)
trees = {}
for depth in (1, 2, 3, 6, None):
    # Features with equally good splits are taken in the order in which they are drawn: only what does not hang on it is kept.
    all_ = np.stack([
        DecisionTreeClassifier(max_depth=depth, random_state=s).fit(x[train], y[train]).predict_proba(x[test])
        for s in range(300)
    ])
    same = (all_ == all_[0]).all(axis=(0, 2))
    print(depth, same.sum(), file=sys.stderr)
    trees[str(depth)] = [p.tolist() if ok else None for p, ok in zip(all_[0], same)]
accuracies = [
    RandomForestClassifier(100, max_depth=8, random_state=s).fit(x[train], y[train]).score(x[test], y[test]) for s in range(20)
]
json.dump(dict(labels=y.tolist(), trees=trees, accuracies=accuracies), sys.stdout)
