import { normalisePhone, phoneClassifier } from "./phones.ts";

/** Percentages of canonical phones that were recognised; NaN where there is none of the kind. */
export interface Pronunciation {
  /** Percent correct consonants, vowels and phones in total. */
  pcc: number;
  pcv: number;
  pct: number;
}

/**
 * Aligns freely recognised phones with the canonical ones (least number of substitutions, insertions and deletions) and
 * counts the canonical phones that were matched (E. J. Yeo et al., Interspeech 2021, after Shriberg & Kwiatkowski 1982).
 * `recognised` must not come from a forced alignment, which contains the canonical phones by construction. Silences
 * and stress marks are ignored on both sides.
 */
export function pronunciation(recognised: readonly string[], canonical: readonly string[]): Pronunciation {
  const phoneClass = phoneClassifier([...canonical, ...recognised]);
  const spoken = recognised.filter((p) => phoneClass(p) !== "silence").map(normalisePhone);
  const wanted = canonical.filter((p) => phoneClass(p) !== "silence").map(normalisePhone);
  const matched = matches(spoken, wanted);
  const share = (keep: (phone: string) => boolean) => {
    let all = 0;
    let correct = 0;
    wanted.forEach((phone, i) => {
      if (!keep(phone)) return;
      all++;
      if (matched[i]) correct++;
    });
    return all > 0 ? (100 * correct) / all : Number.NaN;
  };
  return {
    pcc: share((p) => phoneClass(p) === "consonant"),
    pcv: share((p) => phoneClass(p) === "vowel"),
    pct: share(() => true),
  };
}

/** Which phones of `wanted` an optimal alignment matches; among optimal alignments one with the most matches. */
function matches(spoken: string[], wanted: string[]): boolean[] {
  const width = spoken.length + 1;
  // Edits weigh more than any number of matches can give back.
  const edit = wanted.length + 1;
  const cost = new Float64Array((wanted.length + 1) * width);
  for (let i = 0; i <= wanted.length; i++) {
    for (let j = 0; j <= spoken.length; j++) {
      if (i === 0 || j === 0) cost[i * width + j] = (i + j) * edit;
      else {
        const diagonal = cost[(i - 1) * width + j - 1] + (wanted[i - 1] === spoken[j - 1] ? -1 : edit);
        const skip = Math.min(cost[(i - 1) * width + j], cost[i * width + j - 1]) + edit;
        cost[i * width + j] = Math.min(diagonal, skip);
      }
    }
  }
  const found = wanted.map(() => false);
  let i = wanted.length;
  let j = spoken.length;
  while (i > 0 && j > 0) {
    const same = wanted[i - 1] === spoken[j - 1];
    if (cost[i * width + j] === cost[(i - 1) * width + j - 1] + (same ? -1 : edit)) {
      found[i - 1] = same;
      i--;
      j--;
    } else if (cost[i * width + j] === cost[(i - 1) * width + j] + edit) i--;
    else j--;
  }
  return found;
}
