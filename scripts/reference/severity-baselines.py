"""What scikit-learn and XGBoost make of a small classification problem: reference values for the severity baselines.

    python scripts/reference/severity-baselines.py    (numpy, scikit-learn, xgboost)

Writes test/methods/severity/baselines.json.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import xgboost
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

warnings.filterwarnings("ignore")
OUT = Path(__file__).resolve().parents[2] / "test/methods/severity/baselines.json"
rng = np.random.default_rng(7)
CLASSES, FEATURES = 4, 6


def draw(n):
    y = np.arange(n) % CLASSES
    centres = np.array([[1.5, 0, 0, 0.5, 0, 0], [0, 1.5, 0, 0, 0.5, 0], [0, 0, 1.5, 0, 0, 0.5], [-1, -1, 0, 0, 0, 0]])
    return (centres[y] + rng.normal(size=(n, FEATURES))).round(3), y


x, y = draw(60)
xt, yt = draw(20)
out = {"x": x.tolist(), "y": y.tolist(), "xt": xt.tolist(), "yt": yt.tolist()}

scaler = StandardScaler().fit(x)
out["scaled"] = scaler.transform(xt).tolist()

out["svm"] = []
for c, gamma in [(1, 0.1), (100, 0.01), (10, 1), (1e4, 1e-4), (0.01, 0.1)]:
    svm = SVC(C=c, gamma=gamma, tol=1e-9, decision_function_shape="ovo").fit(x, y)
    out["svm"].append(
        {"c": c, "gamma": gamma, "decisions": svm.decision_function(xt).tolist(), "predicted": svm.predict(xt).tolist()}
    )


class Started(MLPClassifier):
    """Starts from given values, which scikit-learn has no option for."""

    def _init_coef(self, fan_in, fan_out, dtype):
        w = np.round(rng2.uniform(-0.6, 0.6, (fan_in, fan_out)), 3)
        b = np.round(rng2.uniform(-0.6, 0.6, fan_out), 3)
        started.append([w.tolist(), b.tolist()])
        return w.astype(dtype), b.astype(dtype)


out["mlp"] = []
for layers, activation, solver, lr in [
    (1, "tanh", "adam", 1e-2),
    (2, "relu", "sgd", 1e-1),
    (3, "logistic", "adam", 1e-1),
    (2, "identity", "sgd", 1e-3),
]:
    rng2, started = np.random.default_rng(3), []
    mlp = Started([5] * layers, activation=activation, solver=solver, learning_rate_init=lr, batch_size=16, shuffle=False, max_iter=12)
    mlp.fit(x, y)
    out["mlp"].append(
        {
            "layers": layers,
            "activation": activation,
            "solver": solver,
            "learningRate": lr,
            "start": started,
            "losses": mlp.loss_curve_,
            "probabilities": mlp.predict_proba(xt).tolist(),
        }
    )

holes = x.copy()
holes[rng.random(x.shape) < 0.15] = np.nan
out["holes"] = [[None if np.isnan(v) else v for v in row] for row in holes.tolist()]
out["trees"] = []
for depth, rounds, missing in [(3, 10, False), (5, 6, False), (5, 20, False), (4, 1, True), (4, 5, True), (4, 10, True)]:
    # Holes in training only: where a node has none, which side they would take is a tie that rounding decides.
    a, b = holes if missing else x, xt
    booster = xgboost.train(
        {"objective": "multi:softmax", "num_class": CLASSES, "max_depth": depth, "tree_method": "exact", "base_score": 0.5},
        xgboost.DMatrix(a, y),
        rounds,
    )
    margins = booster.predict(xgboost.DMatrix(b), output_margin=True)
    margins = margins - margins.mean(1, keepdims=True)
    out["trees"].append({"depth": depth, "rounds": rounds, "missing": missing, "margins": margins.tolist()})

# Macro scores where a class is never called and one never occurs.
truth, said = [0, 0, 1, 1, 2, 2, 4], [0, 1, 1, 1, 0, 1, 3]
p, r, f, _ = precision_recall_fscore_support(truth, said, average="macro", zero_division=0)
out["macro"] = {"truth": truth, "said": said, "accuracy": accuracy_score(truth, said), "precision": p, "recall": r, "f1": f}

OUT.write_text(json.dumps(out) + "\n")
