"""Values for S3-Router's mask learning as PyTorch computes it: test/fixtures/methods/router-masks.json.

    PYTHON scripts/reference/router-masks.py > test/fixtures/methods/router-masks.json

A two-layer perceptron over fixed inputs. Its weights are frozen; the scores of both matrices, and the last layer's bias, train.
Forward: W * top-k(|s|), where the floor((1 - keep) n) smallest |s| are dropped; backward: the gradient of the mask is given to |s|
unchanged (straight through), so that torch's own rule for abs brings sign(s). Adam as in the paper.
Starts: rank-ordered random scores, the weights over a scale, and a 0/1 magnitude mask. kthvalue gives the threshold apart from sort.
"""

import json
import math

import torch

torch.manual_seed(5)


class Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, magnitudes, keep):
        flat = magnitudes.flatten()
        order = flat.sort(stable=True).indices
        mask = torch.ones_like(flat)
        mask[order[: int((1 - keep) * flat.numel())]] = 0
        return mask.view_as(magnitudes)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def ranked(weight, drawn):
    scores = torch.empty_like(weight).flatten()
    scores[weight.flatten().abs().argsort(stable=True)] = drawn.flatten()[drawn.flatten().abs().argsort(stable=True)]
    return scores.view_as(weight)


def run(init, keep, steps=10, lr=0.02):
    generator = torch.Generator().manual_seed(7)
    sizes = [(12, 8), (5, 12)]
    weights = [torch.randn(shape, generator=generator) * 0.4 for shape in sizes]
    biases = [torch.randn(shape[0], generator=generator) * 0.1 for shape in sizes]
    x = torch.randn(6, 8, generator=generator)
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    scores = []
    for weight in weights:
        bound = 1 / math.sqrt(weight.shape[1])
        drawn = (torch.rand(weight.shape, generator=generator) * 2 - 1) * bound
        if init == "order-preserving":
            start = ranked(weight, drawn)
        elif init == "magnitude":
            start = weight / 0.5
        else:
            start = Mask.apply(weight.abs(), keep)
        scores.append(start.clone().requires_grad_())
    biases[1].requires_grad_()
    first = [s.detach().clone() for s in scores]
    adam = torch.optim.Adam([*scores, biases[1]], lr=lr, betas=(0.9, 0.98), eps=1e-8)
    losses, gradients, zeros = [], None, []
    for _ in range(steps):
        adam.zero_grad()
        masked = [w * Mask.apply(s.abs(), keep) for w, s in zip(weights, scores)]
        zeros.append([int((m == 0).sum()) for m in masked])
        hidden = torch.tanh(x @ masked[0].T + biases[0])
        loss = torch.nn.functional.cross_entropy(hidden @ masked[1].T + biases[1], y)
        loss.backward()
        if gradients is None:
            gradients = [s.grad.clone() for s in scores]
        losses.append(loss.item())
        adam.step()
    rank = int((1 - keep) * scores[0].numel())
    return {
        "init": init,
        "keep": keep,
        "lr": lr,
        "x": x.tolist(),
        "y": y.tolist(),
        "weights": [w.tolist() for w in weights],
        "biases": [b.detach().tolist() for b in biases],
        "scores": [s.tolist() for s in first],
        "losses": losses,
        "gradients": [g.tolist() for g in gradients],
        "zeros": zeros,
        "ended": [s.tolist() for s in scores],
        "endedBias": biases[1].tolist(),
        "threshold": scores[0].detach().abs().flatten().kthvalue(rank).values.item(),
    }


# The bias is updated in place: its start has to be kept before training.
def with_start(**options):
    result = run(**options)
    generator = torch.Generator().manual_seed(7)
    sizes = [(12, 8), (5, 12)]
    for shape in sizes:
        torch.randn(shape, generator=generator)
    result["biases"] = [(torch.randn(shape[0], generator=generator) * 0.1).tolist() for shape in sizes]
    return result


print(
    json.dumps(
        {
            "torch": torch.__version__,
            "runs": [
                with_start(init="order-preserving", keep=0.9),
                with_start(init="order-preserving", keep=0.4),
                with_start(init="magnitude", keep=0.8),
                with_start(init="magnitude-mask", keep=0.7),
            ],
        }
    )
)
