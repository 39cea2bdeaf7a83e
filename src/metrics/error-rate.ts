/**
 * Word, character and phoneme error rates by Levenshtein alignment, micro-averaged as NIST and jiwer do: all edits over
 * all reference tokens. What a token is (a word, a character, a phoneme) is the caller's choice.
 */

export type EditOp = "match" | "substitution" | "deletion" | "insertion";

/** One column of an alignment; `ref` is undefined for an insertion, `hyp` for a deletion. */
export interface AlignedPair {
  op: EditOp;
  ref?: string;
  hyp?: string;
}

export interface ErrorCounts {
  errors: number;
  substitutions: number;
  deletions: number;
  insertions: number;
  referenceTokens: number;
  /** errors / referenceTokens; 0 if both are 0, Infinity for insertions against empty references. */
  rate: number;
}

/**
 * A cheapest alignment of two token sequences (each edit costs 1). Where several are cheapest, the walk back from the end
 * prefers a deletion, then a match or substitution, then an insertion: the choice of rapidfuzz, hence the counts of jiwer.
 * Memory is 4 bytes * (ref + 1) * (hyp + 1).
 */
export function align(ref: readonly string[], hyp: readonly string[]): AlignedPair[] {
  const width = hyp.length + 1;
  const cost = new Uint32Array((ref.length + 1) * width);
  for (let j = 0; j < width; j++) cost[j] = j;
  for (let i = 1; i <= ref.length; i++) {
    cost[i * width] = i;
    for (let j = 1; j < width; j++) {
      const at = i * width + j;
      const diagonal = cost[at - width - 1] + (ref[i - 1] === hyp[j - 1] ? 0 : 1);
      cost[at] = Math.min(diagonal, cost[at - width] + 1, cost[at - 1] + 1);
    }
  }

  const columns: AlignedPair[] = [];
  for (let i = ref.length, j = hyp.length; i > 0 || j > 0; ) {
    const at = i * width + j;
    const same = i > 0 && j > 0 && ref[i - 1] === hyp[j - 1];
    if (i > 0 && cost[at] === cost[at - width] + 1) {
      columns.push({ op: "deletion", ref: ref[--i] });
    } else if (i > 0 && j > 0 && cost[at] === cost[at - width - 1] + (same ? 0 : 1)) {
      columns.push({ op: same ? "match" : "substitution", ref: ref[--i], hyp: hyp[--j] });
    } else {
      columns.push({ op: "insertion", hyp: hyp[--j] });
    }
  }
  return columns.reverse();
}

/** Edits of one pair of sequences, by kind. */
export function countEdits(ref: readonly string[], hyp: readonly string[]): ErrorCounts {
  const counts = { substitutions: 0, deletions: 0, insertions: 0 };
  for (const { op } of align(ref, hyp)) {
    if (op === "substitution") counts.substitutions++;
    else if (op === "deletion") counts.deletions++;
    else if (op === "insertion") counts.insertions++;
  }
  return withRate(counts, ref.length);
}

/** Adds the counts of utterances and forms the rate of the whole (micro average). */
export function sumErrors(utterances: readonly ErrorCounts[]): ErrorCounts {
  const total = { substitutions: 0, deletions: 0, insertions: 0 };
  let referenceTokens = 0;
  for (const one of utterances) {
    total.substitutions += one.substitutions;
    total.deletions += one.deletions;
    total.insertions += one.insertions;
    referenceTokens += one.referenceTokens;
  }
  return withRate(total, referenceTokens);
}

/** Micro-averaged error rate of a set of utterances; the two lists must be equally long. */
export function errorRate(
  references: readonly (readonly string[])[],
  hypotheses: readonly (readonly string[])[],
): ErrorCounts {
  if (references.length !== hypotheses.length)
    throw new RangeError(`${references.length} references but ${hypotheses.length} hypotheses`);
  return sumErrors(references.map((ref, i) => countEdits(ref, hypotheses[i])));
}

function withRate(
  counts: { substitutions: number; deletions: number; insertions: number },
  referenceTokens: number,
): ErrorCounts {
  const errors = counts.substitutions + counts.deletions + counts.insertions;
  const rate = errors === 0 ? 0 : errors / referenceTokens;
  return { errors, ...counts, referenceTokens, rate };
}

/** Whitespace-separated words; runs of blanks and blanks at the ends do not make empty words. */
export const words = (text: string): string[] => text.split(/\s+/u).filter((word) => word !== "");

/** Characters by code point, white space included, as jiwer's CER counts them. */
export const characters = (text: string): string[] => [...text];
