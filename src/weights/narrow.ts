import { floatToHalf } from "./half.ts";
import type { Dtype } from "./tensor-file.ts";

/** Float32 values in the form that another element type is stored in; ties round to even. */
export function narrow(values: Float32Array, dtype: Dtype): ArrayBufferView {
  if (dtype === "F32") return values;
  if (dtype === "F64") return Float64Array.from(values);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  if (dtype === "F16") for (let i = 0; i < out.length; i++) out[i] = floatToHalf(values[i]);
  else if (dtype === "BF16") for (let i = 0; i < out.length; i++) out[i] = brainBits(words[i]);
  else throw new RangeError(`float32 values cannot be written as ${dtype}`);
  return out;
}

/** The upper half of a float32, rounded; a NaN stays one. */
function brainBits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
