"""One CTC fine-tuning step of wav2vec2-base as PyTorch and transformers take it on the CPU, timed from outside.

    PYTHON bench/peer/train_step.py          then one JSON object a line:
    {"cmd": "setup", "mode": "f32"|"bf16", "dropout": "zero"|"default", "train": "frozen-extractor"|"all",
     "batch": 4, "seconds": 5, "threads": 2, "reduction": "sum"|"mean", "checkpointing": false, "fused": true}
    {"cmd": "step"}   -> {"ms": ..., "loss": ...}: clear gradients, forward, CTC, backward, clip to norm 1, Adam
    {"cmd": "peak"}   -> {"peakMB": ..., "nowMB": ...}: since the last set-up
    {"cmd": "exit"}

The fastest that plain PyTorch offers without a C++ compiler: scaled dot product attention (transformers' own choice),
Adam in its fused form, gradients set to None. The first one or two steps are slower; leave them out.
"""

import gc
import time

import torch
from protocol import autocast, build, describe, make_audio, reset_peak, serve

CHARACTERS_PER_SECOND = 12
state = {}


def setup(
    mode="f32",
    dropout="zero",
    train="frozen-extractor",
    batch=4,
    seconds=5,
    threads=2,
    reduction="sum",
    checkpointing=False,
    fused=True,
):
    if train not in ("frozen-extractor", "all"):
        raise ValueError(f'train is {train!r}; it can be "frozen-extractor" or "all"')
    state.clear()
    gc.collect()
    reset_peak()
    torch.set_num_threads(threads)
    model = build(dropout, reduction).train()
    if train == "frozen-extractor":
        model.freeze_feature_encoder()
    if checkpointing:
        model.gradient_checkpointing_enable()
    audio = make_audio(batch, seconds)
    labels = torch.randint(1, 32, (batch, round(seconds * CHARACTERS_PER_SECOND)))
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=1e-5, fused=fused)
    state.update(model=model, audio=audio, labels=labels, trained=trained, adam=adam, autocast=autocast(mode))
    return {"setup": True, "audio": list(audio.shape), "labels": list(labels.shape), **describe(model)}


def step():
    if not state:
        raise ValueError("no set-up yet")
    model, adam = state["model"], state["adam"]
    start = time.perf_counter()
    adam.zero_grad()
    with state["autocast"]:
        loss = model(state["audio"], labels=state["labels"]).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state["trained"], 1.0)
    adam.step()
    value = loss.item()
    return {"ms": 1000 * (time.perf_counter() - start), "loss": value}


if __name__ == "__main__":
    serve({"setup": setup, "step": step})
