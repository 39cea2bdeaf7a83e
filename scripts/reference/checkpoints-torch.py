"""Writes the tiny PyTorch files under test/fixtures/weights/torch that the archive reader is tested on.

Every layout torch.save has had (ZIP, legacy stream; pickle protocols 2 to 5), every element type, and every kind of
view: shared storages, offsets, transposed, strided and expanded tensors. expected.json holds what each must read as.

Run: python scripts/reference/checkpoints-torch.py   (torch 2.13)
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

out = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "weights" / "torch"
out.mkdir(parents=True, exist_ok=True)

base = torch.arange(24, dtype=torch.float32) / 8 - 1
values = OrderedDict(
    f64=torch.tensor([[1.5, -2.25], [3e300, 1e-300]], dtype=torch.float64),
    f32=base.reshape(2, 3, 4),
    f16=torch.tensor([0.5, -65504.0, 6e-8, float("inf")], dtype=torch.float16),
    bf16=torch.tensor([0.5, -3e38, 1e-38, float("-inf")], dtype=torch.bfloat16),
    i64=torch.tensor([2**62, -1], dtype=torch.int64),
    i32=torch.tensor([[-(2**31)], [7]], dtype=torch.int32),
    i16=torch.tensor([-32768, 7], dtype=torch.int16),
    i8=torch.tensor([-128, 7], dtype=torch.int8),
    u8=torch.tensor([0, 255], dtype=torch.uint8),
    bool=torch.tensor([True, False]),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    shared=base[5:11],
    transposed=base.reshape(2, 3, 4).permute(2, 0, 1),
    strided=base[1::5],
    expanded=base[3:5].reshape(2, 1).expand(2, 3),
    column=base.reshape(4, 6)[:, 2:3],
    parameter=torch.nn.Parameter(base[:2].clone()),
)

names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def plain(tensor):
    flat = tensor.detach().reshape(-1)
    flat = flat.to(torch.float64) if flat.is_floating_point() else flat.to(torch.int64)
    return {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data": [str(x) for x in flat.tolist()]}


torch.save(values, out / "zip.pt")
torch.save(values, out / "legacy.pt", _use_new_zipfile_serialization=False)
for protocol in (3, 4, 5):
    torch.save(values, out / f"zip-protocol-{protocol}.pt", pickle_protocol=protocol)
(out / "expected.json").write_text(json.dumps({name: plain(value) for name, value in values.items()}) + "\n")

# A module's state dict carries _metadata as an attribute, and buffers beside parameters.
module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
torch.manual_seed(0)
for parameter in module.parameters():
    torch.nn.init.normal_(parameter)
torch.save(module.state_dict(), out / "module.bin")

# Plain data of every kind around a tensor.
nested = {
    "text": "grüße\n",
    "bytes": b"\x00\xff",
    "numbers": [0, -1, 255, 65536, -(2**31), 2**40, 2**70, 1.5, float("inf"), True, None],
    "tuple": (1, (2, (3, ()))),
    "set": {7},
    "size": torch.Size([2, 3]),
    "dtype": torch.float16,
    7: "integer key",
    "deep": OrderedDict(tensor=base[:3].clone()),
}
torch.save(nested, out / "nested.pt")
torch.save(nested, out / "nested-legacy.pt", _use_new_zipfile_serialization=False)


# What must be refused: an object of a class of one's own, and a pickle that runs code.
class Runs:
    def __reduce__(self):
        import os

        return (os.system, ("echo this must never be printed",))


torch.save({"weight": base, "trap": Runs()}, out / "code.pt")
torch.save({"weight": base, "trap": Runs()}, out / "code-legacy.pt", _use_new_zipfile_serialization=False)
torch.save(module, out / "whole-module.pt")
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out / "script.pt")
