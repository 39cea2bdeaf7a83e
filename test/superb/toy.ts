import { random } from "../../src/random.ts";
import type { FrozenUpstream } from "../../src/superb/upstream.ts";

/**
 * An upstream without a network: of three "layers" only the second hears anything, the energies of a few bands of
 * frames of 20 ms; the others are noise that follows from the samples.
 */
export function toyUpstream(overrides: Partial<FrozenUpstream> = {}): FrozenUpstream & { heard: number } {
  const [hop, dim] = [320, 12];
  const frames = (samples: number) => Math.floor(samples / hop);
  const toy = {
    ...{
      name: "toy",
      hash: "0".repeat(32),
      layers: 3,
      dim,
      sampleRate: 16_000,
      hop,
      normalize: false,
      heard: 0,
    },
    frames,
    hear: async (wave: Float32Array) => {
      toy.heard++;
      const count = frames(wave.length);
      const noise = random("toy", wave.length, Math.round(1e6 * wave[100]));
      const layer = (value: (frame: number, d: number) => number) =>
        Float32Array.from({ length: count * dim }, (_, i) => value(Math.floor(i / dim), i % dim));
      return {
        frames: count,
        layers: [
          layer(() => noise.normal()),
          layer((frame, d) => Math.log(1e-3 + power(wave, frame * hop, hop, 300 + 250 * d))),
          layer(() => noise.normal()),
        ],
      };
    },
    dispose: async () => {},
    ...overrides,
  };
  return toy;
}

/** Goertzel: power of `count` samples at a frequency. */
function power(wave: Float32Array, start: number, count: number, hertz: number): number {
  let [re, im] = [0, 0];
  for (let i = 0; i < count; i++) {
    const phase = (2 * Math.PI * hertz * i) / 16_000;
    re += wave[start + i] * Math.cos(phase);
    im += wave[start + i] * Math.sin(phase);
  }
  return (re * re + im * im) / count;
}
