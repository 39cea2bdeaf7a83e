"""LSTMs that start from zero states, in float64: outputs and gradients for test/fixtures/reference/lstm.json."""

import json
import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def case(name, hidden, inner, bidirectional, lengths, frames, seed):
    torch.manual_seed(seed)
    lstm = torch.nn.LSTM(inner, hidden, bidirectional=bidirectional, batch_first=True).double()
    with torch.no_grad():
        for p in lstm.parameters():
            p.copy_((torch.randn_like(p) * 0.5).round(decimals=3))
    x = torch.randn(len(lengths), frames, inner, dtype=torch.float64).round(decimals=3).requires_grad_()
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=frames)
    dy = torch.randn_like(y).round(decimals=3)
    (y * dy).sum().backward()
    array = lambda t: {"shape": list(t.shape), "data": [float(f"{v:.12g}") for v in t.detach().flatten().tolist()]}
    return {
        "name": name,
        "lengths": lengths,
        "x": array(x),
        "y": array(y),
        "dy": array(dy),
        "dx": array(x.grad),
        "parameters": {k: array(p) for k, p in lstm.named_parameters()},
        "dparameters": {k: array(p.grad) for k, p in lstm.named_parameters()},
    }


cases = [
    case("one direction, full lengths", 4, 3, False, [6, 6], 6, 1),
    case("one direction, three lengths", 3, 2, False, [5, 2, 4], 5, 2),
    case("two directions, three lengths", 3, 4, True, [3, 6, 1], 6, 3),
]
json.dump({"madeWith": {"torch": torch.__version__}, "cases": cases}, open(sys.argv[1], "w"))
