import type { Dtype } from "./tensor-file.ts";

/** Float32 values in the form that another element type is stored in; ties round to even. */
export function narrow(values: Float32Array, dtype: Dtype): ArrayBufferView {
  if (dtype === "F32") return values;
  if (dtype === "F64") return Float64Array.from(values);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  if (dtype === "F16") for (let i = 0; i < out.length; i++) out[i] = halfBits(words[i]);
  else if (dtype === "BF16") for (let i = 0; i < out.length; i++) out[i] = brainBits(words[i]);
  else throw new RangeError(`float32 values cannot be written as ${dtype}`);
  return out;
}

/** The upper half of a float32, rounded; a NaN stays one. */
function brainBits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/** IEEE 754 binary16 bits of a float32 given by its bits: rounded, subnormals kept, what is too large infinite. */
export function halfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520, halfway between the largest half and the next power of two, rounds to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: the exponent's bias changes by 112, 13 bits of the fraction go.
    const rebiased = magnitude - 0x38000000;
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  // Below half of the smallest subnormal, 2^-25 included (a tie with 0, which is even).
  if (magnitude <= 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const low = fraction & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  let bits = fraction >>> shift;
  if (low > half || (low === half && (bits & 1) === 1)) bits++;
  return sign | bits;
}
