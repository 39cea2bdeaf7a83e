import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { convolve, type Degradation, degrade } from "../../src/corpus/degradation.ts";
import { random } from "../../src/random.ts";

const rate = 16000;
const power = (x: Float32Array) => x.reduce((sum, v) => sum + v * v, 0) / x.length;
const decibels = (ratio: number) => 10 * Math.log10(ratio);
const tone = (hz: number, samples = 16000) =>
  Float32Array.from({ length: samples }, (_, t) => 0.3 * Math.sin((2 * Math.PI * hz * t) / rate));
const sum = (a: Float32Array, b: Float32Array) => a.map((v, i) => v + b[i]);
/** Power at one frequency. */
const at = (x: Float32Array, hz: number) => {
  let [re, im] = [0, 0];
  x.forEach((v, t) => {
    re += v * Math.cos((2 * Math.PI * hz * t) / rate);
    im += v * Math.sin((2 * Math.PI * hz * t) / rate);
  });
  return (re * re + im * im) / x.length ** 2;
};
const one = (x: Float32Array, change: Degradation, seed = 1) => degrade(x, rate, [change], seed);

test("noise has the ratio that was asked for", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -10, max: 40 }),
      fc.constantFrom("white", "pink"),
      fc.nat(99),
      (snr, color, seed) => {
        const speech = tone(440, 4000);
        const noise = one(speech, { kind: "noise", snr, color: color as "white" | "pink" }, seed).map(
          (v, i) => v - speech[i],
        );
        expect(decibels(power(speech) / power(noise))).toBeCloseTo(snr, 1);
      },
    ),
    { numRuns: 30 },
  );
  const silence = new Float32Array(16000);
  silence[0] = 1;
  const low = (color: "white" | "pink") => {
    const noise = one(silence, { kind: "noise", snr: 0, color });
    const smooth = noise.map((_, i) => (i < 8 ? 0 : noise.subarray(i - 8, i).reduce((s, v) => s + v, 0) / 8));
    return power(smooth) / power(noise);
  };
  expect(low("pink")).toBeGreaterThan(2 * low("white"));
  const hum = tone(50);
  const mixed = one(tone(1000), { kind: "noise", snr: 0, recording: hum.slice(0, 3200) });
  expect(at(mixed, 50)).toBeCloseTo(at(tone(1000), 1000), 3);
  expect(() => one(hum, { kind: "noise", snr: 3, recording: new Float32Array(5) })).toThrow(/silent/);
});

test("reverberation decays by 60 dB in the time that was asked for", () => {
  for (const seconds of [0.3, 0.8]) {
    const impulse = new Float32Array(2 * rate);
    impulse[0] = 1;
    const response = one(impulse, { kind: "reverberation", seconds, direct: 0 });
    const level = (t: number) =>
      decibels(power(response.subarray(Math.round(t * rate), Math.round((t + 0.05) * rate))));
    const slope = (level(0.6 * seconds) - level(0.1 * seconds)) / (0.5 * seconds);
    expect(slope * seconds).toBeGreaterThan(-66);
    expect(slope * seconds).toBeLessThan(-54);
    expect(decibels(response[0] ** 2 / (power(response.subarray(1)) * (response.length - 1)))).toBeCloseTo(
      0,
      1,
    );
  }
  const speech = tone(300);
  expect(power(one(speech, { kind: "reverberation", seconds: 0.5 }))).toBeCloseTo(power(speech), 4);
});

test("convolution is that of its definition", () => {
  const chance = random(1);
  const [a, b] = [37, 12].map((n) => Float32Array.from({ length: n }, () => chance.normal()));
  const plain = new Float32Array(48);
  a.forEach((x, i) => {
    b.forEach((y, j) => {
      plain[i + j] += x * y;
    });
  });
  const fast = convolve(a, b);
  expect(fast.length).toBe(48);
  fast.forEach((v, i) => {
    expect(v).toBeCloseTo(plain[i], 4);
  });
});

describe("codec", () => {
  test("the telephone keeps 300 to 3400 Hz in place and no other", () => {
    const band = [150, 1000, 3000, 3900, 6000].map((hz) =>
      decibels(at(one(tone(hz), { kind: "codec", codec: "telephone" }), hz) / at(tone(hz), hz)),
    );
    expect(band[0]).toBeLessThan(-15);
    expect(Math.abs(band[1])).toBeLessThan(1);
    expect(Math.abs(band[2])).toBeLessThan(1);
    expect(band[3]).toBeLessThan(-15);
    expect(band[4]).toBeLessThan(-30);
    const speech = tone(1000);
    const coded = one(speech, { kind: "codec", codec: "telephone" });
    expect(coded.length).toBe(speech.length);
    const error = coded.map((v, i) => v - speech[i]).subarray(400, -400);
    // Eight bits by mu-law: 38 dB for sines.
    expect(decibels(power(speech) / power(error))).toBeGreaterThan(30);
  });

  test("fewer bits, six decibels each", () => {
    const speech = sum(tone(440), tone(717));
    const ratio = (bits: number) => {
      const error = one(speech, { kind: "codec", codec: "bits", bits }).map((v, i) => v - speech[i]);
      return decibels(power(speech) / power(error));
    };
    expect(ratio(10) - ratio(6)).toBeGreaterThan(22);
    expect(ratio(10) - ratio(6)).toBeLessThan(26);
  });
});

test("speed moves pitch and duration, gain the level, clipping the share of limits", () => {
  const faster = one(tone(400), { kind: "speed", factor: 1.25 });
  expect(faster.length).toBe(12800);
  expect(at(faster, 500)).toBeGreaterThan(0.9 * at(tone(400), 400));
  expect(decibels(power(one(tone(400), { kind: "gain", decibels: -12 })) / power(tone(400)))).toBeCloseTo(
    -12,
    3,
  );
  const speech = tone(433).map((v, t) => v * (t / 16000));
  const clipped = one(speech, { kind: "clipping", share: 0.2 });
  const peak = clipped.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  expect(peak).toBeCloseTo(
    speech.reduce((most, v) => Math.max(most, Math.abs(v)), 0),
    5,
  );
  expect(clipped.filter((v) => Math.abs(v) > 0.9999 * peak).length / clipped.length).toBeCloseTo(0.2, 2);
  expect(one(new Float32Array(10), { kind: "clipping", share: 0.5 })).toEqual(new Float32Array(10));
});

test("chains depend on their seed only, leave the input alone, and refuse nonsense", () => {
  const speech = tone(440);
  const chain: Degradation[] = [
    { kind: "reverberation", seconds: 0.3 },
    { kind: "noise", snr: 10 },
    { kind: "noise", snr: 10 },
  ];
  expect(degrade(speech, rate, chain, 5)).toEqual(degrade(speech, rate, chain, 5));
  expect(degrade(speech, rate, chain, 5)).not.toEqual(degrade(speech, rate, chain, 6));
  expect(speech).toEqual(tone(440));
  expect(degrade(speech, rate, [], 1)).toEqual(speech);
  expect(() => one(speech, { kind: "speed", factor: 0 })).toThrow(/factor must be from 0.25 to 4, not 0/);
  expect(() => one(speech, { kind: "codec", codec: "bits", bits: 99 })).toThrow(/bits must be from 1 to 24/);
});
