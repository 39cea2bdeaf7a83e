"""Loads folders that `voxsmith convert IN OUT --to hf` wrote with Python's transformers and says what it thinks of them.

Run: python scripts/reference/checkpoints-load.py FOLDER...   (torch 2.13, transformers 5.17)
The transcript for the folders made of test/fixtures/weights/checkpoints is kept beside them in transformers.txt.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from transformers.utils import logging

records = []
logging.disable_progress_bar()
logger = logging.get_logger("transformers")
logger.handlers.clear()
handler = __import__("logging").Handler(level=30)
handler.emit = lambda record: records.append(record.getMessage())
logger.addHandler(handler)

for folder in sys.argv[1:]:
    config = json.loads((Path(folder) / "config.json").read_text())
    records.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cls = getattr(transformers, config["architectures"][0])
        model, info = cls.from_pretrained(folder, output_loading_info=True)
        with torch.no_grad():
            result = model.eval()(torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)))
        first = next(iter(result.values()))
    print(f"{Path(folder).name}: {type(model).__name__}, {sum(p.numel() for p in model.parameters())} parameters,",
          f"output {list(first.shape)}")
    faults = {kind: sorted(info[kind]) for kind in info if info[kind]}
    messages = records + [str(warning.message) for warning in caught]
    print(f"  tensors not used exactly once: {faults or 'none'}; warnings: {messages or 'none'}")
