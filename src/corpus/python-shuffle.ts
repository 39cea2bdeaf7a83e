/**
 * Python's `random.seed(seed); random.shuffle(items)`, for lists that published code draws so: the Mersenne Twister (M.
 * Matsumoto and T. Nishimura, 1998), seeded as CPython seeds it with a whole number below 2^32, and its Fisher-Yates
 * shuffle with rejection. Returns a new array.
 */
export function pythonShuffle<Item>(items: readonly Item[], seed: number): Item[] {
  const next = mersenneTwister(seed);
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const bits = 32 - Math.clz32(i + 1);
    let j: number;
    do j = next() >>> (32 - bits);
    while (j > i);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

const size = 624;
const middle = 397;

/** 32-bit outputs of MT19937 after `init_by_array([seed])`. */
function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(size);
  state[0] = 19650218;
  for (let i = 1; i < size; i++) state[i] = Math.imul(1812433253, mixed(state[i - 1])) + i;
  let at = 1;
  const advance = () => {
    if (++at >= size) {
      state[0] = state[size - 1];
      at = 1;
    }
  };
  for (let k = 0; k < size; k++) {
    state[at] = (state[at] ^ Math.imul(mixed(state[at - 1]), 1664525)) + seed;
    advance();
  }
  for (let k = 1; k < size; k++) {
    state[at] = (state[at] ^ Math.imul(mixed(state[at - 1]), 1566083941)) - at;
    advance();
  }
  state[0] = 0x80000000;
  let used = size;
  return () => {
    if (used === size) {
      for (let i = 0; i < size; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % size] & 0x7fffffff);
        state[i] = state[(i + middle) % size] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      used = 0;
    }
    let y = state[used++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

const mixed = (x: number) => x ^ (x >>> 30);
