"""Counts of NIST's sclite (SCTK 2.4) for the test of src/metrics/error-rate.ts: sentences with the kinds of error that recognisers
make, and sequences over three letters, where alignments are ambiguous.

    python metrics-sclite.py PATH_OF_SCLITE > test/fixtures/metrics/sclite.json
"""
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

rng = random.Random(7)
WORDS = "the of and to in is that it was for on are with as his they at be this from have or by one had not but what all were".split()


def heard(words, rate):
    out = []
    for word in words:
        chance = rng.random()
        if chance < rate / 3:
            continue
        out.append(rng.choice(WORDS) if chance < 2 * rate / 3 else word)
        if rng.random() < rate / 3:
            out.append(rng.choice(WORDS))
    return out


pairs = []
for i in range(120):
    ref = [rng.choice(WORDS) for _ in range(rng.randint(3, 25))]
    pairs.append(("sentences", ref, heard(ref, [0.05, 0.15, 0.3][i % 3])))
for _ in range(80):
    pairs.append(("letters", *[[rng.choice("abc") for _ in range(rng.randint(1, 8))] for _ in range(2)]))

with tempfile.TemporaryDirectory() as folder:
    for name, at in (("ref", 1), ("hyp", 2)):
        lines = "".join(f"{' '.join(pair[at])} (spk_{i:04d})\n" for i, pair in enumerate(pairs))
        (Path(folder) / f"{name}.trn").write_text(lines)
    command = [sys.argv[1], "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-o", "pralign", "stdout"]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

found = {}
for key, scores in re.findall(r"id: \(spk_(\d+)\)\s*\n(?:.*\n)*?Scores: \(#C #S #D #I\) (.*)\n", said):
    correct, s, d, i = map(int, scores.split())
    found[int(key)] = dict(s=s, d=d, i=i)
assert len(found) == len(pairs), (len(found), len(pairs))
rows = [dict(kind=kind, ref=ref, hyp=hyp, **found[i]) for i, (kind, ref, hyp) in enumerate(pairs)]
print(json.dumps({"pairs": rows}))
