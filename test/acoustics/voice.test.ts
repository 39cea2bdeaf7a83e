import { describe, expect, it } from "vitest";
import { framing } from "../../src/audio/acoustics/frames.ts";
import { mean, nonZero } from "../../src/audio/acoustics/functionals.ts";
import { harmonicsToNoise } from "../../src/audio/acoustics/harmonics.ts";
import { pitchWindow, trackPitch } from "../../src/audio/acoustics/pitch.ts";
import { voiceQuality } from "../../src/audio/acoustics/voice-quality.ts";
import { add, alternatingPulses, harmonicTone, noise, pulsesThroughResonators, rate } from "./signals.ts";

const range = { minHz: 55, maxHz: 1000, lookAhead: 40 };
const schwa: [number, number][] = [
  [500, 80],
  [1500, 100],
  [2500, 120],
];

describe("F0", () => {
  it.each([80, 110, 157.3, 220, 331, 440])("of a harmonic tone of %f Hz is within 1 %%", (hz) => {
    const { f0 } = trackPitch(
      harmonicTone(() => hz, 0.8),
      rate,
      range,
    );
    const middle = f0.subarray(5, f0.length - 5);
    for (const found of middle) expect(Math.abs(found / hz - 1)).toBeLessThan(0.01);
  });

  it("follows a glide over an octave without octave jumps", () => {
    const glide = (t: number) => 120 * 2 ** (t / 2);
    const { f0, frame } = trackPitch(harmonicTone(glide, 2), rate, range);
    for (let t = 5; t < f0.length - 5; t++) {
      const middle = (t * frame.step + frame.size / 2) / rate;
      expect(Math.abs(f0[t] / glide(middle) - 1)).toBeLessThan(0.02);
    }
  });

  it("is 0 in silence, in noise below the threshold and mostly in white noise", () => {
    const silent = trackPitch(new Float32Array(rate), rate, range);
    expect(silent.f0.every((hz) => hz === 0)).toBe(true);
    expect(silent.voicing.every((v) => v === 0)).toBe(true);
    expect(trackPitch(noise(1, 1e-4), rate, range).f0.every((hz) => hz === 0)).toBe(true);
    const loud = trackPitch(noise(1, 0.1), rate, range).f0;
    expect(nonZero(loud).length / loud.length).toBeLessThan(0.2);
  });

  it("decides every frame, and early", () => {
    const { decided, f0 } = trackPitch(
      harmonicTone(() => 200, 1),
      rate,
      range,
    );
    expect(decided).toBeLessThanOrEqual(f0.length);
    expect(decided).toBeGreaterThanOrEqual(f0.length - range.lookAhead);
  });
});

describe("jitter and shimmer of pulse trains", () => {
  const measure = (jitter: number, shimmer: number) => {
    const x = pulsesThroughResonators(alternatingPulses(125, 1, jitter, shimmer), schwa, 1);
    const track = trackPitch(x, rate, range);
    const quality = voiceQuality(x, rate, track.f0, track.frame, { searchRange: 0.1, minCorrelation: 0.5 });
    return { jitter: mean(nonZero(quality.jitterLocal)), shimmer: mean(nonZero(quality.shimmerLocal)) };
  };

  it("are near 0 for a regular train", () => {
    const { jitter, shimmer } = measure(0, 0);
    expect(jitter).toBeLessThan(0.002);
    expect(shimmer).toBeLessThan(0.02); // the train's ends are part of it
  });

  // Periods T (1 + j / 2), T (1 - j / 2) in turn: |difference| / mean is j.
  it.each([0.01, 0.02, 0.04])("measure %f of jitter", (jitter) => {
    expect(measure(jitter, 0).jitter / jitter).toBeGreaterThan(0.7);
    expect(measure(jitter, 0).jitter / jitter).toBeLessThan(1.25);
  });

  it("grow with the shimmer put in", () => {
    const found = [0, 0.1, 0.2, 0.4].map((shimmer) => measure(0, shimmer).shimmer);
    for (let i = 1; i < found.length; i++) expect(found[i]).toBeGreaterThan(found[i - 1] + 0.02);
  });
});

describe("harmonics-to-noise ratio", () => {
  const tone = harmonicTone(() => 160, 1);
  const power = tone.reduce((sum, v) => sum + v * v, 0) / tone.length;
  const hnr = (noiseRms: number, corrected: boolean) => {
    const frame = framing(rate, 0.06);
    const toHnr = harmonicsToNoise(frame, corrected ? pitchWindow(frame) : undefined);
    const values: number[] = [];
    trackPitch(add(tone, noise(1, noiseRms)), rate, range, (_, hz, spectrum) =>
      values.push(toHnr(spectrum, hz)),
    );
    return mean(values);
  };

  it.each([5, 10, 15, 20])(
    "is the %f dB that were mixed, once the window's decay is divided out",
    (decibel) => {
      expect(Math.abs(hnr(Math.sqrt(power / 10 ** (decibel / 10)), true) - decibel)).toBeLessThan(1.5);
    },
  );

  it("falls with noise as eGeMAPS has it, too", () => {
    const found = [0.02, 0.06, 0.2].map((rms) => hnr(rms, false));
    expect(found[0]).toBeGreaterThan(found[1] + 1);
    expect(found[1]).toBeGreaterThan(found[2] + 1);
  });
});
