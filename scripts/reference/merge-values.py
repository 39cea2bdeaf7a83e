"""Values of merging methods, written with PyTorch from their definitions: test/fixtures/reference/merge.json.

    python scripts/reference/merge-values.py > test/fixtures/reference/merge.json

TIES over the whole model follows the semantics of the paper's reference code (flat vector, k-th value, zeros elect the
majority sign); per tensor those of mergekit (argsort, zeros elect +); both were rewritten here from their description.
"""

import json

import torch

torch.manual_seed(7)
SHAPES = {"encoder.a": [4, 5], "encoder.b": [7], "encoder.c": [3, 2, 3]}


def draw(scale):
    return {name: scale * torch.randn(shape) for name, shape in SHAPES.items()}


base = draw(1.0)
models = []
for i in range(3):
    tau = draw(0.1)
    # A fifth of the entries are exact zeros and some cancel exactly, as in models with frozen parts.
    for name, t in tau.items():
        t[torch.rand(t.shape) < 0.2] = 0
    models.append({name: base[name] + tau[name] for name in base})
# Entries of the second model that undo those of the first: bits are kept, so that the sums are exact zeros.
base["encoder.b"] = (base["encoder.b"] * 64).round() / 64
models[0]["encoder.b"] = base["encoder.b"] + torch.tensor([3, -2, 5, 0, 1, 1, -4]) / 16
models[1]["encoder.b"] = base["encoder.b"] - torch.tensor([3, -2, 5, 0, 1, 1, -4]) / 16
models[2]["encoder.b"] = base["encoder.b"] + torch.tensor([0, 0, 1, 2, 0, 0, 0]) / 16


def flat(tensors):
    return torch.cat([tensors[name].flatten() for name in SHAPES])


def unflat(vector):
    out, at = {}, 0
    for name, shape in SHAPES.items():
        size = torch.Size(shape).numel()
        out[name] = vector[at : at + size].reshape(shape)
        at += size
    return out


def ties_reference(chosen, density, scale):
    taus = torch.stack([flat(models[i]) - flat(base) for i in chosen])
    d = taus.shape[1]
    k = d - int(density * d)
    if k > 0:
        kept = taus.abs() >= taus.abs().kthvalue(k, dim=1, keepdim=True).values
        taus = taus * kept
    sign = taus.sum(0).sign()
    sign[sign == 0] = sign.sum().sign()
    agree = torch.where(sign > 0, taus > 0, taus < 0)
    mean = (taus * agree).sum(0) / agree.sum(0).clamp(min=1)
    return unflat(flat(base) + scale * mean)


def ties_per_tensor(chosen, density, scale, weights, by="sum"):
    out = {}
    for name in SHAPES:
        taus = []
        for i in chosen:
            tau = models[i][name] - base[name]
            if density < 1:
                order = tau.abs().flatten().argsort(descending=True, stable=True)[: int(density * tau.numel())]
                mask = torch.zeros(tau.numel())
                mask[order] = 1
                tau = tau * mask.reshape(tau.shape)
            taus.append(tau)
        taus = torch.stack(taus)
        w = torch.tensor(weights).reshape([-1] + [1] * (taus.dim() - 1))
        weighted = taus * w
        votes = weighted.sum(0) if by == "sum" else weighted.sign().sum(0)
        sign = (votes >= 0).float() * 2 - 1
        agree = weighted.sign() == sign
        divisor = (w * agree).sum(0)
        divisor[divisor == 0] = 1
        out[name] = base[name] + scale * (weighted * agree).sum(0) / divisor
    return out


def slerp(i, t):
    out = {}
    for name in SHAPES:
        a, b = base[name].double(), models[i][name].double()
        cosine = (a * b).sum() / (a.norm() * b.norm())
        if cosine.abs() > 0.9995:
            out[name] = (1 - t) * a + t * b
        else:
            angle = torch.arccos(cosine)
            out[name] = (torch.sin(angle * (1 - t)) * a + torch.sin(angle * t) * b) / torch.sin(angle)
    return out


def combination(terms):
    return {name: base[name] + sum(c * (models[i][name] - base[name]) for i, c in terms) for name in SHAPES}


def case(given, tuned, result):
    return {"given": given, "tuned": tuned, "expected": {n: t.flatten().tolist() for n, t in result.items()}}


cases = [
    case({"method": "interpolate", "alpha": 0.25}, [0], combination([(0, 0.25)])),
    case({"method": "linear", "alpha": 0.25}, [0, 1], combination([(0, 0.125), (1, 0.125)])),
    case(
        {"method": "linear", "alpha": 1, "weights": [1, 2, 1]},
        [0, 1, 2],
        combination([(0, 0.25), (1, 0.5), (2, 0.25)]),
    ),
    case({"method": "arithmetic", "weights": [1, -0.5]}, [0, 2], combination([(0, 1), (2, -0.5)])),
    case(
        {"method": "sequential", "alpha": 0.25},
        [0, 1],
        combination([(0, 0.25 * 0.75), (1, 0.25)]),
    ),
    case({"method": "slerp", "alpha": 0.3}, [1], slerp(1, 0.3)),
]
for density in (0.2, 0.5, 1.0):
    for chosen in ([0, 1], [0, 1, 2], [2]):
        cases.append(
            case(
                {"method": "ties", "alpha": 0.25, "lambda": 2, "density": density},
                chosen,
                ties_reference(chosen, density, 0.5),
            )
        )
for density in (0.3, 1.0):
    for by, elect in (("sum", "mass"), ("count", "count")):
        cases.append(
            case(
                {
                    "method": "ties",
                    "alpha": 1,
                    "density": density,
                    "scope": "tensor",
                    "elect": elect,
                    "weights": [1.0, 0.5, 2.0],
                },
                [0, 1, 2],
                ties_per_tensor([0, 1, 2], density, 1.0, [1.0, 0.5, 2.0], by),
            )
        )

print(
    json.dumps(
        {
            "shapes": SHAPES,
            "base": {n: t.flatten().tolist() for n, t in base.items()},
            "tuned": [{n: t.flatten().tolist() for n, t in m.items()} for m in models],
            "cases": cases,
        }
    )
)
