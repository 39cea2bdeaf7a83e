"""A small ARPA model of random probabilities and KenLM's scores under it, for the tests of src/decode/ngram.ts. Needs the pip
package kenlm. Run: python scripts/reference/metrics-ngram.py (writes test/fixtures/metrics/ngram.json)."""
import json
import pathlib
import tempfile

import kenlm
import numpy as np

rng = np.random.default_rng(5)
words = ["a", "b", "c", "dd", "e'e", "ü"]
corpus = [[str(w) for w in rng.choice(words, rng.integers(1, 7))] for _ in range(25)]
levels = [sorted({(w,) for w in words} | {("<s>",), ("</s>",), ("<unk>",)})]
for n in [2, 3]:
    grams = set()
    for line in corpus:
        line = ["<s>", *line, "</s>"]
        grams |= {tuple(line[i:i + n]) for i in range(len(line) - n + 1)}
    # Leave some out, but keep every n-gram's beginning and end in the model.
    levels.append(sorted(g for g in grams if rng.random() < 0.7 and g[:-1] in levels[-1] and g[1:] in levels[-1]))
# An order that is not sorted.
levels = [[level[i] for i in rng.permutation(len(level))] for level in levels]
text = "\n\\data\\\n" + "".join(f"ngram {n + 1}={len(level)}\n" for n, level in enumerate(levels))
for n, level in enumerate(levels):
    text += f"\n\\{n + 1}-grams:\n"
    for gram in level:
        log = -99 if gram == ("<s>",) else round(-rng.random() * 3, 6)
        back = "" if n == 2 or gram[-1] == "</s>" else f"\t{round(-rng.random(), 6)}"
        text += f"{log}\t{' '.join(gram)}{back}\n"
text += "\n\\end\\\n"
with tempfile.NamedTemporaryFile("w", suffix=".arpa") as file:
    file.write(text)
    file.flush()
    model = kenlm.Model(file.name)
sentences = [[str(w) for w in rng.choice(words + ["zzz"], rng.integers(0, 8))] for _ in range(40)]
scores = [[s for s, _, _ in model.full_scores(" ".join(line), bos=True, eos=True)] for line in sentences]
path = pathlib.Path(__file__).parents[2] / "test/fixtures/metrics/ngram.json"
path.write_text(json.dumps(dict(arpa=text, sentences=sentences, log10=scores), ensure_ascii=False, separators=(",", ":")) + "\n")
