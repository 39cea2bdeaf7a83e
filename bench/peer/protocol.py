"""What both peer programs share: JSON lines in and out, the random wav2vec2-base, and memory figures.

Each program reads one command a line from stdin and answers with one line on stdout, so that a bench can alternate
rounds between its own engine and this one while both processes stay warm. Warnings go to stderr.
"""

import json
import sys
import traceback

import torch
import transformers
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

RATE = 16_000
DROPOUTS = ["hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"]
STATED = [*DROPOUTS, "layerdrop", "apply_spec_augment", "mask_time_prob", "mask_time_length", "ctc_loss_reduction"]


def status_mb(field):
    """VmHWM (peak) or VmRSS (now) of this process, in units of 2^20 bytes; None where there is no /proc."""
    try:
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) / 1024 for line in f if line.startswith(field + ":"))
    except OSError:
        return None


def reset_peak():
    """Lets VmHWM start again from the present size, so that a second set-up does not report the first one's peak."""
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError as error:
        print(f"the peak memory could not be reset: {error}", file=sys.stderr)


def build(dropout="zero", reduction="sum", seed=1):
    """A random model with the sizes of wav2vec2-base: 7 convolutions, 12 layers of 768, 32 characters.

    dropout "zero" turns off every dropout, layer drop and SpecAugment; "default" leaves Wav2Vec2Config as it comes.
    """
    if dropout not in ("zero", "default"):
        raise ValueError(f'dropout is {dropout!r}; it can be "zero" or "default"')
    off = dict.fromkeys(DROPOUTS, 0.0) | {"layerdrop": 0.0, "apply_spec_augment": False}
    torch.manual_seed(seed)
    config = Wav2Vec2Config(vocab_size=32, ctc_loss_reduction=reduction, **(off if dropout == "zero" else {}))
    return Wav2Vec2ForCTC(config)


def make_audio(batch, seconds):
    x = torch.randn(batch, round(seconds * RATE))
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)


def autocast(mode):
    if mode not in ("f32", "bf16"):
        raise ValueError(f'mode is {mode!r}; it can be "f32" or "bf16"')
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "bf16")


def describe(model):
    config = model.config
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "attention": config._attn_implementation,
        "threads": torch.get_num_threads(),
        "config": {name: getattr(config, name) for name in STATED},
    }


def serve(commands):
    """Answers until {"cmd": "exit"} or the end of stdin. `commands` maps a name to a function of the other keys."""
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    answer(
        ready=True,
        torch=torch.__version__,
        transformers=transformers.__version__,
        threads=torch.get_num_threads(),
        importedMB=status_mb("VmRSS"),
    )
    for line in sys.stdin:
        try:
            request = json.loads(line)
            name = request.pop("cmd")
            if name == "exit":
                return
            if name == "peak":
                answer(peakMB=status_mb("VmHWM"), nowMB=status_mb("VmRSS"))
            elif name in commands:
                answer(**commands[name](**request))
            else:
                raise ValueError(f"no command {name!r}; there are {', '.join([*commands, 'peak', 'exit'])}")
        except Exception as error:  # the bench decides what to do; this process stays
            traceback.print_exc()
            answer(error=f"{type(error).__name__}: {error}")


def answer(**fields):
    print(json.dumps(fields), flush=True)
