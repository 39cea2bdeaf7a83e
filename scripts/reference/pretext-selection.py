"""Values of scikit-learn and PyTorch that test/methods/pretext holds the selection of pretext tasks against.

    PYTHON scripts/reference/pretext-selection.py > test/methods/pretext/selection.json

Mutual information by nearest neighbours, recursive feature elimination with a linear SVC, and the gradient of the
conditional HSIC (written here with full matrices in float64) by automatic differentiation.
"""

import json

import numpy as np
import torch
from sklearn.feature_selection import RFE, mutual_info_regression
from sklearn.svm import SVC

rng = np.random.default_rng(7)
n, classes, features = 90, 3, 6
labels = np.repeat(np.arange(classes), n // classes)
centres = rng.normal(size=(classes, features)) * np.array([2.0, 0.1, 1.0, 0.0, 0.6, 0.3])
x = centres[labels] + rng.normal(size=(n, features)) @ (np.eye(features) + 0.4 * rng.normal(size=(features, features)))
x = np.round((x - x.mean(0)) / x.std(0), 6)

information = [
    [0.0 if i == j else float(mutual_info_regression(x[:, [i]], x[:, j], random_state=0)[0]) for j in range(features)]
    for i in range(features)
]
rfe = {}
for keep in (4, 2):
    fitted = RFE(SVC(kernel="linear"), n_features_to_select=keep).fit(x, labels)
    rfe[str(keep)] = [int(i) for i in np.flatnonzero(fitted.support_)]

data = np.round(np.abs(rng.normal(size=(n, 12))) + 0.5, 6)


def estimate(weights, centring, normalise):
    total = 0
    for c in range(classes):
        own = labels == c
        g = torch.tensor(data[own])
        g = g / g.norm(dim=1, keepdim=True)
        k = g @ g.T
        z = torch.tensor(x[own])
        logs = -((z[:, None, :] - z[None, :, :]) ** 2) / (2 * 0.4)
        l = torch.exp((logs * weights).sum(-1))
        m = int(own.sum())
        h = torch.eye(m, dtype=torch.float64) - torch.ones(m, m, dtype=torch.float64) / (m if centring == "paper" else m * m)
        value = torch.trace(k @ h @ l @ h)
        if normalise == "data":
            value = value / torch.trace(k @ h @ k @ h)
        elif normalise == "alignment":
            value = value / torch.sqrt(torch.trace(k @ h @ k @ h) * torch.trace(l @ h @ l @ h))
        else:
            value = value / m**2
        total = total + value * m
    return total / n


estimates = []
for centring in ("paper", "reference"):
    for normalise in ("none", "data", "alignment"):
        weights = torch.tensor([0.3, 0.05, 0.2, 0.0, 0.25, 0.2], dtype=torch.float64, requires_grad=True)
        value = estimate(weights, centring, normalise)
        value.backward()
        estimates.append(
            {"centring": centring, "normalise": normalise, "value": value.item(), "gradient": weights.grad.tolist()}
        )

print(
    json.dumps(
        {
            "classes": classes,
            "labels": labels.tolist(),
            "x": x.tolist(),
            "data": data.tolist(),
            "information": information,
            "rfe": rfe,
            "variance": 0.4,
            "weights": [0.3, 0.05, 0.2, 0.0, 0.25, 0.2],
            "estimates": estimates,
        }
    )
)
