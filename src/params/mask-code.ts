import { bitsOf, rankedMagnitude, TopScores } from "./select.ts";

/**
 * A mask in few bytes. Whoever unpacks it has the backbone, and a learned mask drops mostly what magnitude pruning would: each
 * bit is coded given how its weight's magnitude compares with the threshold at which magnitude pruning drops equally many. The
 * difference to the magnitude mask is so what costs bits, and little of it far from the threshold. The coder is range asymmetric
 * numeral systems (Duda 2013) over two symbols, with the share of zeros in each context counted beforehand.
 */

const MAGNITUDE = 0x7fffffff;
/** Units of the share of zeros. */
const SCALE = 65_536;
/** States are at least this large; words of 16 bits go in and out. */
const LOWEST = 65_536;
/** Contexts on either side of the threshold: steps of 1/64 octave near it, of half an eighth farther away. */
const NEAR = 32;
const SIDE = 64;
export const CONTEXTS = 2 * SIDE;

/** Signed steps of 1/64 octave from the threshold to the context. */
const CONTEXT_OF = (() => {
  const reach = NEAR + 8 * (SIDE - NEAR);
  const table = new Uint8Array(2 * reach);
  for (let step = -reach; step < reach; step++) {
    const away = step < 0 ? -1 - step : step;
    const ring = away < NEAR ? away : NEAR + Math.floor((away - NEAR) / 8);
    table[step + reach] = step < 0 ? SIDE - 1 - ring : SIDE + ring;
  }
  return { table, reach };
})();

/** Bits of the smallest magnitude that magnitude pruning would keep of these weights. */
export function magnitudeThreshold(weights: Float32Array, zeros: number): number {
  if (zeros >= weights.length) return MAGNITUDE;
  return rankedMagnitude([bitsOf(weights)], zeros).bits;
}

/** The context of each weight: where its magnitude lies beside the threshold. */
export function contextsOf(weights: Float32Array, threshold: number): Uint8Array {
  const { table, reach } = CONTEXT_OF;
  const bits = bitsOf(weights);
  const out = new Uint8Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    // A float's bits move by 2^23 per octave.
    const step = ((bits[i] & MAGNITUDE) - threshold) >> 17;
    out[i] = table[(step < -reach ? -reach : step >= reach ? reach - 1 : step) + reach];
  }
  return out;
}

/**
 * Codes a mask (one bit a weight, 1 for kept). The result: the number of 16-bit words, the contexts' shares of zeros, the coder's
 * last state, the words.
 */
export function encodeMask(bits: Uint8Array, weights: Float32Array, zeros: number): Uint8Array {
  const contexts = contextsOf(weights, magnitudeThreshold(weights, zeros));
  const counts = new Uint32Array(2 * CONTEXTS);
  for (let i = 0; i < weights.length; i++) counts[2 * contexts[i] + ((bits[i >> 3] >> (i & 7)) & 1)]++;
  const share = new Uint16Array(CONTEXTS);
  for (let c = 0; c < CONTEXTS; c++) {
    const total = counts[2 * c] + counts[2 * c + 1];
    // Neither symbol may have no room, or it could not be coded.
    if (total > 0) share[c] = Math.min(SCALE - 1, Math.max(1, Math.round((counts[2 * c] / total) * SCALE)));
    else share[c] = SCALE / 2;
  }
  const words: number[] = [];
  let state = LOWEST;
  for (let i = weights.length - 1; i >= 0; i--) {
    const p0 = share[contexts[i]];
    const one = (bits[i >> 3] >> (i & 7)) & 1;
    const size = one === 1 ? SCALE - p0 : p0;
    if (state >= size * SCALE) {
      words.push(state & 0xffff);
      state >>>= 16;
    }
    state = Math.floor(state / size) * SCALE + (state % size) + (one === 1 ? p0 : 0);
  }
  const out = new Uint8Array(4 + 2 * CONTEXTS + 4 + 2 * words.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, words.length, true);
  for (let c = 0; c < CONTEXTS; c++) view.setUint16(4 + 2 * c, share[c], true);
  view.setUint32(4 + 2 * CONTEXTS, state, true);
  const start = 8 + 2 * CONTEXTS;
  for (let k = 0; k < words.length; k++) view.setUint16(start + 2 * k, words[words.length - 1 - k], true);
  return out;
}

/** The mask's bits, of what `encodeMask` made over the same weights. @throws RangeError where the code is cut or damaged */
export function decodeMask(code: Uint8Array, weights: Float32Array, zeros: number): Uint8Array {
  const start = 8 + 2 * CONTEXTS;
  if (code.length < start) throw new RangeError("the code of a mask is cut off");
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  const count = view.getUint32(0, true);
  if (code.length !== start + 2 * count)
    throw new RangeError("the code of a mask has another length than it says");
  const share = Uint16Array.from({ length: CONTEXTS }, (_, c) => view.getUint16(4 + 2 * c, true));
  const words = new Uint16Array(count);
  for (let k = 0; k < count; k++) words[k] = view.getUint16(start + 2 * k, true);
  const contexts = contextsOf(weights, magnitudeThreshold(weights, zeros));
  const bits = new Uint8Array(Math.ceil(weights.length / 8));
  let state = view.getUint32(4 + 2 * CONTEXTS, true);
  let next = 0;
  for (let i = 0; i < weights.length; i++) {
    const p0 = share[contexts[i]];
    const slot = state & 0xffff;
    if (slot < p0) state = Math.imul(p0, state >>> 16) + slot;
    else {
      bits[i >> 3] |= 1 << (i & 7);
      state = Math.imul(SCALE - p0, state >>> 16) + slot - p0;
    }
    state >>>= 0;
    if (state < LOWEST) state = ((state << 16) | words[next++]) >>> 0;
  }
  if (next !== count || state !== LOWEST)
    throw new RangeError("the code of a mask does not end where it should");
  return bits;
}

/**
 * How much of a mask magnitude pruning would have chosen: the share of its zeros that are zeros of the mask by magnitude with as
 * many. 1 for a mask that was never learned, about the sparsity for a random one; 1 where there are no zeros.
 */
export function magnitudeOverlap(bits: Uint8Array, weights: Float32Array, zeros: number): number {
  if (zeros === 0) return 1;
  const kept = new Float32Array(weights.length);
  const ones = new Float32Array(weights.length).fill(1);
  new TopScores([{ scores: bitsOf(weights), weights: bitsOf(ones), effective: bitsOf(kept) }], zeros).apply();
  let shared = 0;
  for (let i = 0; i < kept.length; i++) if (kept[i] === 0 && ((bits[i >> 3] >> (i & 7)) & 1) === 0) shared++;
  return shared / zeros;
}
