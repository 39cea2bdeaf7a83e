import { type Random, random } from "../random.ts";
import type { Recipe } from "./recipe-schema.ts";

/** Training audio as the recipe changes it: a function of the keys; the given waves stay as they are. */
export function augmented(
  waves: readonly Float32Array[],
  { speed, noise }: Pick<Recipe["augment"], "speed" | "noise">,
  ...keys: (number | string)[]
): Float32Array[] {
  return waves.map((wave, row) => {
    let out = wave;
    if (speed !== undefined) out = atSpeed(out, between(speed, random(...keys, "speed", row)));
    if (noise !== undefined) {
      const chance = random(...keys, "noise", row);
      out = withNoise(out, between(noise, chance), chance);
    }
    return out;
  });
}

const between = ([low, high]: readonly [number, number], chance: Random): number =>
  low + (high - low) * chance.next();

/**
 * The wave played `factor` times as fast: floor(samples / factor) samples, each from a cubic through its four neighbours
 * (Catmull-Rom). Faster play folds what lies above half the new rate, which is little in speech and no matter here.
 */
export function atSpeed(wave: Float32Array, factor: number): Float32Array {
  if (factor === 1) return wave;
  const out = new Float32Array(Math.floor(wave.length / factor));
  const at = (i: number) => wave[Math.min(wave.length - 1, Math.max(0, i))];
  for (let n = 0; n < out.length; n++) {
    const place = n * factor;
    const i = Math.floor(place);
    const t = place - i;
    const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    out[n] = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  }
  return out;
}

/** White Gaussian noise, `ratio` dB below the wave's mean power. */
export function withNoise(wave: Float32Array, ratio: number, chance: Random): Float32Array {
  const power = wave.reduce((sum, x) => sum + x * x, 0) / Math.max(1, wave.length);
  const size = Math.sqrt(power) * 10 ** (-ratio / 20);
  return wave.map((x) => x + size * chance.normal());
}
