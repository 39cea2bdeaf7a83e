"""Values of jiwer, scikit-learn and SciPy for the tests of src/metrics: error rates, classification, correlation,
significance, calibration. Run: python scripts/reference/metrics-basic.py (writes test/fixtures/metrics/basic.json)."""
import json
import pathlib

import jiwer
import numpy as np
from scipy import optimize, special, stats
from sklearn import metrics

rng = np.random.default_rng(7)
out = {}

# Error rates: the per-utterance operation counts are compared too, so ties must be broken alike.
pairs = []
for size in list(rng.integers(1, 12, 60)) + [40, 80]:
    alphabet = list("abc" if size % 2 else "abcdefgh")
    ref = [str(x) for x in rng.choice(alphabet, size)]
    hyp = [str(x) for x in rng.choice(alphabet, rng.integers(0, size + 4))]
    got = jiwer.process_words(" ".join(ref), " ".join(hyp))
    pairs.append(dict(ref=ref, hyp=hyp, s=got.substitutions, d=got.deletions, i=got.insertions))
whole = jiwer.process_words([" ".join(p["ref"]) for p in pairs], [" ".join(p["hyp"]) for p in pairs])
text = ["the cat sat", "über alles", "a"]
said = ["the bat sat down", "uber alles", "a a"]
out["errorRate"] = dict(pairs=pairs, wer=whole.wer, text=text, said=said, cer=jiwer.cer(text, said), textWer=jiwer.wer(text, said))

# Classification, with a label that is never predicted and one that never occurs.
cases = []
for n, k in [(12, 3), (60, 5), (7, 4), (200, 5)]:
    y, p = rng.integers(0, k, n), rng.integers(0, k, n)
    p = np.where(rng.random(n) < 0.5, y, p)
    if n == 7:
        y, p = np.where(y == 2, 0, y), np.where(p == 1, 0, p)
    pr, rc, f1, _ = metrics.precision_recall_fscore_support(y, p, average="macro", zero_division=0)
    cp, cr, cf, sup = metrics.precision_recall_fscore_support(y, p, average=None, zero_division=0)
    cases.append(dict(
        truth=y.tolist(), predicted=p.tolist(), accuracy=metrics.accuracy_score(y, p), precision=pr, recall=rc, f1=f1,
        classPrecision=cp.tolist(), classRecall=cr.tolist(), classF1=cf.tolist(), support=sup.tolist(),
        confusion=metrics.confusion_matrix(y, p).tolist(), kappa=metrics.cohen_kappa_score(y, p, weights="quadratic"),
        kappaAll=metrics.cohen_kappa_score(y, p, weights="quadratic", labels=list(range(k)))))
out["classification"] = cases

# Correlation; exact permutation p-values over all pairings.
cases = []
for n, ties in [(6, False), (6, True), (30, False), (30, True)]:
    x = rng.normal(size=n)
    y = 0.6 * x + rng.normal(size=n)
    if ties:
        x, y = np.round(x), np.round(y)
    case = dict(x=x.tolist(), y=y.tolist(), pearson=stats.pearsonr(x, y).statistic, spearman=stats.spearmanr(x, y).statistic,
                kendall=stats.kendalltau(x, y).statistic, asymptotic=stats.pearsonr(x, y).pvalue)
    if n == 6:
        for name, f in [("pearson", lambda a: stats.pearsonr(a, y).statistic), ("spearman", lambda a: stats.spearmanr(a, y).statistic),
                        ("kendall", lambda a: stats.kendalltau(a, y).statistic)]:
            # Both-sided on |r|: SciPy doubles the smaller tail, so count directly.
            import itertools
            values = np.array([f(np.array(o)) for o in itertools.permutations(x)])
            case[name + "P"] = float(np.mean(np.abs(values) >= abs(f(x)) - 1e-12))
    cases.append(case)
out["correlation"] = cases

# Significance.
cases = []
for n, digits in [(8, 3), (12, 0), (30, 6), (80, 1)]:
    a = np.round(rng.normal(size=n), digits)
    b = np.round(a + rng.normal(0.3, 1, size=n), digits)
    got = stats.wilcoxon(a, b)
    d = (a - b)[(a - b) != 0]
    if n == 12:
        got = stats.wilcoxon(d, method=stats.PermutationMethod(n_resamples=np.inf))
    cases.append(dict(a=a.tolist(), b=b.tolist(), statistic=float(got.statistic), p=float(got.pvalue)))
out["wilcoxon"] = cases
out["mcnemar"] = [dict(a=a, b=b, p=stats.binomtest(min(a, b), a + b).pvalue) for a, b in [(3, 9), (0, 6), (5, 5), (40, 61), (400, 340)]]
out["mcnemarLarge"] = dict(a=800, b=900, p=float(stats.chi2.sf((abs(800 - 900) - 1) ** 2 / 1700, 1)))
sample = rng.exponential(size=40)
boot = {}
for method in ["percentile", "BCa"]:
    got = stats.bootstrap((sample,), np.mean, n_resamples=200_000, method=method, rng=np.random.default_rng(1))
    boot[method.lower()] = [float(got.confidence_interval.low), float(got.confidence_interval.high)]
out["bootstrap"] = dict(sample=sample.tolist(), **boot)
z = [-8, -3, -1, -0.1, 0, 0.5, 2, 2.9, 4]
out["special"] = dict(z=z, cdf=special.ndtr(z).tolist(), p=[1e-12, 1e-3, 0.025, 0.5, 0.7, 0.999], quantile=special.ndtri([1e-12, 1e-3, 0.025, 0.5, 0.7, 0.999]).tolist())

# Calibration.
logits = rng.normal(size=(60, 4)) * 3
truth = np.array([rng.choice(4, p=special.softmax(row / 2)) for row in logits])
nll = lambda t: float(-np.mean(special.log_softmax(logits / t, axis=1)[np.arange(60), truth]))
best = optimize.minimize_scalar(lambda u: nll(np.exp(u)), bounds=(-4, 4), method="bounded", options=dict(xatol=1e-12))
prob = special.softmax(logits, axis=1)
conf, hit = prob.max(1), prob.argmax(1) == truth
ece = sum(abs(hit[m].mean() - conf[m].mean()) * m.mean() for m in [(np.minimum((conf * 10).astype(int), 9) == b) for b in range(10)] if m.any())
out["calibration"] = dict(logits=logits.tolist(), truth=truth.tolist(), temperature=float(np.exp(best.x)), nll=best.fun, nll1=nll(1.0),
                          ece=float(ece), brier=float(np.mean(np.sum((prob - np.eye(4)[truth]) ** 2, 1))))

path = pathlib.Path(__file__).parents[2] / "test/fixtures/metrics/basic.json"
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
