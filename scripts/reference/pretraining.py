"""Losses and gradients of pre-training, from transformers and PyTorch: test/fixtures/reference/pretraining.json.

    /path/to/venv/bin/python scripts/reference/pretraining.py > test/fixtures/reference/pretraining.json

Weights, audio and labels follow from formulas that test/trajectories/pretraining.test.ts repeats, so that the file holds
results only. Gumbel noise is that of our `uniform` operation, computed here a second time.
"""
import json
import sys

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2ForPreTraining

SHARED = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[8, 16],
    conv_stride=[20, 8], conv_kernel=[40, 16], num_feat_extract_layers=2, num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
    final_dropout=0.0, feat_quantizer_dropout=0.0, mask_time_prob=0.65, mask_feature_prob=0.0,
)
CODES = dict(num_codevector_groups=2, num_codevectors_per_group=5, codevector_dim=8, proj_codevector_dim=12,
             num_negatives=7, contrastive_logits_temperature=0.1)
BATCH, SAMPLES, SEED, TEMPERATURE, CLUSTERS = 2, 2600, 12345, 1.3, 6
# hash32("head", "contrastive", 0) | 0: where the objective's first random place lies.
SITE = int(sys.argv[1]) if len(sys.argv) > 1 else 635569788


def wave(count, phase):
    i = np.arange(count, dtype=np.float64)
    return np.sin(phase + 0.37 * i) * np.cos(0.0131 * i * (1 + phase))


def fill(module):
    """w[i] = size * sin(code + 1.7 i): code sums the name's characters, size is what its kind needs."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            code = sum(map(ord, name)) % 97
            i = np.arange(p.numel(), dtype=np.float64)
            values = 0.3 * np.sin(code + 1.7 * i)
            if "layer_norm" in name and name.endswith("weight"):
                values = 1 + values
            if name.endswith("original0"):
                values = 1.5 + values
            p.copy_(torch.tensor(values.astype(np.float32)).reshape(p.shape))


def int32(x):
    return ((x + 2**31) % 2**32) - 2**31


def uniform(count, seed, site):
    factors = (-0x7A143589, -0x3D4D51CB, -0x61C88647)
    base = int32(int32(seed * factors[0]) + int32((site + 1) * 0x2C1B3C6D))
    out = []
    for i in range(count):
        h = int32(i * factors[2] + base)
        for shift, factor in ((65536, factors[0]), (8192, factors[1])):
            h = int32((h ^ int(np.trunc(h / shift))) * factor)
        h = h ^ int(np.trunc(h / 65536))
        out.append((int(np.trunc(h / 1024)) + 2**21 + 0.5) * 2.0**-22)
    return np.array(out)


def summary(module):
    """Norm and first elements of each gradient."""
    out = {}
    for name, p in module.named_parameters():
        if p.grad is not None:
            g = p.grad.double().flatten()
            out[name] = [float(g.norm()), *map(float, g[:3])]
    return out


audio = torch.tensor(np.stack([wave(SAMPLES, b + 1) for b in range(BATCH)]).astype(np.float32))


def masks(frames):
    """Spans of 3 frames from every sixth on, shifted by the row."""
    t = np.arange(frames)
    return np.stack([((t + 2 * b) % 6) < 3 for b in range(BATCH)])


def negative_indices(mask, count):
    """The k-th hidden frame i has the hidden frames (k + 1 + (7 n + k) % (hidden - 1)) % hidden as negatives."""
    out = np.zeros((*mask.shape, count), dtype=np.int64)
    for b, row in enumerate(mask):
        places = np.flatnonzero(row)
        for k, t in enumerate(places):
            out[b, t] = [places[(k + 1 + (7 * n + k) % (len(places) - 1)) % len(places)] for n in range(count)]
    return out


result = {"constants": dict(batch=BATCH, samples=SAMPLES, seed=SEED, temperature=TEMPERATURE, clusters=CLUSTERS),
          "config": SHARED, "codes": CODES}

# wav2vec 2.0
model = Wav2Vec2ForPreTraining(Wav2Vec2Config(**SHARED, **CODES, attn_implementation="eager"))
fill(model)
model.train()
model.set_gumbel_temperature(TEMPERATURE)


def gumbel_softmax(logits, tau=1, hard=False, dim=-1, **_):
    noise = -np.log(-np.log(uniform(logits.numel(), SEED, SITE)))
    soft = ((logits + torch.tensor(noise.astype(np.float32)).reshape(logits.shape)) / tau).softmax(dim)
    index = soft.max(dim, keepdim=True)[1]
    return torch.zeros_like(soft).scatter_(dim, index, 1.0) - soft.detach() + soft


torch.nn.functional.gumbel_softmax = gumbel_softmax
frames = int(model._get_feat_extract_output_lengths(torch.tensor(SAMPLES)))
mask = masks(frames)
negatives = negative_indices(mask, CODES["num_negatives"])
# transformers indexes negatives in the flattened batch.
flat = negatives + (np.arange(BATCH) * frames)[:, None, None]
out = model(audio, mask_time_indices=torch.tensor(mask), sampled_negative_indices=torch.tensor(flat))
features = model.wav2vec2.feature_extractor(audio)
penalty = features.pow(2).mean()
hidden = int(mask.sum())
(out.loss / hidden + 10 * penalty).backward()
result["wav2vec2"] = dict(
    frames=frames, contrastive=float(out.contrastive_loss) / hidden, diversity=float(out.diversity_loss) / hidden,
    penalty=float(penalty), perplexity=float(out.codevector_perplexity), gradients=summary(model),
)

# HuBERT with two workers
hubert = HubertModel(HubertConfig(**SHARED, attn_implementation="eager"))
heads = torch.nn.ModuleDict(dict(
    final_proj=torch.nn.Linear(16, 10), book=torch.nn.Embedding(CLUSTERS, 10),
    mel=torch.nn.Linear(16, 4), pitch=torch.nn.Linear(16, 1)))
whole = torch.nn.ModuleDict(dict(hubert=hubert, heads=heads))
names = {"heads.book.weight": "label_embs_concat", "heads.final_proj.": "final_proj."}


def ours(name):
    for a, b in names.items():
        name = name.replace(a, b)
    return name


class Named(torch.nn.Module):
    def named_parameters(self, *a, **k):
        return [(ours(n), p) for n, p in whole.named_parameters()]


fill(Named())
hubert.train()
states = hubert(audio, mask_time_indices=torch.tensor(mask), output_hidden_states=True)
labels = torch.tensor((np.arange(frames)[None] * 3 + np.arange(BATCH)[:, None]) % CLUSTERS)
projected = heads["final_proj"](states.last_hidden_state)
logits = torch.cosine_similarity(projected[:, :, None], heads["book"].weight[None, None], dim=-1) / 0.1
losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
where = torch.tensor(mask)
units = losses[where].sum() / where.sum()
features = hubert.feature_extractor(audio)
penalty = features.pow(2).mean()
target = torch.tensor(wave(BATCH * frames * 4, 0.5).astype(np.float32)).reshape(BATCH, frames, 4)
mel = (heads["mel"](states.hidden_states[1]) - target).pow(2).mean()
pitch = (heads["pitch"](states.last_hidden_state) - target[:, :, :1]).abs().mean()
(units + 0.3 * mel + 0.2 * pitch + 10 * penalty).backward()
result["hubert"] = dict(
    units=float(units), mel=float(mel), pitch=float(pitch), penalty=float(penalty),
    accuracy=float((logits.argmax(-1) == labels)[where].float().mean()), gradients=summary(Named()))

# Mini-batch k-means: four thousand points around twelve centres.
i = np.arange(4000 * 5, dtype=np.float64).reshape(4000, 5)
points = (np.sin(12.9898 * i) * 43758.5453 % 1) + 2 * np.stack([np.sin(2.3 * (np.arange(4000) % 12) * (d + 1)) for d in range(5)], 1)
inertias = [float(MiniBatchKMeans(12, batch_size=500, n_init=5, max_iter=30, random_state=s).fit(points).inertia_) for s in range(8)]
result["kmeans"] = dict(inertias=inertias)
json.dump(result, sys.stdout, indent=1)
