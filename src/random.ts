/**
 * Random numbers that are functions of named keys, never of what ran before: `random(seed, "shuffle", epoch)` is the
 * same stream on every machine, so any state of a run can be computed again after a resume.
 */

/** Mixes 32 bits (the finaliser of MurmurHash3); the input's bits each change half of the output's. */
export function mix32(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Hashes any mixture of numbers and strings to 32 bits. */
export function hash32(...keys: (number | string)[]): number {
  let h = 0x9e3779b9;
  const add = (word: number) => {
    h = mix32(h ^ word) + 0x9e3779b9;
  };
  for (const key of keys) {
    if (typeof key === "number") {
      add(key | 0);
      add(Math.floor(key / 4294967296) | 0);
      if (!Number.isInteger(key))
        for (const word of new Uint32Array(new Float64Array([key]).buffer)) add(word);
    } else {
      for (let i = 0; i < key.length; i++) add(key.charCodeAt(i));
      add(-1 - key.length);
    }
  }
  return mix32(h);
}

export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  next(): number;
  /** Uniform integer in [0, n). */
  int(n: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** A new array with the items in random order (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

/** A stream (sfc32) named by its keys. */
export function random(...keys: (number | string)[]): Random {
  let a = hash32("a", ...keys) | 0;
  let b = hash32("b", ...keys) | 0;
  let c = hash32("c", ...keys) | 0;
  let counter = 1;
  const word = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) word();
  const next = () => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992;
  const int = (n: number) => Math.floor(next() * n);
  return {
    next,
    int,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    shuffle: (items) => {
      const out = [...items];
      for (let i = out.length - 1; i > 0; i--) {
        const j = int(i + 1);
        [out[i], out[j]] = [out[j], out[i]];
      }
      return out;
    },
  };
}
