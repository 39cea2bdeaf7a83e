import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { egemaps } from "../../src/audio/acoustics/egemaps.ts";

// openSMILE's values for signals that both sides make from one formula: scripts/reference/acoustics-opensmile.py.

interface Case {
  rate: number;
  seconds: number;
  f0: number;
  glide: number;
  functionals: Record<string, number>;
  descriptors: string[];
  frames: number;
  values: number[][];
}

const cases: Case[] = JSON.parse(
  readFileSync(new URL("../fixtures/acoustics/opensmile-synthetic.json", import.meta.url), "utf8"),
);

function signal({ rate, seconds, f0, glide }: Case): Float32Array {
  let state = 1;
  return Float32Array.from({ length: Math.trunc(rate * seconds) }, (_, i) => {
    const t = i / rate;
    const phase = 2 * Math.PI * (f0 * t + (glide * t * t) / 2);
    let x = 0;
    for (let h = 1; h < 15; h++) x += Math.sin(h * phase) / h ** 1.2;
    const burst = Math.sqrt(Math.max(0, Math.sin(2 * Math.PI * 2.3 * t)));
    state = (state * 16807) % 2147483647;
    return Math.round(32768 * (0.15 * burst * x + 0.01 * (state / 2147483647 - 0.5))) / 32768;
  });
}

/** Roots of a nearly singular predictor: rounding shows, see docs/features.md. */
const formant = /F\d(frequency|bandwidth)|F\damplitude|A3/;

describe.each(cases)("eGeMAPS of a synthetic voice at $rate Hz", (reference) => {
  const { lld, functionals } = egemaps(signal(reference), reference.rate);

  it("has openSMILE's functionals", () => {
    for (const [name, value] of Object.entries(reference.functionals)) {
      const tolerance = formant.test(name) ? 0.1 : 2e-3;
      expect(Math.abs(functionals[name] - value), name).toBeLessThan(tolerance * Math.abs(value) + 1e-5);
    }
  });

  it("has openSMILE's descriptors", () => {
    expect(lld.names).toEqual(reference.descriptors);
    expect(lld.frames).toHaveLength(reference.frames);
    reference.values.forEach((row, r) => {
      row.forEach((value, c) => {
        if (formant.test(lld.names[c])) return;
        const difference = Math.abs(lld.frames[5 * r][c] - value);
        expect(difference, `${lld.names[c]} of frame ${5 * r}`).toBeLessThan(2e-3 * Math.abs(value) + 1e-4);
      });
    });
  });
});
