"""Writes a reference folder of a small random upstream that transformers does not have, as PyTorch computes it.

    upstream-own.py OUT_DIR --model pase --seed 2 --config rnn_layers=2 dnn_neurons=[20,16] ...

The folder has the form of upstream-parity.py's, and `voxsmith parity DIR` reads it. The models are written here from their
papers, plainly: each utterance runs alone, without padding, so that the batch of the other side is held against single runs.
"""

import argparse
import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import ctc_loss, leaky_relu, log_softmax, max_pool2d, pad

_spec = importlib.util.spec_from_file_location("parity", Path(__file__).with_name("upstream-parity.py"))
parity = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parity)


def fbank(audio, bands, window):
    """Kaldi's log mel energies of [samples] at 16 kHz: frames of 400 every 160, without dither."""
    x = audio.double()
    frames = x.unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    n = torch.arange(400, dtype=torch.float64)
    shape = {
        "povey": (0.5 - 0.5 * torch.cos(2 * torch.pi * n / 399)) ** 0.85,
        "hamming": 0.54 - 0.46 * torch.cos(2 * torch.pi * n / 399),
    }[window]
    power = torch.fft.rfft((frames - 0.97 * before) * shape, 512).abs() ** 2
    mel = lambda hz: 1127.0 * np.log(1 + hz / 700.0)
    edges = np.linspace(mel(20.0), mel(8000.0), bands + 2)
    centre = mel(np.arange(257) * 16000 / 512)
    up = (centre - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - centre) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.from_numpy(np.maximum(0, np.minimum(up, down)))
    bank[:, 256] = 0
    return (power @ bank.T).clamp(min=2.0**-23).log()


def normalised(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-10)


class Pase(nn.Module):
    """The PASE-like encoder of Zaiem et al. 2022, appendix A: convolutions over a spectrogram, LSTMs, a perceptron."""

    prefix = "pase"
    defaults = {
        "num_mel_bins": 20,
        "cnn_channels": [6, 8],
        "cnn_kernel_size": 3,
        "frequency_pooling": 2,
        "rnn_layers": 2,
        "rnn_neurons": 10,
        "dnn_neurons": [20, 16],
        "normalize": "utterance",
    }

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.cnn, self.dnn = nn.ModuleList(), nn.ModuleList()
        inside, bands, k = 1, c["num_mel_bins"], c["cnn_kernel_size"]
        for channels in c["cnn_channels"]:
            block = nn.ModuleDict()
            for half in "12":
                block["conv_" + half] = nn.Conv2d(inside, channels, k, padding=k // 2)
                block["norm_" + half] = nn.LayerNorm(channels * bands)
                inside = channels
            self.cnn.append(block)
            bands //= c["frequency_pooling"]
        self.rnn = nn.LSTM(inside * bands, c["rnn_neurons"], c["rnn_layers"], batch_first=True, bidirectional=True)
        inside = 2 * c["rnn_neurons"]
        for neurons in c["dnn_neurons"]:
            self.dnn.append(nn.ModuleDict({"linear": nn.Linear(inside, neurons), "norm": nn.LayerNorm(neurons)}))
            inside = neurons
        self.size = inside

    def forward(self, audio):
        c = self.c
        bands = fbank(audio, c["num_mel_bins"], "povey")
        if c["normalize"] == "utterance":
            bands = normalised(bands)
        elif c["normalize"] == "global":
            bands = (bands - torch.tensor(c["feature_mean"])) / torch.tensor(c["feature_std"])
        h = bands.to(self.cnn[0]["conv_1"].weight.dtype)[None, None]  # [1, channels, frames, bands]
        for block in self.cnn:
            for half in "12":
                h = block["conv_" + half](h).transpose(1, 2)
                shape = h.shape
                h = leaky_relu(block["norm_" + half](h.flatten(2)).reshape(shape), 0.01).transpose(1, 2)
            h = max_pool2d(h, (1, c["frequency_pooling"]))
        h = h.transpose(1, 2).flatten(2)
        hidden = [layer[0] for layer in self.layers(h)]
        h = hidden[-1]
        for layer in self.dnn:
            h = leaky_relu(layer["norm"](layer["linear"](h)), 0.01)
        return h, hidden

    def layers(self, h):
        """Each layer of the LSTM by itself, so that its states can be had."""
        for i in range(self.c["rnn_layers"]):
            one = nn.LSTM(h.shape[2], self.c["rnn_neurons"], batch_first=True, bidirectional=True).to(h)
            own = {}
            for way in ("", "_reverse"):
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    own[f"{kind}_l0{way}"] = getattr(self.rnn, f"{kind}_l{i}{way}")
            out = torch.func.functional_call(one, own, (h,))
            h = out[0]
            yield out


class VqWav2Vec(nn.Module):
    """vq-wav2vec (Baevski et al. 2020) with a Gumbel quantiser, as fairseq evaluates it: the most probable codes."""

    prefix = "vq_wav2vec"
    pad_sensitive = True
    defaults = {
        "conv_dim": [12, 12, 12],
        "conv_kernel": [10, 8, 1],
        "conv_stride": [8, 10, 1],
        "log_compression": True,
        "skip_connections_feat": False,
        "aggregator_dim": [12, 12],
        "aggregator_kernel": [2, 3],
        "aggregator_bias": True,
        "aggregator_zero_pad": False,
        "skip_connections_agg": True,
        "residual_scale": 0.5,
        "activation": "relu",
        "vq_type": "gumbel",
        "vq_vars": 5,
        "vq_groups": 2,
        "vq_depth": 1,
        "combine_groups": False,
    }

    def __init__(self, c):
        super().__init__()
        self.c = c
        act = {"relu": nn.ReLU(), "gelu": nn.GELU()}[c["activation"]]
        extractor, aggregator, inside = nn.Module(), nn.Module(), 1
        extractor.conv_layers = nn.ModuleList()
        for dim, k, stride in zip(c["conv_dim"], c["conv_kernel"], c["conv_stride"]):
            conv = nn.Conv1d(inside, dim, k, stride, bias=False)
            extractor.conv_layers.append(nn.Sequential(conv, nn.Identity(), nn.GroupNorm(1, dim), act))
            inside = dim
        self.feature_extractor = extractor
        if c["vq_type"] == "gumbel":
            quantizer, groups = nn.Module(), c["vq_groups"]
            codes = (1 if c["combine_groups"] else groups) * c["vq_vars"]
            quantizer.vars = nn.Parameter(torch.rand(1, codes, inside // groups))
            out = groups * c["vq_vars"]
            if c["vq_depth"] == 1:
                quantizer.weight_proj = nn.Linear(inside, out)
            else:
                steps = [nn.Sequential(nn.Linear(inside if i == 0 else 2 * inside, 2 * inside), act) for i in range(c["vq_depth"] - 1)]
                quantizer.weight_proj = nn.Sequential(*steps, nn.Linear(2 * inside, out))
            self.vector_quantizer = quantizer
        aggregator.conv_layers, aggregator.residual_proj = nn.ModuleList(), nn.ModuleList()
        for dim, k in zip(c["aggregator_dim"], c["aggregator_kernel"]):
            padding = nn.ConstantPad1d((k - 1, 0), 0.0) if c["aggregator_zero_pad"] else nn.ReplicationPad1d((k - 1, 0))
            conv = nn.Conv1d(inside, dim, k, bias=c["aggregator_bias"])
            aggregator.conv_layers.append(nn.Sequential(padding, conv, nn.Identity(), nn.GroupNorm(1, dim), act))
            fits = inside == dim or not c["skip_connections_agg"]
            aggregator.residual_proj.append(nn.Identity() if fits else nn.Conv1d(inside, dim, 1, bias=False))
            inside = dim
        self.feature_aggregator = aggregator
        self.size = inside

    def forward(self, audio):
        c = self.c
        h = audio[None, None]
        for layer in self.feature_extractor.conv_layers:
            before, h = h, layer(h)
            if c["skip_connections_feat"] and before.shape[1] == h.shape[1]:
                step = before.shape[2] // h.shape[2]
                h = (h + before[..., ::step][..., : h.shape[2]]) * c["residual_scale"] ** 0.5
        if c["log_compression"]:
            h = (h.abs() + 1).log()
        if c["vq_type"] == "gumbel":
            h = self.quantise(h.transpose(1, 2)).transpose(1, 2)
        states = [h]
        for layer, fit in zip(self.feature_aggregator.conv_layers, self.feature_aggregator.residual_proj):
            before, h = h, layer(h)
            if c["skip_connections_agg"]:
                h = (h + fit(before)) * c["residual_scale"] ** 0.5
            states.append(h)
        states = [state.transpose(1, 2) for state in states]
        return states[-1], [state for state in states if state.shape[2] == self.size]

    def quantise(self, x):
        c, q = self.c, self.vector_quantizer
        logits = q.weight_proj(x).reshape(1, -1, c["vq_groups"], c["vq_vars"])
        soft = logits.softmax(-1)
        hard = nn.functional.one_hot(logits.argmax(-1), c["vq_vars"]).to(soft)
        chosen = hard - soft.detach() + soft  # the gradient of the softmax
        table = q.vars.reshape(-1, c["vq_vars"], q.vars.shape[2]).expand(c["vq_groups"], -1, -1)
        return torch.einsum("btgv,gvd->btgd", chosen, table).flatten(2)


class PasePlus(nn.Module):
    """PASE+ (Ravanelli et al. 2020) as santi-pdp/pase evaluates it, with the statistics of its batch norms."""

    prefix = "pase_plus"
    pad_sensitive = True
    defaults = {
        "kwidths": [31, 20, 11, 5],
        "strides": [1, 10, 2, 4],
        "fmaps": [6, 6, 8, 10],
        "emb_dim": 8,
        "rnn_dim": 12,
        "rnn_layers": 1,
        "denseskips": True,
        "norm_out": True,
    }

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.blocks, self.denseskips, inside = nn.ModuleList(), nn.ModuleList(), 1
        mel = lambda hz: 2595 * np.log10(1 + hz / 700)
        hz = 700 * (10 ** (np.linspace(mel(30), mel(8000 - 100), c["fmaps"][0] + 1) / 2595) - 1)
        for i, (k, stride, dim) in enumerate(zip(c["kwidths"], c["strides"], c["fmaps"])):
            block = nn.Module()
            if i == 0:
                block.conv = nn.Module()
                block.conv.low_hz_ = nn.Parameter(torch.tensor(hz[:-1, None], dtype=torch.float32))
                block.conv.band_hz_ = nn.Parameter(torch.tensor(np.diff(hz)[:, None], dtype=torch.float32))
            else:
                block.conv = nn.Conv1d(inside, dim, k, stride)
            block.norm, block.act = nn.BatchNorm1d(dim), nn.PReLU(dim, init=0)
            self.blocks.append(block)
            if c["denseskips"] and i + 1 < len(c["kwidths"]):
                self.denseskips.append(nn.Conv1d(dim, c["emb_dim"], 1, bias=False))
            inside = dim
        self.rnn = nn.Module()
        self.rnn.layers = nn.ModuleList()
        for _ in range(c["rnn_layers"]):
            layer = nn.Module()
            layer.linear = nn.Linear(2 * inside, 3 * c["rnn_dim"])
            self.rnn.layers.append(layer)
            inside = c["rnn_dim"]
        self.W = nn.Conv1d(inside, c["emb_dim"], 1)
        if c["norm_out"]:
            self.norm_out = nn.BatchNorm1d(c["emb_dim"], affine=False)
        self.size = c["emb_dim"]
        # Statistics as if trained: what is never used would go unnoticed.
        for name, b in self.named_buffers():
            if b.is_floating_point():
                b += torch.rand_like(b)

    def filters(self):
        k, conv = self.c["kwidths"][0], self.blocks[0].conv
        low = 50 + conv.low_hz_.abs()
        high = (low + 50 + conv.band_hz_.abs()).clamp(50, 8000)
        n = 2 * torch.pi * torch.arange(-(k - 1) / 2, 0, dtype=low.dtype) / 16000
        place = torch.linspace(0, k / 2 - 1, k // 2, dtype=low.dtype)
        window = 0.54 - 0.46 * torch.cos(2 * torch.pi * place / k)
        left = (torch.sin(high * n) - torch.sin(low * n)) / (n / 2) * window
        band = high - low
        return (torch.cat([left, 2 * band, left.flip(1)], 1) / (2 * band))[:, None]

    def forward(self, audio):
        c = self.c
        hop = int(np.prod(c["strides"]))
        h, skips = audio[None, None, : len(audio) // hop * hop], []
        for i, block in enumerate(self.blocks):
            k, stride = c["kwidths"][i], c["strides"][i]
            short = k // 2 - 1 if stride > 1 or k % 2 == 0 else k // 2
            h = pad(h, (short, k // 2), mode="reflect")
            h = nn.functional.conv1d(h, self.filters()) if i == 0 else block.conv(h)
            norm = block.norm
            h = nn.functional.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias)
            h = block.act(h)
            if i < len(self.denseskips):
                skips.append(self.denseskips[i](h))
        x = h.permute(2, 0, 1)
        for layer in self.rnn.layers:
            z, f, o = layer.linear(torch.cat([x, torch.cat([x[:1] * 0, x[:-1]])], 2)).chunk(3, 2)
            z, f, state, out = z.tanh(), f.sigmoid(), 0, []
            for t in range(len(x)):
                state = f[t] * z[t] + (1 - f[t]) * state
                out.append(state)
            x = o.sigmoid() * torch.stack(out)
        y = self.W(x.permute(1, 2, 0))
        for skip in skips:
            y = y + skip.reshape(*y.shape, -1).mean(3)
        if c["norm_out"]:
            y = nn.functional.batch_norm(y, self.norm_out.running_mean, self.norm_out.running_var)
        y = y.transpose(1, 2)
        return y, [y]


MODELS = {"pase": Pase, "pase-plus": PasePlus, "vq-wav2vec": VqWav2Vec}
TRAINING = {"vocab_size": 14, "pad_token_id": 0, "ctc_loss_reduction": "sum", "ctc_zero_infinity": True}


class WithHead(nn.Module):
    def __init__(self, kind, config):
        super().__init__()
        self.upstream = kind(config)
        self.lm_head = nn.Linear(self.upstream.size, config["vocab_size"])
        self.config = config
        self.pad_sensitive = getattr(kind, "pad_sensitive", False)

    def names(self):
        prefix = type(self.upstream).prefix
        return {
            name: name.replace("upstream.", f"{prefix}.", 1) if name.startswith("upstream.") else name
            for name in self.state_dict()
        }

    def forward(self, batch):
        lengths, labels = batch["lengths"].tolist(), batch["labels"].long()
        if self.pad_sensitive:  # padding is heard
            lengths = [batch["audio"].shape[1]] * len(lengths)
        alone = [self.upstream(row[:n]) for row, n in zip(batch["audio"], lengths)]
        frames = [len(last[0]) for last, _ in alone]
        longest = max(frames)
        together = lambda parts: torch.cat([pad(h, (0, 0, 0, longest - h.shape[1])) for h in parts])
        logits = together([self.lm_head(last) for last, _ in alone])
        loss = ctc_loss(
            log_softmax(logits, -1).transpose(0, 1),
            labels.clamp(min=0),
            torch.tensor(frames),
            (labels >= 0).sum(-1),
            blank=self.config["pad_token_id"],
            reduction=self.config["ctc_loss_reduction"],
            zero_infinity=self.config["ctc_zero_infinity"],
        )
        out = argparse.Namespace(logits=logits, loss=loss)
        out.hidden_states = [together(states) for states in zip(*(hidden for _, hidden in alone))]
        out.frames = frames
        return out


def original(kind, config, state):
    """The file in which the model's authors keep such weights."""
    if kind is VqWav2Vec:
        c = config
        triples = lambda dims, kernels, strides: str([tuple(t) for t in zip(dims, kernels, strides)])
        args = argparse.Namespace(
            arch="wav2vec",
            aggregator="cnn",
            conv_feature_layers=triples(c["conv_dim"], c["conv_kernel"], c["conv_stride"]),
            conv_aggregator_layers=triples(c["aggregator_dim"], c["aggregator_kernel"], [1] * len(c["aggregator_dim"])),
            no_conv_bias=not c["aggregator_bias"],
            agg_zero_pad=c["aggregator_zero_pad"],
            non_affine_group_norm=False,
            vq_dim=0,
            vq_gamma=0.25,
            vq_temp="(2,0.5,0.999995)",
            prediction_steps=2,
            **{k: c[k] for k in ("skip_connections_feat", "skip_connections_agg", "log_compression", "residual_scale")},
            **{k: c[k] for k in ("activation", "vq_type", "vq_vars", "vq_groups", "vq_depth", "combine_groups")},
        )
        width = c["aggregator_dim"][-1]
        heads = {"weight": torch.zeros(width, c["conv_dim"][-1], 1, 2), "bias": torch.zeros(c["conv_dim"][-1])}
        heads = {f"wav2vec_predictions.project_to_steps.{name}": value for name, value in heads.items()}
        return {"args": args, "model": state | heads, "optimizer_history": [], "last_optimizer_state": None}
    return {"state_dict": state, "step": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="also write the authors' form of the weights")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", nargs="*", type=parity.parse_setting, default=[], metavar="KEY=VALUE")
    parser.add_argument("--lengths", type=parity.numbers, default=[8000, 6120, 4880])
    parser.add_argument("--label-lengths", type=parity.numbers, default=[9, 6, 4])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    kind = MODELS[args.model]
    config = {"model_type": args.model, **TRAINING, **kind.defaults, **dict(args.config)}
    model = WithHead(kind, config)
    rng = np.random.default_rng(args.seed)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.from_numpy(rng.standard_normal(p.shape)).to(p)
    batch = parity.make_input(
        args.lengths, args.label_lengths, config["vocab_size"], config["pad_token_id"], None, rng
    )
    # In double precision: what is compared should be the other side's rounding only.
    args.out.mkdir(parents=True, exist_ok=True)
    names = model.names()
    weights = {
        names[name]: p.detach().clone().contiguous()
        for name, p in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    save_file(batch, args.out / "input.safetensors")
    if args.checkpoint:
        state = {name.removeprefix("upstream."): p.detach().clone() for name, p in model.state_dict().items()}
        state = {name: p for name, p in state.items() if not name.startswith("lm_head.")}
        torch.save(original(kind, config, state), args.checkpoint)
    model = model.double()
    values = parity.collect(model, lambda: model(batch | {"audio": batch["audio"].double()}))
    values = {
        ("grad." + names[key[5:]] if key.startswith("grad.") else key): value.float().contiguous()
        for key, value in values.items()
    }
    save_file(values, args.out / "expected.safetensors")
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    meta = {"model": args.out.name, "uses_attention_mask": not model.pad_sensitive, "heard_alone": not model.pad_sensitive, "seed": args.seed, "torch": torch.__version__.split("+")[0]}
    (args.out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(json.dumps({"folder": args.out.name, "loss": values["loss"].item()}))


if __name__ == "__main__":
    main()
