"""The forward pass of wav2vec2-base (audio to logits) as PyTorch and transformers take it on the CPU, timed from outside.

    PYTHON bench/peer/infer.py               then one JSON object a line:
    {"cmd": "setup", "mode": "f32"|"bf16", "batch": 1, "seconds": 10, "threads": 2}
    {"cmd": "step"}   -> {"ms": ...}
    {"cmd": "peak"}   -> {"peakMB": ..., "nowMB": ...}: since the last set-up
    {"cmd": "exit"}

Evaluation mode, torch.inference_mode, scaled dot product attention. The first one or two steps are slower.
"""

import gc
import time

import torch
from protocol import autocast, build, describe, make_audio, reset_peak, serve

state = {}


def setup(mode="f32", batch=1, seconds=10, threads=2):
    state.clear()
    gc.collect()
    reset_peak()
    torch.set_num_threads(threads)
    model = build().eval()
    audio = make_audio(batch, seconds)
    state.update(model=model, audio=audio, autocast=autocast(mode))
    return {"setup": True, "audio": list(audio.shape), **describe(model)}


def step():
    if not state:
        raise ValueError("no set-up yet")
    start = time.perf_counter()
    with torch.inference_mode(), state["autocast"]:
        state["model"](state["audio"])
    return {"ms": 1000 * (time.perf_counter() - start)}


if __name__ == "__main__":
    serve({"setup": setup, "step": step})
