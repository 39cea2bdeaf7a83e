/** Corpus BLEU (Papineni et al. 2002) with the tokenisation and smoothing that sacreBLEU uses by default. */

const entities: Record<string, string> = { "&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">" };

/**
 * Tokens of NIST's mteval-v13a: ASCII punctuation apart from ' , - . stands alone; full stops and commas do unless between
 * digits, dashes do after a digit.
 */
export function tokenize13a(text: string): string[] {
  let line = text.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  for (const [entity, character] of Object.entries(entities)) line = line.replaceAll(entity, character);
  return ` ${line} `
    .replace(/[!-&(-+/:-@[-`{-~]/g, " $& ")
    .replace(/([^0-9])([.,])/g, "$1 $2 ")
    .replace(/([.,])([^0-9])/g, " $1 $2")
    .replace(/([0-9])(-)/g, "$1 $2 ")
    .split(/\s+/u)
    .filter((token) => token !== "");
}

export interface BleuOptions {
  /** Longest n-gram, default 4. */
  order?: number;
  tokenize?: (text: string) => string[];
  /** `exponential` (default): the k-th precision without a match counts as 1 / (2^k total), as in mteval-v13a. */
  smoothing?: "exponential" | "none";
}

export interface Bleu {
  /** 0 to 100. */
  score: number;
  /** Modified precisions in per cent, smoothed, n = 1 to `order`. */
  precisions: number[];
  brevityPenalty: number;
  hypothesisTokens: number;
  /** Of the closest reference of each segment. */
  referenceTokens: number;
}

/** BLEU of a corpus; `references[i]` holds one or more references of hypothesis i. */
export function corpusBleu(
  hypotheses: readonly string[],
  references: readonly (readonly string[])[],
  { order = 4, tokenize = tokenize13a, smoothing = "exponential" }: BleuOptions = {},
): Bleu {
  if (hypotheses.length !== references.length)
    throw new RangeError(`${hypotheses.length} hypotheses but references for ${references.length}`);
  const matches = new Array<number>(order).fill(0);
  const totals = new Array<number>(order).fill(0);
  let [hypothesisTokens, referenceTokens] = [0, 0];
  hypotheses.forEach((hypothesis, i) => {
    const tokens = tokenize(hypothesis);
    const texts = references[i].map(tokenize);
    hypothesisTokens += tokens.length;
    referenceTokens += closestSize(
      texts.map((text) => text.length),
      tokens.length,
    );
    for (let n = 1; n <= order; n++) {
      const limits = texts.map((text) => countNgrams(text, n));
      for (const [ngram, count] of countNgrams(tokens, n)) {
        totals[n - 1] += count;
        matches[n - 1] += Math.min(count, Math.max(0, ...limits.map((limit) => limit.get(ngram) ?? 0)));
      }
    }
  });

  let halvings = 1;
  const precisions = totals.map((total, n) => {
    if (total === 0) return 0;
    if (matches[n] > 0) return (100 * matches[n]) / total;
    return smoothing === "none" ? 0 : 100 / ((halvings *= 2) * total);
  });
  const brevityPenalty =
    hypothesisTokens >= referenceTokens
      ? 1
      : hypothesisTokens === 0
        ? 0
        : Math.exp(1 - referenceTokens / hypothesisTokens);
  // Not one match at all is 0, smoothing or not.
  const logs = precisions.reduce((sum, p) => sum + Math.log(p), 0);
  const score = matches.some((n) => n > 0) ? brevityPenalty * Math.exp(logs / order) : 0;
  return { score, precisions, brevityPenalty, hypothesisTokens, referenceTokens };
}

/** Tokens hold no blanks, so a blank joins them without confusion. */
function countNgrams(tokens: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= tokens.length; i++) {
    const ngram = tokens.slice(i, i + n).join(" ");
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}

/** The shorter of equally close sizes. */
function closestSize(sizes: readonly number[], target: number): number {
  return sizes.reduce((best, size) => {
    const [a, b] = [Math.abs(size - target), Math.abs(best - target)];
    return a < b || (a === b && size < best) ? size : best;
  });
}
