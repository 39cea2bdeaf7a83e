import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { realFft } from "../../src/audio/fft.ts";
import { type ResampleOptions, resample } from "../../src/audio/resample.ts";
import { windowFunction } from "../../src/audio/window.ts";
import { fixtureJson, relativeError, signal } from "./signal.ts";

const cases =
  fixtureJson<{ from: number; to: number; samples: number; options?: ResampleOptions; expected: number[] }[]>(
    "resample.json",
  );

const tone = (hz: number, rate: number, count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));

describe("resampling", () => {
  it.each(cases)(
    "is torchaudio's sinc_interp_kaiser from $from to $to Hz",
    ({ from, to, samples, options, expected }) => {
      const out = resample(signal(samples, from), from, to, options);
      expect(relativeError(out, expected)).toBeLessThan(1e-6);
    },
  );

  it("keeps a tone that both rates can carry, without delay", () => {
    for (const [from, to] of [
      [8000, 16000],
      [44100, 16000],
      [48000, 16000],
      [16000, 22050],
    ]) {
      const out = resample(tone(1000, from, from), from, to);
      const exact = tone(1000, to, to);
      expect(relativeError(out.subarray(to / 4, to / 2), exact.subarray(to / 4, to / 2))).toBeLessThan(2e-5);
    }
  });

  it("suppresses what the lower rate cannot carry by more than 100 dB", () => {
    for (const [from, to] of [
      [44100, 16000],
      [48000, 16000],
      [16000, 8000],
    ])
      for (const hz of [0.53 * to, 0.6 * to, 0.75 * to, 0.95 * to].filter((f) => f < from / 2)) {
        const out = resample(tone(hz, from, from), from, to).subarray(to / 4, to / 2);
        const rms = Math.sqrt(out.reduce((sum, x) => sum + x * x, 0) / out.length);
        expect(20 * Math.log10(rms / Math.SQRT1_2), `${hz} Hz from ${from} to ${to}`).toBeLessThan(-100);
      }
  });

  it("makes no images above the old Nyquist frequency", () => {
    const out = resample(tone(1000, 8000, 8000), 8000, 16000).subarray(4000, 12192);
    const fft = realFft(8192);
    const [re, im] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
    const shape = windowFunction("blackman", 8192);
    fft.forward(
      out.map((x, i) => x * shape[i]),
      re,
      im,
    );
    const level = (hz: number) => {
      const k = Math.round((hz * 8192) / 16000);
      return 10 * Math.log10(re[k] ** 2 + im[k] ** 2);
    };
    expect(level(7000) - level(1000)).toBeLessThan(-100);
  });

  it("has the exact length for any rates, in one turn or many", () => {
    const rate = fc.integer({ min: 50, max: 2000 });
    fc.assert(
      fc.property(rate, rate, fc.integer({ min: 0, max: 3000 }), (from, to, count) => {
        const out = resample(signal(count, 8000), from, to, { zeros: 6 });
        expect(out.length).toBe(Math.ceil((count * to) / from));
        expect(out.every(Number.isFinite)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it("gives the same samples wherever the turns of a long recording fall", () => {
    const long = signal(300_000, 44100);
    const whole = resample(long, 44100, 16000);
    // 441 input samples are 160 output samples, so that a later start only shifts the result.
    const later = resample(long.subarray(441 * 100), 44100, 16000);
    expect(whole.length).toBe(Math.ceil((300_000 * 160) / 441));
    expect(whole.subarray(16000 + 300)).toEqual(later.subarray(300));
  });

  it("is linear and leaves its input alone", () => {
    const x = signal(2000, 44100);
    const copy = x.slice();
    const once = resample(x, 44100, 16000);
    const twice = resample(
      x.map((v) => 2 * v),
      44100,
      16000,
    );
    expect(x).toEqual(copy);
    expect(
      relativeError(
        twice,
        once.map((v) => 2 * v),
      ),
    ).toBeLessThan(1e-6);
    const same = resample(x, 16000, 16000);
    expect(same).toEqual(x);
    expect(same.buffer).not.toBe(x.buffer);
  });

  it("refuses rates that are not positive whole numbers", () => {
    for (const [from, to] of [
      [0, 16000],
      [16000, -1],
      [16000.5, 8000],
    ])
      expect(() => resample(new Float32Array(10), from, to)).toThrow(RangeError);
  });
});
