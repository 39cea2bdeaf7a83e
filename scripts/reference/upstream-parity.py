"""Writes a reference folder of one small random upstream: what transformers and PyTorch compute with it.

    upstream-parity.py OUT_DIR --model wav2vec2 --seed 2 --config hidden_size=40 conv_dim=[16,24,20] ...
    upstream-parity.py --check DIR...      computes an existing folder again and prints the largest relative errors

A folder holds config.json and model.safetensors (Hugging Face form), pytorch_model.bin (the same weights),
input.safetensors, expected.safetensors and meta.json; `voxsmith parity DIR` reads it. Shapes:

    input:    audio [batch, samples] f32, zero mean and unit variance over each utterance's own samples, then zeros;
              attention_mask [batch, samples]; labels [batch, longest] padded with -100; lengths [batch] in samples
    expected: logits [batch, frames, vocabulary]; loss [1]; hidden.0 .. hidden.N as transformers' output_hidden_states
              gives them (hidden.N of a stable-layer-norm model is *before* the encoder's last layer norm);
              grad.<parameter>; trajectory.adam_1e-3 [10], the loss before each of ten Adam steps on this batch

Every dropout, layer drop and SpecAugment is off. All parameters are moved off their initial values, or a bias
that is never added would go unnoticed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import ctc_loss, log_softmax
from transformers import AutoConfig, AutoModelForCTC

RATE = 16_000
STEPS = 10

SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 14,
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": True,
}
SILENT = {
    **dict.fromkeys(
        ["hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"], 0.0
    ),
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
}
# What a family cannot do without, or calls by another name, on top of SMALL.
FAMILY = {
    "wav2vec2": {},
    "hubert": {},
    "wavlm": {},
    "data2vec-audio": {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5},
}


def parse_setting(text):
    """`key=value`, the value JSON where it reads as JSON (so lists and booleans work), else a string."""
    key, sep, value = text.partition("=")
    if not sep:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def synthetic_speech(samples, rng):
    """Buzz and hiss through moving resonances, syllable by syllable with pauses: the bands and dynamics of speech."""
    out = np.zeros(samples)
    f0, at = rng.uniform(90, 240), int(rng.integers(0, 800))
    while at < samples:
        n = int(rng.integers(1200, 4000))
        t = np.arange(n) / RATE
        if rng.random() < 0.3:
            source = rng.standard_normal(n) * 0.3
            formants = [(rng.uniform(2500, 4000), 600), (rng.uniform(4500, 6500), 900)]
        else:
            pitch = f0 * (1 + rng.uniform(-0.2, 0.2) * t / t[-1]) * (1 + 0.01 * rng.standard_normal(n))
            phase = np.cumsum(pitch) / RATE
            source = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(n)
            formants = [(rng.uniform(250, 850), 80), (rng.uniform(850, 2400), 110), (rng.uniform(2300, 3200), 160)]
        for centre, width in formants:
            source = resonate(source, centre, width)
        syllable = source / (np.abs(source).max() + 1e-9) * np.sin(np.pi * np.arange(n) / n) * rng.uniform(0.3, 1)
        stop = min(samples, at + n)
        out[at:stop] += syllable[: stop - at]
        at += int(n * rng.uniform(0.8, 1.4))
    return out + 0.003 * rng.standard_normal(samples)


def resonate(x, centre, width):
    """A two-pole resonator (Klatt 1980): centre and bandwidth in Hz."""
    r = np.exp(-np.pi * width / RATE)
    b, c = 2 * r * np.cos(2 * np.pi * centre / RATE), -r * r
    y = np.zeros(len(x) + 2)
    for i, v in enumerate(x):
        y[i + 2] = (1 - b - c) * v + b * y[i + 1] + c * y[i]
    return y[2:]


def recorded_speech(samples, files, rng):
    """Recordings drawn at random, one after the other, resampled to 16 kHz."""
    import soundfile
    from scipy.signal import resample_poly

    pieces, total = [], 0
    while total < samples:
        x, rate = soundfile.read(files[int(rng.integers(len(files)))])
        pieces.append(resample_poly(x, RATE, rate))
        total += len(pieces[-1])
    return np.concatenate(pieces)[:samples]


def make_input(lengths, label_lengths, vocabulary, blank, audio_dir, rng):
    files = sorted(p for p in Path(audio_dir).rglob("*") if p.suffix in (".wav", ".flac")) if audio_dir else []
    if audio_dir and not files:
        sys.exit(f"{audio_dir} holds no .wav or .flac file")
    audio = np.zeros((len(lengths), max(lengths)), np.float32)
    for row, samples in zip(audio, lengths):
        x = recorded_speech(samples, files, rng) if files else synthetic_speech(samples, rng)
        row[:samples] = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    symbols = [s for s in range(vocabulary) if s != blank]
    labels = np.full((len(lengths), max(1, *label_lengths)), -100, np.int32)
    for row, count in zip(labels, label_lengths):
        row[:count] = rng.choice(symbols, count)
        if count > 2:  # a neighbouring repeat: CTC must pass through a blank between the two
            row[count // 2] = row[count // 2 - 1]
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return {
        "audio": torch.from_numpy(audio),
        "attention_mask": torch.from_numpy(mask.astype(np.int32)),
        "labels": torch.from_numpy(labels),
        "lengths": torch.tensor(lengths, dtype=torch.int32),
    }


def compute(model, batch, uses_mask):
    """What expected.safetensors holds. Leaves `model` trained for ten steps."""
    mask = batch["attention_mask"] if uses_mask else None
    labels = batch["labels"].long()
    model.train()
    return collect(
        model, lambda: model(batch["audio"], attention_mask=mask, labels=labels, output_hidden_states=True)
    )


def collect(model, run):
    """Values, gradients and ten Adam steps of `run()`, which returns a model output with a loss."""
    out = run()
    out.loss.backward()
    values = {"logits": out.logits, "loss": out.loss.reshape(1)}
    values |= {f"hidden.{i}": h for i, h in enumerate(out.hidden_states)}
    values |= {
        f"grad.{name}": torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()
    }
    # Cloned: Adam works in place.
    values = {name: t.detach().clone().contiguous() for name, t in values.items()}
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-8)
    losses = []
    for _ in range(STEPS):
        adam.zero_grad()
        loss = run().loss
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return values | {"trajectory.adam_1e-3": torch.tensor(losses, dtype=out.logits.dtype)}


def relative_errors(got, want):
    """Largest |got - want| / |want| of each kind; a gradient's denominator is at least 1e-4 of the median gradient norm."""
    norms = sorted(t.double().norm().item() for name, t in want.items() if name.startswith("grad."))
    floor = 1e-4 * norms[len(norms) // 2]
    worst = {}
    for name, reference in want.items():
        kind = name.split(".")[0]
        size = reference.double().norm().item()
        error = (got[name].double() - reference.double()).norm().item()
        error /= max(size, floor) if kind == "grad" else size
        worst[kind] = max(worst.get(kind, (-1.0, "")), (error, name))
    return {kind: {"error": error, "name": name} for kind, (error, name) in worst.items()}


def compute_float64(model, batch, uses_mask):
    """The same values in float64 throughout: transformers casts to float32 before its CTC, so the loss is taken here."""
    model = model.double().train()
    config, mask, labels = model.config, batch["attention_mask"], batch["labels"].long()
    samples = mask.sum(-1) if uses_mask else torch.full((len(mask),), mask.shape[1])
    frames = model._get_feat_extract_output_lengths(samples).long()

    def run():
        out = model(batch["audio"].double(), attention_mask=mask if uses_mask else None, output_hidden_states=True)
        loss = ctc_loss(
            log_softmax(out.logits, -1).transpose(0, 1),
            labels.clamp(min=0),
            frames,
            (labels >= 0).sum(-1),
            blank=config.pad_token_id,
            reduction=config.ctc_loss_reduction,
            zero_infinity=config.ctc_zero_infinity,
        )
        out.loss = loss
        return out

    return collect(model, run)


def check(folder):
    folder = Path(folder)
    meta = json.loads((folder / "meta.json").read_text())
    batch = load_file(folder / "input.safetensors")
    want = load_file(folder / "expected.safetensors")
    got = compute(AutoModelForCTC.from_pretrained(folder), batch, meta["uses_attention_mask"])
    if got.keys() != want.keys():
        sys.exit(f"{folder}: tensors differ: {sorted(got.keys() ^ want.keys())}")
    print(json.dumps({"folder": folder.name, **relative_errors(got, want)}))


def write(args):
    torch.manual_seed(args.seed)
    config = AutoConfig.for_model(args.model, **(SILENT | SMALL | FAMILY[args.model] | dict(args.config)))
    model = AutoModelForCTC.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.05 if p.dim() == 1 else 0.02))
    batch = make_input(
        args.lengths,
        args.label_lengths,
        config.vocab_size,
        config.pad_token_id,
        args.audio,
        np.random.default_rng(args.seed),
    )
    # Hugging Face's own convention: group-norm models were trained without a mask.
    uses_mask = {"yes": True, "no": False, "auto": getattr(config, "feat_extract_norm", "layer") == "layer"}[args.mask]
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    torch.save(model.state_dict(), out / "pytorch_model.bin")
    save_file(batch, out / "input.safetensors")
    expected = compute(model, batch, uses_mask)
    save_file(expected, out / "expected.safetensors")
    blank = config.pad_token_id
    meta = {
        "model": out.name,
        "uses_attention_mask": uses_mask,
        "ctc": f"{config.ctc_loss_reduction} reduction, blank {blank}, labels padded with -100",
        "seed": args.seed,
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "params": sum(p.numel() for p in model.parameters()),
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    exact = compute_float64(AutoModelForCTC.from_pretrained(out), batch, uses_mask)
    rounding = relative_errors(expected, exact)
    print(json.dumps({"folder": out.name, "loss": expected["loss"].item(), "float32 rounding": rounding}))


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", metavar="OUT_DIR")
    parser.add_argument("--check", nargs="+", metavar="DIR")
    parser.add_argument("--model", choices=sorted(FAMILY), default="wav2vec2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", nargs="*", type=parse_setting, default=[], metavar="KEY=VALUE")
    parser.add_argument("--lengths", type=numbers, default=[16000, 12400, 9120], help="samples, one an utterance")
    parser.add_argument("--label-lengths", type=numbers, default=[9, 6, 4])
    parser.add_argument("--mask", choices=["yes", "no", "auto"], default="auto", help="pass the attention mask")
    parser.add_argument("--audio", metavar="DIR", help="real recordings instead of the synthetic signal")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    if args.check:
        for folder in args.check:
            check(folder)
    elif args.out:
        if len(args.lengths) != len(args.label_lengths):
            parser.error("--lengths and --label-lengths must name the same number of utterances")
        write(args)
    else:
        parser.error("give OUT_DIR, or --check DIR")


if __name__ == "__main__":
    main()
