import type { Random } from "../random.ts";

/** Spans to hide along an axis (SpecAugment, Park et al. 2019), in the terms of Hugging Face's configurations. */
export interface SpanMask {
  /** Share of the axis that spans start out to cover; overlaps make it less. */
  readonly prob: number;
  readonly length: number;
  /** Spans that each row gets at least. */
  readonly minMasks: number;
}

/**
 * Spans drawn as transformers' `_compute_mask_indices` draws them: as many as prob * size / length with one chance
 * rounding for the batch, starts distinct and uniform, overlaps allowed.
 *
 * @param sizes valid length of each row
 * @param width length of the axis
 * @returns bytes [rows, width], 1 where hidden
 */
export function spanMask(
  sizes: readonly number[],
  width: number,
  { prob, length, minMasks }: SpanMask,
  chance: Random,
): Uint8Array {
  const out = new Uint8Array(sizes.length * width);
  const rounding = chance.next();
  const spans = (size: number) => {
    const wanted = Math.max(Math.trunc((prob * size) / length + rounding), minMasks);
    const fitting = wanted * length > width ? Math.floor(width / length) : wanted;
    return Math.min(fitting, Math.max(0, size - length + 1));
  };
  for (const [row, size] of sizes.entries())
    for (const start of distinct(size - length + 1, spans(size), chance))
      out.fill(1, row * width + start, row * width + start + length);
  return out;
}

/** `count` different whole numbers below `n`, each set equally likely (Floyd's algorithm). */
function distinct(n: number, count: number, chance: Random): Set<number> {
  const chosen = new Set<number>();
  for (let top = n - count; top < n; top++) {
    const pick = chance.int(top + 1);
    chosen.add(chosen.has(pick) ? top : pick);
  }
  return chosen;
}
