"""Writes test/fixtures/reference/ops.json: float64 values of PyTorch and others that the operations are tested against.

    PYTHON scripts/reference/ops-values.py [OUT.json]

Tensors are {"shape": [...], "data": [...]} in row-major order, 13 significant digits; inputs have 4 decimals and so are
exact as written. Infinite or undefined values are null. What each section holds stands at its function.
"""

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import speechbrain
import torch
import transformers
from speechbrain.nnet.schedulers import NewBobScheduler, NoamScheduler
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "reference" / "ops.json"
rng = np.random.default_rng(20)


def draw(*shape, scale=1.0):
    """Normal values of 4 decimals that want a gradient."""
    return torch.tensor(np.round(scale * rng.standard_normal(shape), 4), dtype=torch.float64, requires_grad=True)


def number(x):
    return float(f"{x:.13g}") if math.isfinite(x) else None


def tensor(t):
    return {"shape": list(t.shape), "data": [number(x) for x in t.detach().flatten().tolist()]}


def tensors(**named):
    return {name: tensor(t) for name, t in named.items()}


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs, retain_graph=True)


# CTC


def ctc_by_paths(probabilities, target, blank):
    """The loss as its definition: the sum over every path of symbols that collapses to the target."""
    total = 0.0
    frames, symbols = probabilities.shape
    for path in itertools.product(range(symbols), repeat=frames):
        if [s for s, _ in itertools.groupby(path) if s != blank] == target:
            total += math.prod(probabilities[t, s].item() for t, s in enumerate(path))
    return -math.log(total) if total else math.inf


def ctc_case(name, logits, frames, targets, blank=0, zero_infinity=False):
    """losses: one an utterance; sum, and mean as PyTorch has it: each loss over max(1, target length), then over the batch.

    gradSum and gradMean are with respect to the logits [batch, frames, symbols]; null where a loss is infinite.
    """
    lengths = [len(t) for t in targets]
    padded = torch.tensor([t + [0 if blank else 1] * (max(1, *lengths) - len(t)) for t in targets])

    def loss(reduction):
        return F.ctc_loss(
            F.log_softmax(logits, -1).transpose(0, 1),
            padded,
            torch.tensor(frames),
            torch.tensor(lengths),
            blank=blank,
            reduction=reduction,
            zero_infinity=zero_infinity,
        )

    losses = loss("none")
    for row, n, target, value in zip(logits.softmax(-1), frames, targets, losses.tolist()):
        if row.shape[1] ** n <= 20_000:
            want = ctc_by_paths(row[:n], target, blank)
            want = 0.0 if zero_infinity and want == math.inf else want
            assert want == value or abs(want - value) < 1e-12 * max(1, want), (name, want, value)
    case = {"name": name, "blank": blank, "zeroInfinity": zero_infinity, "frames": frames, "targets": targets}
    case |= tensors(logits=logits, losses=losses)
    for reduction in ("sum", "mean"):
        value = loss(reduction)
        finite = bool(torch.isfinite(value))
        case[reduction] = number(value.item())
        grad = gradients(value, logits)[0] if finite else None
        case["grad" + reduction.capitalize()] = tensor(grad) if finite else None
    return case


def ctc():
    uniform = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    impossible = draw(4, 4, 5), [4, 4, 2, 4], [[1, 1, 1], [1, 2, 3, 1, 2], [3, 4], [1]]
    return [
        ctc_case("uniform, two symbols", uniform, [4], [[1, 2]]),
        ctc_case("uniform, the same symbol twice", uniform, [4], [[1, 1]]),
        ctc_case("four lengths", draw(4, 11, 6, scale=2), [11, 8, 6, 9], [[1, 2, 3, 4], [5, 1, 5], [2], [4, 3, 2, 1, 5]]),
        ctc_case("repeats", draw(3, 8, 4), [8, 8, 7], [[1, 1], [2, 2, 2], [1, 1, 2, 2]]),
        ctc_case("empty targets", draw(3, 5, 4), [5, 4, 3], [[], [1, 3], []]),
        ctc_case("only empty targets", draw(2, 3, 3), [3, 2], [[], []]),
        ctc_case("one frame", draw(3, 1, 4), [1, 1, 1], [[1], [], [3]]),
        ctc_case("exactly enough frames", draw(2, 5, 4), [5, 3], [[1, 1, 2, 3], [1, 2, 3]]),
        ctc_case("impossible", *impossible),
        ctc_case("impossible, zero infinity", *impossible, zero_infinity=True),
        ctc_case("one frame, two symbols, zero infinity", draw(2, 1, 4), [1, 1], [[1, 2], [2]], zero_infinity=True),
        ctc_case("last symbol is the blank", draw(2, 6, 5), [6, 5], [[0, 0, 3], [2, 1]], blank=4),
        ctc_case("blank in the middle", draw(2, 6, 5), [6, 4], [[1, 3, 1], [4, 0]], blank=2),
        ctc_case("logits of a few hundred", draw(2, 9, 4, scale=100), [9, 7], [[1, 2, 3], [3, 3]]),
        ctc_case("eighty frames", draw(1, 80, 4), [80], [[1, 2, 2, 3, 1, 1, 3, 2, 1, 3, 3]]),
    ]


# Classification, normalisation, activation


def pooled_cross_entropy():
    """logits = mean over each utterance's valid frames of hidden [batch, frames, dim], times weight^T, plus bias."""
    cases = []
    for frames, labels, reduction in [([7, 4, 1], [2, 0, 4], "mean"), ([7, 7, 3], [1, 1, 3], "sum")]:
        hidden, weight, bias = draw(3, 7, 6), draw(5, 6), draw(5)
        valid = (torch.arange(7) < torch.tensor(frames)[:, None]).double()[..., None]
        logits = F.linear((hidden * valid).sum(1) / valid.sum(1), weight, bias)
        loss = F.cross_entropy(logits, torch.tensor(labels), reduction=reduction)
        dhidden, dweight, dbias = gradients(loss, hidden, weight, bias)
        case = {"frames": frames, "labels": labels, "reduction": reduction, "loss": number(loss.item())}
        cases.append(
            case | tensors(hidden=hidden, weight=weight, bias=bias, logits=logits)
            | tensors(dhidden=dhidden, dweight=dweight, dbias=dbias)
        )
    return cases


def norms():
    """layerNorm over the last axis of x [batch, frames, dim]; groupNorm over x [batch, channels, frames]. dy is given."""
    layer, group = [], []
    for eps in (1e-5, 1e-2):
        x, weight, bias, dy = draw(2, 3, 8), draw(8), draw(8), draw(2, 3, 8)
        y = F.layer_norm(x, (8,), weight, bias, eps)
        dx, dweight, dbias = gradients((y * dy).sum(), x, weight, bias)
        values = tensors(x=x, weight=weight, bias=bias, dy=dy, y=y, dx=dx, dweight=dweight, dbias=dbias)
        layer.append({"eps": eps, **values})
    for groups in (6, 3, 1):
        x, weight, bias, dy = draw(2, 6, 7), draw(6), draw(6), draw(2, 6, 7)
        y = F.group_norm(x, groups, weight, bias, 1e-5)
        dx, dweight, dbias = gradients((y * dy).sum(), x, weight, bias)
        values = tensors(x=x, weight=weight, bias=bias, dy=dy, y=y, dx=dx, dweight=dweight, dbias=dbias)
        group.append({"groups": groups, "eps": 1e-5, **values})
    return layer, group


def activations():
    """Values and slopes dy/dx. gelu is the exact one (erf), geluTanh the approximation that `gelu_new` names."""
    x = torch.tensor([-12, -6, -3, -1.5, -0.7, -1e-4, 0, 1e-4, 0.3, 1, 2.5, 5, 12], dtype=torch.float64).requires_grad_()
    cases = []
    for name, f in {"gelu": F.gelu, "geluTanh": lambda v: F.gelu(v, approximate="tanh"), "silu": F.silu}.items():
        y = f(x)
        cases.append({"name": name, **tensors(x=x, y=y, slope=gradients(y.sum(), x)[0])})
    return cases


def lstm_case(name, layers, bidirectional, frames):
    """x [batch, frames, input]; y [batch, frames, directions * hidden], 0 beyond an utterance's frames; h and c are
    [layers * directions, batch, hidden], a layer's forward direction before its backward one, each at the end of its walk.

    Gate order i, f, g, o. The loss behind the gradients is sum(y * dy) + sum(h * dh) + sum(c * dc).
    """
    batch, steps, inputs, hidden = 3, 5, 3, 4
    states = layers * (2 if bidirectional else 1)
    net = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(draw(*p.shape, scale=0.5))
    x, h0, c0 = draw(batch, steps, inputs), draw(states, batch, hidden), draw(states, batch, hidden)
    if frames is None:
        y, (h, c) = net(x, (h0, c0))
    else:
        packed = pack_padded_sequence(x, frames, batch_first=True, enforce_sorted=False)
        packed, (h, c) = net(packed, (h0, c0))
        y, _ = pad_packed_sequence(packed, batch_first=True, total_length=steps)
    dy, dh, dc = draw(*y.shape), draw(*h.shape), draw(*c.shape)
    names = [n for n, _ in net.named_parameters()]
    grads = gradients((y * dy).sum() + (h * dh).sum() + (c * dc).sum(), x, h0, c0, *net.parameters())
    return {
        "name": name,
        "layers": layers,
        "bidirectional": bidirectional,
        "frames": frames,
        "parameters": {n: tensor(p) for n, p in net.named_parameters()},
        **tensors(x=x, h0=h0, c0=c0, y=y, h=h, c=c, dy=dy, dh=dh, dc=dc),
        **tensors(dx=grads[0], dh0=grads[1], dc0=grads[2]),
        "dparameters": {n: tensor(g) for n, g in zip(names, grads[3:])},
    }


def lstm():
    return [
        lstm_case("one direction", 1, False, None),
        lstm_case("two directions, three lengths", 1, True, [3, 5, 1]),
        lstm_case("two layers, two directions, three lengths", 2, True, [5, 2, 4]),
    ]


# Optimisers


def optimisers():
    """Ten steps from `start` along the given `gradients` [step][value]: `after` [step][value].

    The seven values are two parameters, the first three and the last four. Where `late` is a step, the first parameter
    has no gradient before it: it does not move and its moments start there. `lr` may be a list, one a step.
    """
    start = draw(7).detach()
    given = draw(10, 7).detach()
    cases = []

    def case(name, kind, lr=0.05, clip=None, late=0, **options):
        a, b = nn.Parameter(start[:3].clone()), nn.Parameter(start[3:].clone())
        optimiser = kind([a, b], lr=lr[0] if isinstance(lr, list) else lr, **options)
        after, norms = [], []
        for step, g in enumerate(given):
            if isinstance(lr, list):
                optimiser.param_groups[0]["lr"] = lr[step]
            a.grad, b.grad = (g[:3].clone() if step >= late else None), g[3:].clone()
            if clip is not None:
                norms.append(nn.utils.clip_grad_norm_([a, b], clip).item())
            optimiser.step()
            after.append([number(v) for v in torch.cat([a, b]).tolist()])
        stated = {"kind": kind.__name__, "lr": lr, **({"clip": clip, "norms": norms} if clip is not None else {})}
        cases.append({"name": name, **stated, "late": late, "options": options, "after": after})

    adam, adamw, sgd = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD
    case("adam", adam)
    case("adam as fairseq sets it", adam, betas=(0.9, 0.98), eps=1e-6)
    case("adam with L2", adam, weight_decay=0.1)
    case("adam, a parameter that starts late", adam, late=4)
    case("adam, rising and falling rate", adam, lr=[0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.04, 0.02, 0.01, 0.0])
    case("adam, clipped", adam, clip=1.5)
    case("adamw", adamw, betas=(0.9, 0.98), weight_decay=0.1)
    case("adadelta", torch.optim.Adadelta, rho=0.95, eps=1e-8)
    case("adadelta with L2", torch.optim.Adadelta, rho=0.8, eps=1e-6, weight_decay=0.1)
    case("sgd", sgd)
    case("sgd with L2", sgd, weight_decay=0.1)
    case("momentum", sgd, momentum=0.9)
    case("momentum, a parameter that starts late", sgd, momentum=0.9, late=4)
    case("momentum with dampening", sgd, momentum=0.9, dampening=0.5)
    case("nesterov", sgd, momentum=0.9, nesterov=True, weight_decay=0.01)
    case("sgd, clipped", sgd, clip=2.0)
    return {"start": tensor(start), "gradients": [g.tolist() for g in given], "cases": cases}


# Schedules


def tri_stage(u, lr, steps, phases, initial, final):
    """fairseq's: `initial` and `final` are fractions of lr; lr rises linearly, holds, and falls exponentially."""
    warm, hold, fall = (int(steps * p) for p in phases)
    if u < warm:
        return lr * (initial + (1 - initial) * u / warm)
    if u < warm + hold:
        return lr
    return lr * final if u > warm + hold + fall else lr * final ** ((u - warm - hold) / fall)


def warm_hold_decay(u, lr, steps, warm=0.1, hold=0.4):
    """Speech-FT's: a tenth of the steps up from 0, four tenths at lr, the rest down to 0; int() of both parts."""
    w, h = int(warm * steps), int(hold * steps)
    if u < w:
        return lr * u / w
    return lr if u < w + h else lr * max(0.0, (steps - u) / (steps - w - h))


def scheduled(make, lr, steps):
    """The rate that a PyTorch scheduler gives each update: entry u is used by the update after u others."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = make(optimiser), []
    for _ in range(steps + 1):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def schedules():
    """points: [u, rate of the update that follows u others]; noam: [n, rate of update n], n from 1.

    newBob: the metric of each evaluation (lower is better) and the value in force after it.
    """
    cases = []

    def case(name, source, options, rate, steps):
        cases.append({"name": name, "source": source, **options, "points": [[u, number(rate(u))] for u in steps]})

    hf = "transformers"
    linear = transformers.get_linear_schedule_with_warmup
    for warm, total in [(0, 10), (4, 13)]:
        rates = scheduled(lambda o: linear(o, warm, total), 0.3, total + 2)
        case("linear", hf, {"lr": 0.3, "warmup": warm, "steps": total}, rates.__getitem__, range(total + 3))
    rates = scheduled(lambda o: transformers.get_constant_schedule(o), 0.3, 5)
    case("constant", hf, {"lr": 0.3}, rates.__getitem__, range(6))
    rates = scheduled(lambda o: transformers.get_inverse_sqrt_schedule(o, 5), 0.3, 40)
    case("inverseSqrt", hf, {"lr": 0.3, "warmup": 5}, rates.__getitem__, [*range(9), 20, 40])

    o = {"lr": 1e-4, "steps": 50_000}
    points = [0, 1, 2500, 5000, 24_999, 25_000, 37_500, 49_999, 50_000, 50_001]
    case("warmHoldDecay", "formula", o, lambda u: warm_hold_decay(u, **o), points)
    odd = {"lr": 1e-3, "steps": 97}
    case("warmHoldDecay", "formula", odd, lambda u: warm_hold_decay(u, **odd), [0, 8, 9, 10, 46, 47, 48, 72, 96, 97])
    for final in (1e-4, 0.05):
        t = {"lr": 5e-5, "steps": 15_000, "phases": [0.1, 0.4, 0.5], "initial": 0.01, "final": final}
        points = [0, 1, 750, 1499, 1500, 7499, 7500, 7501, 11_250, 14_999, 15_000, 15_001, 20_000]
        case("triStage", "formula", t, lambda u, t=t: tri_stage(u, **t), points)
    odd = {"lr": 1e-3, "steps": 97, "phases": [0.1, 0.4, 0.5], "initial": 0.1, "final": 0.02}
    points = [0, 5, 8, 9, 46, 47, 48, 70, 94, 95, 96, 97]
    case("triStage", "formula", odd, lambda u: tri_stage(u, **odd), points)

    sb = f"speechbrain {speechbrain.__version__}"
    for options in ({"lr": 0.3, "warmup": 5}, {"lr": 2.0, "warmup": 25_000, "dim": 768}):
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=options["lr"])
        noam = NoamScheduler(options["lr"], options["warmup"], options.get("dim"))
        rates = [None] + [noam(optimiser)[1] for _ in range(30_000)]
        case("noam", sb, options, rates.__getitem__, [1, 2, 4, 5, 6, 20, 1000, 24_999, 25_000, 25_001, 30_000])
    metrics = [10, 2, 2.5, 2.4, 2.3999, 2.3, 2.2999, 2.2998, 3, 0, 0, 1, 1.5]
    for factor, threshold, patience in [(0.5, 0.0025, 0), (0.75, 0.0025, 1), (0.8, 0.05, 2)]:
        bob = NewBobScheduler(1.0, factor, threshold, patience)
        options = {"lr": 1.0, "factor": factor, "threshold": threshold, "patience": patience, "metrics": metrics}
        cases.append({"name": "newBob", "source": sb, **options, "values": [number(bob(m)[1]) for m in metrics]})
    return cases


def main():
    torch.manual_seed(1)
    layer, group = norms()
    sections = {
        "madeWith": {
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            "speechbrain": speechbrain.__version__,
        },
        "ctc": ctc(),
        "pooledCrossEntropy": pooled_cross_entropy(),
        "layerNorm": layer,
        "groupNorm": group,
        "activations": activations(),
        "lstm": lstm(),
        "optimisers": optimisers(),
        "schedules": schedules(),
    }
    # One case a line, so that a difference names the case.
    lines = []
    for name, value in sections.items():
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(v, separators=(",", ":"), allow_nan=False) for v in value) + "\n]"
        lines.append(f'"{name}": {text}')
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
