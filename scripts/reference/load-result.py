"""Loads a Hugging Face folder that voxsmith wrote as Python's transformers does, and says what it found, as JSON.

    PYTHON scripts/reference/load-result.py FOLDER [--class AutoModelForCTC] [--run INPUT.safetensors OUT.safetensors]

{"ok", "class", "parameters", "missing", "unexpected", "mismatched", "warnings"}; exit 1 unless every tensor was used
exactly once and nothing was warned of. --run takes `audio` [batch, samples] and, where it is there, `attention_mask`,
and writes what the model makes of them in evaluation mode: `logits` (or `last_hidden_state` of a headless model).
"""

import argparse
import json
import logging
import sys
import warnings

import torch
import transformers
from safetensors.torch import load_file, save_file


class Keep(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--class", dest="kind", help="a class of transformers; default: the config's architecture")
    parser.add_argument("--run", nargs=2, metavar=("INPUT", "OUT"))
    args = parser.parse_args()

    keep = Keep()
    logger = transformers.logging.get_logger("transformers")
    logger.handlers = [keep]
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        config = transformers.AutoConfig.from_pretrained(args.folder)
        named = (config.architectures or ["AutoModel"])[0]
        kind = getattr(transformers, args.kind or named)
        model, info = kind.from_pretrained(args.folder, output_loading_info=True)
    model.eval()
    result = {
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "missing": sorted(map(str, info["missing_keys"])),
        "unexpected": sorted(map(str, info["unexpected_keys"])),
        "mismatched": sorted(map(str, info["mismatched_keys"])),
        "warnings": keep.messages + [str(w.message) for w in warned],
    }
    ok = not any(result[key] for key in ("missing", "unexpected", "mismatched", "warnings"))
    print(json.dumps({"ok": ok, **result}))
    if args.run:
        batch = load_file(args.run[0])
        with torch.inference_mode():
            out = model(batch["audio"], attention_mask=batch.get("attention_mask"))
        name = "logits" if "logits" in out else "last_hidden_state"
        save_file({name: out[name].contiguous()}, args.run[1])
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
