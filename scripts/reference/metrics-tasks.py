"""Values of scikit-learn, s3prl, sacreBLEU, dtw-python and NIST's md-eval for the tests of src/metrics: verification, slots,
BLEU, subsequence DTW, diarization. Needs pip packages scikit-learn scipy s3prl editdistance sacrebleu dtw-python and perl.
Run: python scripts/reference/metrics-tasks.py MD_EVAL_PL (writes test/fixtures/metrics/tasks.json)."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import dtw
import numpy as np
import sacrebleu
from s3prl.metric import common, slot_filling
from scipy.spatial.distance import cdist

rng = np.random.default_rng(11)
out = {}

# Equal error rate and detection cost, with ties and with perfect separation.
cases = []
for n, digits, shift in [(40, 8, 1.0), (200, 1, 1.5), (30, 0, 0.5), (20, 8, 20)]:
    labels = np.r_[1, 0, rng.integers(0, 2, n - 2)]
    scores = np.round(rng.normal(size=n) + shift * labels, digits)
    eer, _ = common.compute_eer(labels, scores)
    cost, _ = common.compute_minDCF(labels, scores, p_target=0.05, c_miss=1, c_fa=1)
    cost01, _ = common.compute_minDCF(labels, scores, p_target=0.01, c_miss=10, c_fa=1)
    cases.append(dict(labels=labels.tolist(), scores=scores.tolist(), eer=float(eer), minDcf=float(cost), minDcf01=float(cost01)))
out["verification"] = cases

# Slot filling.
refs = ["play B-artist the who E-artist on B-service spotify E-service", "what is the weather in B-city new york E-city", "no slots here",
        "B-a one E-a and B-a two E-a then B-b three E-b", "rate it B-points four E-points", "B-city rome E-city"]
hyps = ["play B-artist the hue E-artist on spotify", "what is the  weather in B-city newark E-city B-time today E-time", "no slots here",
        "B-a two E-a and B-a won E-a then B-c three E-c", "rate it", "B-city B-x rome E-x E-city"]
out["slots"] = dict(refs=refs, hyps=hyps, typeF1=slot_filling.slot_type_f1(hyps, refs), valueCer=slot_filling.slot_value_cer(hyps, refs),
                    valueWer=slot_filling.slot_value_wer(hyps, refs),
                    each=[dict(f1=slot_filling.slot_type_f1([h], [r]), cer=(slot_filling.slot_value_cer([h], [r]) if "B-" in r else None)) for h, r in zip(hyps, refs)])

# BLEU.
refs = ["The quick, brown fox jumps over the lazy dog.", "Er kaufte 3,5 kg Äpfel (für 7.50 €) - gut!", "It's John's \"house\" & garden; isn't it?",
        "short one", "At 10:30 a.m., 1990-1995 were years.", "semi-final 2-1 (a.e.t.)", "A B C D E F"]
hyps = ["The quick brown fox jumped over the lazy dog.", "Er kaufte 3,5 kg Apfel (für 7.50 €) - gut!", "It's John's &quot;house&quot; &amp; garden, is it?",
        "short", "At 10:30 a.m., 1990-1995 were good years.", "semi-final 2-1 a.e.t.", "A B C D"]
bleu = sacrebleu.BLEU()
whole = bleu.corpus_score(hyps, [refs])
tok = sacrebleu.metrics.bleu.TOKENIZERS if hasattr(sacrebleu.metrics.bleu, "TOKENIZERS") else None
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
t13 = Tokenizer13a()
subsets = []
for keep in [[0], [3], [0, 1], [3, 6], [2, 4, 5], list(range(7))]:
    got = sacrebleu.BLEU().corpus_score([hyps[k] for k in keep], [[refs[k] for k in keep]])
    subsets.append(dict(keep=keep, score=got.score, precisions=got.precisions, brevity=got.bp, counts=got.counts, totals=got.totals, hyp=got.sys_len, ref=got.ref_len))
multi = sacrebleu.BLEU().corpus_score(["the cat sat on the mat", "it is a guide to action"], [["the cat is on the mat", "it is a guide for action"], ["there is a cat on the mat today", "it is the guiding principle of the action"]])
disjoint = sacrebleu.BLEU().corpus_score(["x y z w v"], [["a b c d e"]])
# Orders without a match (smoothing halves once per order), and references equally far in length (the shorter counts).
smoothed = [dict(hyp=h, refs=r, score=sacrebleu.BLEU().corpus_score([h], [[x] for x in r]).score) for h, r in [
    ("the cat on mat there", ["a cat sat on a mat"]), ("one two x four five y", ["one three two four z five w"]),
    ("a b c d e", ["a b c d", "a b c d e f"]), ("a b c d e", ["a b c d e f", "a b c d"])]]
out["bleu"] = dict(smoothed=smoothed, refs=refs, hyps=hyps, tokens=[t13(x) for x in refs + hyps + ["a.b 3.b b.3 3.3 x,y 1,y -5 5-x <skipped>z", "&lt;b&gt; a-\nb c\nd"]],
                   extra=["a.b 3.b b.3 3.3 x,y 1,y -5 5-x <skipped>z", "&lt;b&gt; a-\nb c\nd"], subsets=subsets, multi=multi.score, disjoint=disjoint.score)

# Subsequence DTW with the asymmetric pattern, as s3prl's query by example.
cases = []
for rows, columns in [(5, 9), (8, 30), (6, 7), (12, 40)]:
    q, d = rng.normal(size=(rows, 4)), rng.normal(size=(columns, 4))
    if rows == 8:
        d[10:18] = q + 0.2 * rng.normal(size=q.shape)
    dist = np.exp(cdist(q, d, "cosine")) - 1
    low, high = dist.min(1)[:, None], dist.max(1)[:, None]
    scaled = (dist - low) / np.clip(high - low, 1e-9, np.inf)
    got = dtw.dtw(x=scaled, step_pattern="asymmetric", open_begin=True, open_end=True, keep_internals=False, distance_only=False)
    cases.append(dict(query=q.tolist(), document=d.tolist(), distance=float(got.normalizedDistance), start=int(got.index2[0]), end=int(got.index2[-1])))
out["dtw"] = cases

# Diarization error by md-eval.
def rttm(turns):
    return "".join(f"SPEAKER f 1 {a:.3f} {b - a:.3f} <NA> <NA> {s} <NA> <NA>\n" for s, a, b in turns)

cases = []
def turns_for(speakers, seconds, seed):
    r = np.random.default_rng(seed)
    turns = []
    for s in range(speakers):
        at = float(np.round(r.uniform(0, 4), 2))
        while at < seconds:
            stop = float(np.round(at + r.uniform(0.5, 6), 2))
            turns.append((f"s{s}", at, min(stop, seconds)))
            at = float(np.round(stop + r.uniform(0.3, 8), 2))
    return turns
# Last: the speaker mapping is fixed before collars are cut out. x has most of a's time, y has what the collars leave of it.
short = [("a", float(k), k + 0.5) for k in range(8)]
special = (short + [("a", 20.0, 23.0)], [("x", b, e) for _, b, e in short] + [("y", 20.0, 23.0)])
for seed in range(7):
    ref = turns_for(2 + seed % 3, 60.0, seed)
    jitter = np.random.default_rng(100 + seed)
    hyp = []
    for s, a, b in ref:
        if jitter.random() < 0.15: continue
        a2, b2 = round(max(0, a + jitter.normal() * 0.3), 2), round(b + jitter.normal() * 0.3, 2)
        if b2 - a2 > 0.05: hyp.append((("x" + s) if jitter.random() > 0.1 else "xs0", a2, b2))
    # One speaker cannot speak twice at once.
    merged = []
    for s in sorted({h[0] for h in hyp}):
        last = None
        for _, a, b in sorted(h for h in hyp if h[0] == s):
            if last and a <= last[2]: last = (s, last[1], max(b, last[2])); merged[-1] = last
            else: last = (s, a, b); merged.append(last)
    hyp = merged
    if seed == 6: ref, hyp = special
    results = []
    with tempfile.TemporaryDirectory() as folder:
        r, h = pathlib.Path(folder, "r.rttm"), pathlib.Path(folder, "h.rttm")
        r.write_text(rttm(ref)); h.write_text(rttm(hyp))
        for collar in [0, 0.25]:
            for single in [False, True]:
                text = subprocess.run(["perl", sys.argv[1], *(["-1"] if single else []), "-c", str(collar), "-r", r, "-s", h], capture_output=True, text=True).stdout
                value = lambda name: float(re.search(name + r"\s*=\s*([\d.]+)", text).group(1))
                results.append(dict(collar=collar, single=single, scored=value("SCORED SPEAKER TIME"), missed=value("MISSED SPEAKER TIME"),
                                    falseAlarm=value("FALARM SPEAKER TIME"), confusion=value("SPEAKER ERROR TIME"), percent=value("OVERALL SPEAKER DIARIZATION ERROR")))
    cases.append(dict(ref=ref, hyp=hyp, results=results))
out["diarization"] = cases

path = pathlib.Path(__file__).parents[2] / "test/fixtures/metrics/tasks.json"
path.write_text(json.dumps(out, separators=(",", ":"), ensure_ascii=False) + "\n")
