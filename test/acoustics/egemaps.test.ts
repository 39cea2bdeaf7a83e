import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { egemaps } from "../../src/audio/acoustics/egemaps.ts";
import { pretextLabels } from "../../src/audio/acoustics/pretext.ts";
import { UserError } from "../../src/errors.ts";
import { add, harmonicTone, noise, rate } from "./signals.ts";

const voice = add(
  harmonicTone(() => 220, 1),
  noise(1, 0.001),
);

describe("eGeMAPS", () => {
  it("of a tone of 220 Hz has its pitch in semitones above 27.5 Hz", () => {
    const { functionals } = egemaps(voice, rate);
    expect(functionals["F0semitoneFrom27.5Hz_sma3nz_percentile50.0"]).toBeCloseTo(36, 1);
    expect(functionals["jitterLocal_sma3nz_amean"]).toBeLessThan(0.002);
    expect(functionals["VoicedSegmentsPerSec"]).toBeGreaterThan(0.9);
    expect(functionals["VoicedSegmentsPerSec"]).toBeLessThan(1.1);
  });

  it("has a level that falls by 6.02 dB when amplitudes are halved", () => {
    const level = (x: Float32Array) => egemaps(x, rate).functionals["equivalentSoundLevel_dBp"];
    expect(level(voice) - level(voice.map((v) => v / 2))).toBeCloseTo(20 * Math.log10(2), 3);
  });

  it("v02 has 25 descriptors, v01b the 23 of them without the bandwidths of F2 and F3; functionals are the same 88", () => {
    const [v02, v01b] = [egemaps(voice, rate), egemaps(voice, rate, { version: "v01b" })];
    expect(v02.lld.names).toHaveLength(25);
    expect(v01b.lld.names).toEqual(v02.lld.names.filter((name) => !/^F[23]bandwidth/.test(name)));
    expect(v01b.lld.frames[40]).toHaveLength(23);
    expect(v01b.lld.frames[40][22]).toBe(v02.lld.frames[40][24]);
    expect(v01b.functionals).toEqual(v02.functionals);
    expect(Object.keys(v02.functionals)).toHaveLength(88);
  });

  it.each([8000, 11025, 16000, 22050, 44100, 48000])("has finite values at %i Hz", (sampleRate) => {
    const x = add(
      harmonicTone(() => 140, 0.5, sampleRate),
      noise(0.5, 0.001, sampleRate),
    );
    const { lld, functionals } = egemaps(x, sampleRate);
    for (const value of Object.values(functionals)) expect(Number.isFinite(value)).toBe(true);
    for (const frame of lld.frames) for (const value of frame) expect(Number.isFinite(value)).toBe(true);
    // 20 ms are no whole number of samples at 11025 Hz; bins count as if they were, half a percent off.
    const semitones = functionals["F0semitoneFrom27.5Hz_sma3nz_amean"];
    expect(Math.abs(semitones - 12 * Math.log2(140 / 27.5))).toBeLessThan(0.12);
  });

  it("of silence is finite and unvoiced", () => {
    const { functionals } = egemaps(new Float32Array(rate), rate);
    for (const value of Object.values(functionals)) expect(Number.isFinite(value)).toBe(true);
    expect(functionals["VoicedSegmentsPerSec"]).toBe(0);
  });

  it("of the shortest audio has values, of shorter audio a sentence", () => {
    const shortest = egemaps(voice.slice(0, 960), rate);
    for (const value of Object.values(shortest.functionals)) expect(Number.isFinite(value)).toBe(true);
    expect(() => egemaps(voice.slice(0, 959), rate)).toThrow(UserError);
    expect(() => egemaps(new Float32Array(0), rate)).toThrow(/at least 0.06 s .* 0.000 s/);
  });

  it("of anything is finite", () => {
    const piece = fc.record({
      kind: fc.constantFrom("silence", "noise", "voice", "constant", "click", "clipped"),
      samples: fc.integer({ min: 1, max: 4000 }),
      gain: fc.constantFrom(1e-6, 0.01, 0.9),
    });
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 4 }),
        fc.constantFrom(8000, 16000),
        (pieces, sampleRate) => {
          const x = Float32Array.from(
            pieces.flatMap(({ kind, samples, gain }) =>
              Array.from({ length: samples }, (_, i) => {
                if (kind === "noise") return gain * Math.sin(i * i);
                if (kind === "voice") return (gain * (i % 97)) / 97;
                if (kind === "constant") return gain;
                if (kind === "click") return i === 7 ? gain : 0;
                return kind === "clipped" ? gain * Math.sign(Math.sin(i / 9)) : 0;
              }),
            ),
          );
          if (x.length < 0.06 * sampleRate) return;
          const { lld, functionals } = egemaps(x, sampleRate);
          const labels = pretextLabels(x, sampleRate);
          for (const value of Object.values(functionals)) expect(Number.isFinite(value)).toBe(true);
          for (const frame of [...lld.frames, ...labels.frames])
            expect(frame.every(Number.isFinite)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("refuses rates that leave no spectrum", () => {
    expect(() => egemaps(voice, 1000)).toThrow(/at least 4000 Hz, this has 1000/);
  });

  it("does not change its input and repeats itself", () => {
    const copy = voice.slice();
    const [first, second] = [egemaps(copy, rate), egemaps(copy, rate)];
    expect(copy).toEqual(voice);
    expect(second.functionals).toEqual(first.functionals);
  });
});

describe("pretext labels", () => {
  it("of a tone", () => {
    const { names, frames, times } = pretextLabels(voice, rate);
    const at = (name: string) => frames[50][names.indexOf(name)];
    expect(at("F0final_sma")).toBeCloseTo(220, 0);
    const rms = Math.sqrt(voice.reduce((sum, v) => sum + v * v, 0) / voice.length);
    expect(at("pcm_RMSenergy_sma") / rms).toBeCloseTo(1, 1);
    expect(at("voicingFinalUnclipped_sma")).toBeGreaterThan(0.7);
    expect(times[50]).toBeCloseTo(0.5, 12);
  });

  it("zero crossings of a sine are twice its frequency a second", () => {
    const sine = Float32Array.from(
      { length: rate },
      (_, i) => 0.5 * Math.sin((2 * Math.PI * 500 * (i + 0.3)) / rate),
    );
    const { names, frames } = pretextLabels(sine, rate);
    // A frame of 60 ms may cut one crossing off.
    expect(Math.abs(frames[50][names.indexOf("pcm_zcr_sma")] * rate - 1000)).toBeLessThan(1.1 / 0.06);
  });

  it("centroid of white noise lies in the middle of the band", () => {
    const { names, frames } = pretextLabels(noise(1, 0.1), rate);
    const column = names.indexOf("pcm_fftMag_spectralCentroid_sma");
    const mean = frames.reduce((sum, frame) => sum + frame[column], 0) / frames.length;
    expect(Math.abs(mean - 4000)).toBeLessThan(200);
  });
});
