"""Codes of a HuBERT model's own codebook, by transformers and PyTorch: test/fixtures/reference/codebook.json.

    python scripts/reference/codebook-labels.py > test/fixtures/reference/codebook.json

Weights and audio follow from formulas that test/train/codebook.test.ts repeats. The label of a frame is the entry whose
embedding is nearest, by cosine, to the projected last hidden state of whole audio.
"""
import json
import sys

import numpy as np
import torch
from transformers import HubertConfig, HubertModel

CONFIG = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[8, 16],
    conv_stride=[20, 8], conv_kernel=[40, 16], num_feat_extract_layers=2, num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
)
CLUSTERS, SIZE = 9, 10
model = HubertModel(HubertConfig(**CONFIG, attn_implementation="eager"))


def filled(name, count):
    code = sum(map(ord, name)) % 97
    i = np.arange(count, dtype=np.float64)
    values = 0.3 * np.sin(code + 1.7 * i)
    if "layer_norm" in name and name.endswith("weight"):
        values = 1 + values
    if name.endswith("original0"):
        values = 1.5 + values
    return torch.tensor(values.astype(np.float32))


with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(filled("hubert." + name, p.numel()).reshape(p.shape))
model = model.double().eval()
weight = filled("final_proj.weight", SIZE * 16).double().reshape(SIZE, 16)
embeddings = filled("label_embs_concat", CLUSTERS * SIZE).double().reshape(CLUSTERS, SIZE)

hidden, out = [], []
for count, step in ((5000, 0.37), (3200, 0.11), (9000, 0.83)):
    i = np.arange(count, dtype=np.float64)
    wave = np.sin(step * i) * np.cos(0.0031 * i) + 0.5 * np.sin(1e-4 * step * i * i)
    out.append(dict(samples=count, step=step))
    with torch.no_grad():
        hidden.append(model(torch.tensor(wave.astype(np.float32)).double()[None]).last_hidden_state[0])
# What frames have in common would give all of them one code.
bias = -torch.nn.functional.linear(torch.cat(hidden), weight).mean(0).float()
for states, each in zip(hidden, out):
    projected = torch.nn.functional.linear(states, weight, bias.double())
    cosines = torch.nn.functional.cosine_similarity(projected[:, None], embeddings[None], dim=-1)
    best = cosines.sort(dim=1, descending=True).values
    each.update(labels=cosines.argmax(1).tolist(), margins=[round(float(m), 6) for m in best[:, 0] - best[:, 1]])
    print(np.bincount(each["labels"], minlength=CLUSTERS), min(each["margins"]), file=sys.stderr)
json.dump(dict(config=CONFIG, clusters=CLUSTERS, size=SIZE, bias=bias.tolist(), waves=out), sys.stdout)
