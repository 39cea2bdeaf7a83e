"""Values of PyTorch for the parts of SUPERB's heads that src/nn and src/superb write themselves: bicubic time warp, x-vector layers and their
pooling, additive-margin softmax, permutation-invariant loss, smoothed cross-entropy, the translation transformer (against PyTorch's own layers).
Run: python scripts/reference/superb-values.py (writes test/fixtures/reference/superb.json)."""
import itertools
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
out = {}


def tensor(x):
    return dict(shape=list(x.shape), data=[float(f"{v:.10g}") for v in x.detach().flatten().tolist()])


# Bicubic interpolation along time, edges aligned as in s3prl's TimeWarp.
warps = []
for frames, to in [(9, 5), (5, 9), (6, 7), (4, 4), (12, 3)]:
    x = torch.randn(frames, 3)
    y = F.interpolate(x[None, None], (to, 3), mode="bicubic", align_corners=False)[0, 0]
    warps.append(dict(to=to, x=tensor(x), y=tensor(y)))
out["warp"] = warps

# Time-delay layers and pooling: three layers, two utterances of different lengths.
layers = [(6, 5, 1), (5, 3, 2), (4, 1, 1)]
x = torch.randn(2, 15, 3, requires_grad=True)
counts = [7, 5]
h, params, inner = x.transpose(1, 2), [], 3
for width, context, dilation in layers:
    weight = (0.5 * torch.randn(width, inner, context)).requires_grad_()
    bias = (0.1 * torch.randn(width)).requires_grad_()
    params.append((weight, bias))
    h = F.relu(F.conv1d(h, weight, bias, dilation=dilation))
    inner = width
h = h.transpose(1, 2)
pooled = torch.stack([torch.cat([h[i, :n].mean(0), h[i, :n].std(0)]) for i, n in enumerate(counts)])
factors = torch.randn(pooled.shape)
(pooled * factors).sum().backward()
out["xvector"] = dict(
    layers=layers, counts=counts, x=tensor(x), weights=[tensor(w) for w, _ in params], biases=[tensor(b) for _, b in params],
    pooled=tensor(pooled), factors=tensor(factors), dx=tensor(x.grad), dweight=tensor(params[0][0].grad))

# Additive-margin softmax.
x = torch.randn(4, 5, requires_grad=True)
w = torch.randn(6, 5, requires_grad=True)
labels = torch.tensor([0, 3, 5, 3])
cosine = F.normalize(x, dim=1) @ F.normalize(w, dim=1).T
logits = 30 * (cosine - 0.4 * F.one_hot(labels, 6))
loss = F.cross_entropy(logits, labels, reduction="none")
loss.sum().backward()
out["margin"] = dict(x=tensor(x), w=tensor(w), labels=labels.tolist(), loss=tensor(loss), dx=tensor(x.grad), dw=tensor(w.grad))

# Permutation-invariant loss of two and of three speakers.
cases = []
for speakers in (2, 3):
    x = (3 * torch.randn(3, 6, speakers)).requires_grad_()
    y = (torch.rand(3, 6, speakers) > 0.5).double()
    lengths = [6, 4, 1]
    mask = torch.tensor([[1.0 if t < n else 0.0 for t in range(6)] for n in lengths])[..., None]
    losses = []
    for order in itertools.permutations(range(speakers)):
        each = F.binary_cross_entropy_with_logits(x, y[:, :, list(order)], reduction="none") * mask
        losses.append(each.mean(2).sum(1))
    loss = torch.stack(losses, 1).min(1).values
    loss.sum().backward()
    cases.append(dict(x=tensor(x), y=tensor(y), lengths=lengths, loss=tensor(loss), dx=tensor(x.grad)))
out["permutation"] = cases

# Smoothed cross-entropy as fairseq's label_smoothed_nll_loss.
x = torch.randn(2, 4, 5, requires_grad=True)
labels = torch.randint(0, 5, (2, 4))
lengths = [4, 2]
lprobs = F.log_softmax(x, -1)
nll = -lprobs.gather(2, labels[..., None])[..., 0]
share = 0.1 / (5 - 1)
each = (1 - 0.1 - share) * nll + share * -lprobs.sum(-1)
mask = torch.tensor([[1.0 if t < n else 0.0 for t in range(4)] for n in lengths])
loss = (each * mask).sum(1)
loss.sum().backward()
out["smoothed"] = dict(x=tensor(x), labels=labels.flatten().tolist(), lengths=lengths, loss=tensor(loss), dx=tensor(x.grad))

# The transformer, of PyTorch's layers.
dim, inner, heads, vocabulary, channels, kernel = 8, 12, 2, 7, 10, 5
conv1, conv2 = nn.Conv1d(6, channels, kernel, 2, 2), nn.Conv1d(channels // 2, 2 * dim, kernel, 2, 2)
common = dict(dropout=0.0, activation="relu", batch_first=True, norm_first=True)
encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(dim, heads, inner, **common), 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(dim, heads, inner, **common), 2, norm=nn.LayerNorm(dim))
embed, project = nn.Embedding(vocabulary, dim), nn.Linear(dim, vocabulary, bias=False)
modules = nn.ModuleList([conv1, conv2, encoder, decoder, embed, project])
for p in modules.parameters():
    nn.init.normal_(p, std=0.4)


def sinusoids(count, first=2):
    half = dim // 2
    scale = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angle = (torch.arange(count) + first)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


frames = [17, 10]
x = torch.randn(2, 17, 6)
x[1, 10:] = 0
y = F.glu(conv2(F.glu(conv1(x.transpose(1, 2)), 1)), 1).transpose(1, 2)
states = [((n - 1) // 2 + 1 - 1) // 2 + 1 for n in frames]
hide = torch.tensor([[t >= n for t in range(y.shape[1])] for n in states])
encoded = encoder(y * math.sqrt(dim) + sinusoids(y.shape[1]), src_key_padding_mask=hide)
previous = torch.tensor([[2, 4, 5, 6], [2, 3, 1, 1]])
causal = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
text = embed(previous) * math.sqrt(dim) + sinusoids(4)
logits = project(decoder(text, encoded, tgt_mask=causal, memory_key_padding_mask=hide))
factors = torch.randn(logits.shape)
factors[1, 2:] = 0
(logits * factors).sum().backward()

named = {}


def put(name, value, grad):
    named[name] = dict(value=tensor(value), grad=tensor(grad))


def put_linear(name, module):
    put(f"{name}.weight", module.weight, module.weight.grad)
    if module.bias is not None:
        put(f"{name}.bias", module.bias, module.bias.grad)


def put_attention(name, a):
    for i, part in enumerate(["q_proj", "k_proj", "v_proj"]):
        rows = slice(i * dim, (i + 1) * dim)
        put(f"{name}.{part}.weight", a.in_proj_weight[rows], a.in_proj_weight.grad[rows])
        put(f"{name}.{part}.bias", a.in_proj_bias[rows], a.in_proj_bias.grad[rows])
    put_linear(f"{name}.out_proj", a.out_proj)


for i, conv in enumerate([conv1, conv2]):
    put_linear(f"encoder.subsample.conv_layers.{i}", conv)
for i, layer in enumerate(encoder.layers):
    name = f"encoder.transformer_layers.{i}"
    put_attention(f"{name}.self_attn", layer.self_attn)
    put_linear(f"{name}.self_attn_layer_norm", layer.norm1)
    put_linear(f"{name}.fc1", layer.linear1)
    put_linear(f"{name}.fc2", layer.linear2)
    put_linear(f"{name}.final_layer_norm", layer.norm2)
put_linear("encoder.layer_norm", encoder.norm)
for i, layer in enumerate(decoder.layers):
    name = f"decoder.layers.{i}"
    put_attention(f"{name}.self_attn", layer.self_attn)
    put_attention(f"{name}.encoder_attn", layer.multihead_attn)
    put_linear(f"{name}.self_attn_layer_norm", layer.norm1)
    put_linear(f"{name}.encoder_attn_layer_norm", layer.norm2)
    put_linear(f"{name}.fc1", layer.linear1)
    put_linear(f"{name}.fc2", layer.linear2)
    put_linear(f"{name}.final_layer_norm", layer.norm3)
put_linear("decoder.layer_norm", decoder.norm)
put("decoder.embed_tokens.weight", embed.weight, embed.weight.grad)
put("decoder.output_projection.weight", project.weight, project.weight.grad)
out["transformer"] = dict(
    config=dict(dim=dim, inner=inner, heads=heads, encoderLayers=2, decoderLayers=2, dropout=0, convChannels=channels, convKernel=kernel,
                symbols=vocabulary),
    frames=frames, states=states, x=tensor(x), previous=previous.flatten().tolist(), encoded=tensor(encoded), logits=tensor(logits), factors=tensor(factors),
    parameters=named)

path = pathlib.Path(__file__).resolve().parents[2] / "test/fixtures/reference/superb.json"
path.write_text(json.dumps(out) + "\n")
