"""A CRDNN, a location-aware attention decoder and a recurrent language model, written plainly in PyTorch and heard one
utterance at a time, in float64: outputs and gradients for test/fixtures/reference/crdnn.json."""

import json
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)


def array(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.10g}") for v in t.detach().flatten().tolist()]}


def randomised(module, seed):
    """Round values of a good size for every parameter."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((torch.randn_like(p) * 0.4).round(decimals=3))
    return module


def parameters(module, rename=lambda name: name):
    return {
        "parameters": {rename(k): array(p) for k, p in module.named_parameters()},
        "gradients": {rename(k): array(p.grad) for k, p in module.named_parameters()},
    }


class Dense(nn.Module):
    def __init__(self, inner, width):
        super().__init__()
        self.linear = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.linear(x)))


class Block(nn.Module):
    def __init__(self, inner, channels, bands):
        super().__init__()
        self.conv_1 = nn.Conv2d(inner, channels, 3, padding=1)
        self.norm_1 = nn.LayerNorm([channels * bands])
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = nn.LayerNorm([channels * bands])

    def forward(self, h):
        # [1, channels, frames, bands]
        for conv, norm in [(self.conv_1, self.norm_1), (self.conv_2, self.norm_2)]:
            y = conv(h).transpose(1, 2)
            h = F.leaky_relu(norm(y.flatten(2)).view_as(y)).transpose(1, 2)
        return F.max_pool2d(h, (1, 2))


class Crdnn(nn.Module):
    def __init__(self, bands, channels, time_pooling, layers, neurons, widths):
        super().__init__()
        self.cnn = nn.ModuleList()
        inner = 1
        for width in channels:
            self.cnn.append(Block(inner, width, bands))
            inner, bands = width, bands // 2
        self.time_pooling = time_pooling
        self.rnn = nn.LSTM(inner * bands, neurons, layers, bidirectional=True, batch_first=True)
        sizes = [2 * neurons, *widths]
        self.dnn = nn.ModuleList(Dense(a, b) for a, b in zip(sizes, widths))

    def forward(self, x):
        h = F.layer_norm(x, x.shape)[None, None]
        for block in self.cnn:
            h = block(h)
        h = F.max_pool2d(h, (self.time_pooling, 1)).transpose(1, 2).flatten(2)
        h = self.rnn(h)[0]
        for layer in self.dnn:
            h = layer(h)
        return h[0]


def crdnn_case():
    config = {"channels": [2, 3], "kernel": 3, "frequencyPooling": 2, "dropout": 0, "timePooling": 2, "rnnLayers": 2}
    config |= {"rnnNeurons": 3, "dnnNeurons": [4, 5]}
    model = randomised(Crdnn(9, [2, 3], 2, 2, 3, [4, 5]), 1)
    lengths = [9, 6, 7]
    x = torch.randn(3, 9, 9).round(decimals=3).requires_grad_()
    heard = [model(row[:n]) for row, n in zip(x, lengths)]
    y = torch.stack([F.pad(h, (0, 0, 0, 4 - len(h))) for h in heard])
    dy = torch.randn_like(y).round(decimals=3)
    for row, n in zip(dy, lengths):
        row[n // 2 :] = 0
    (y * dy).sum().backward()
    case = {"config": config, "lengths": lengths, "x": array(x), "y": array(y), "dy": array(dy), "dx": array(x.grad)}
    return case | parameters(model)


class Attention(nn.Module):
    """Chorowski et al. 2015, eq. 8; the attention before is held fixed, as in SpeechBrain."""

    def __init__(self, encoder, hidden, width, channels, reach):
        super().__init__()
        self.mlp_enc = nn.Linear(encoder, width)
        self.mlp_dec = nn.Linear(hidden, width)
        self.mlp_attn = nn.Linear(width, 1, bias=False)
        self.conv_loc = nn.Conv1d(1, channels, 2 * reach + 1, padding=reach, bias=False)
        self.mlp_loc = nn.Linear(channels, width)
        self.mlp_out = nn.Linear(encoder, width)

    def forward(self, encoded, state, before):
        place = self.mlp_loc(self.conv_loc(before.detach()[None, None])[0].T)
        energy = self.mlp_attn(torch.tanh(self.mlp_enc(encoded) + self.mlp_dec(state) + place))
        attention = energy[:, 0].softmax(0)
        return self.mlp_out(attention @ encoded), attention


class Decoder(nn.Module):
    def __init__(self, symbols, embedding, hidden, width, channels, reach, encoder):
        super().__init__()
        self.width = width
        self.emb = nn.Embedding(symbols, embedding)
        self.dec = nn.Module()
        self.dec.attn = Attention(encoder, hidden, width, channels, reach)
        self.dec.rnn = nn.GRUCell(embedding + width, hidden)
        self.dec.proj = nn.Linear(hidden + width, hidden)
        self.seq_lin = nn.Linear(hidden, symbols)

    def forward(self, previous, encoded):
        h = torch.zeros(1, self.dec.rnn.hidden_size)
        context = torch.zeros(self.width)
        attention = torch.full((len(encoded),), 1 / len(encoded))
        logits, attentions = [], []
        for symbol in previous:
            h = self.dec.rnn(torch.cat([self.emb(symbol), context])[None], h)
            context, attention = self.dec.attn(encoded, h[0], attention)
            logits.append(self.seq_lin(self.dec.proj(torch.cat([context, h[0]]))))
            attentions.append(attention)
        return torch.stack(logits), torch.stack(attentions)


def decoder_case():
    config = {"symbols": 5, "embedding": 2, "hidden": 3, "attention": 4, "channels": 2, "reach": 2, "dropout": 0}
    model = randomised(Decoder(5, 2, 3, 4, 2, 2, 3), 2)
    frames, counts = [6, 4], [4, 3]
    previous = torch.tensor([[0, 2, 4, 1], [0, 3, 3, 0]])
    labels = torch.tensor([[2, 4, 1, 0], [3, 3, 0, 0]])
    encoded = torch.randn(2, 6, 3).round(decimals=3).requires_grad_()
    logits, attentions, losses = torch.zeros(2, 4, 5), torch.zeros(2, 4, 6), []
    for b in range(2):
        y, a = model(previous[b, : counts[b]], encoded[b, : frames[b]])
        logits[b, : counts[b]] = y.detach()
        attentions[b, : counts[b], : frames[b]] = a.detach()
        losses.append(F.cross_entropy(y, labels[b, : counts[b]], label_smoothing=0.1))
    torch.stack(losses).mean().backward()
    case = {"config": config, "frames": frames, "counts": counts, "previous": array(previous), "labels": array(labels)}
    case |= {"encoded": array(encoded), "dencoded": array(encoded.grad), "logits": array(logits)}
    case |= {"attentions": array(attentions), "losses": array(torch.stack(losses))}
    return case | parameters(model)


class LanguageModel(nn.Module):
    def __init__(self, symbols, embedding, hidden, layers, widths):
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding)
        self.rnn = nn.LSTM(embedding, hidden, layers, batch_first=True)
        sizes = [hidden, *widths]
        self.dnn = nn.ModuleList(Dense(a, b) for a, b in zip(sizes, widths))
        self.output = nn.Linear(sizes[-1], symbols)

    def forward(self, previous):
        h = self.rnn(self.embedding(previous)[None])[0]
        for layer in self.dnn:
            h = layer(h)
        return self.output(h)[0]


def language_model_case():
    config = {"symbols": 5, "embedding": 3, "rnnLayers": 2, "rnnNeurons": 4, "dnnNeurons": [3], "dropout": 0}
    model = randomised(LanguageModel(5, 3, 4, 2, [3]), 3)
    counts = [4, 2]
    previous = torch.tensor([[0, 2, 4, 1], [0, 3, 0, 0]])
    labels = torch.tensor([[2, 4, 1, 0], [3, 0, 0, 0]])
    logits, losses = torch.zeros(2, 4, 5), []
    for b in range(2):
        y = model(previous[b, : counts[b]])
        logits[b, : counts[b]] = y.detach()
        losses.append(F.cross_entropy(y, labels[b, : counts[b]], reduction="sum"))
    (torch.stack(losses).sum() / sum(counts)).backward()
    case = {"config": config, "counts": counts, "previous": array(previous), "labels": array(labels)}
    return case | {"logits": array(logits), "losses": array(torch.stack(losses))} | parameters(model)


cases = {"crdnn": crdnn_case(), "decoder": decoder_case(), "languageModel": language_model_case()}
json.dump({"madeWith": {"torch": torch.__version__}, **cases}, open(sys.argv[1], "w"))
