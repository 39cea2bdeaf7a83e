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


MODELS = {"pase": Pase}
TRAINING = {"vocab_size": 14, "pad_token_id": 0, "ctc_loss_reduction": "sum", "ctc_zero_infinity": True}


class WithHead(nn.Module):
    def __init__(self, kind, config):
        super().__init__()
        self.upstream = kind(config)
        self.lm_head = nn.Linear(self.upstream.size, config["vocab_size"])
        self.config = config

    def names(self):
        prefix = type(self.upstream).prefix
        return {
            name: name.replace("upstream.", f"{prefix}.", 1) if name.startswith("upstream.") else name
            for name, _ in self.named_parameters()
        }

    def forward(self, batch):
        lengths, labels = batch["lengths"].tolist(), batch["labels"].long()
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", nargs="*", type=parity.parse_setting, default=[], metavar="KEY=VALUE")
    parser.add_argument("--lengths", type=parity.numbers, default=[8000, 6120, 4880])
    parser.add_argument("--label-lengths", type=parity.numbers, default=[9, 6, 4])
    args = parser.parse_args()
    torch.set_num_threads(2)
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
    weights = {names[name]: p.detach().clone().contiguous() for name, p in model.named_parameters()}
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    save_file(batch, args.out / "input.safetensors")
    model = model.double()
    values = parity.collect(model, lambda: model(batch | {"audio": batch["audio"].double()}))
    values = {
        ("grad." + names[key[5:]] if key.startswith("grad.") else key): value.float().contiguous()
        for key, value in values.items()
    }
    save_file(values, args.out / "expected.safetensors")
    (args.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    meta = {"model": args.out.name, "uses_attention_mask": True, "heard_alone": True, "seed": args.seed, "torch": torch.__version__.split("+")[0]}
    (args.out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(json.dumps({"folder": args.out.name, "loss": values["loss"].item()}))


if __name__ == "__main__":
    main()
