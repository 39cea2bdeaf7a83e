import { readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readAudio } from "../../src/audio/file.ts";
import { resample } from "../../src/audio/resample.ts";
import {
  type Dimension,
  dimensions,
  grades,
  simulateSpeech,
  speakerProfile,
  unchanged,
  utteranceProfile,
} from "../../src/corpus/severity.ts";
import { trackPitch } from "../../src/corpus/simulator/pitch-marks.ts";
import { synthesize } from "../../src/corpus/synthesis.ts";
import { dataDir } from "../shared.ts";
import {
  frication,
  harmonicity,
  nasality,
  pauseSeconds,
  pitchSpread,
  tremorDepth,
  vowelSpread,
} from "./measures.ts";

const voices: Float32Array[] = [];
beforeAll(async () => {
  const texts = [
    "She chose a thick yellow umbrella, and a small boat.",
    "Three boys saw fish jump high over the bridge.",
  ];
  for (const [i, voice] of ["en-us+f2", "en-us+m3"].entries()) {
    const speech = await synthesize({ text: texts[i], voice, range: 70 });
    voices.push(resample(speech.samples, speech.sampleRate, 16000));
  }
});

const at = (samples: Float32Array, dimension: Dimension, depth: number) =>
  simulateSpeech(samples, 16000, { ...unchanged, [dimension]: depth }, "test").samples;
const seconds = (samples: Float32Array) => samples.length / 16000;
const difference = (a: Float32Array, b: Float32Array) => {
  const norm = (x: ArrayLike<number>) => Math.sqrt(Array.from(x).reduce((s, v) => s + v * v, 0));
  return norm(a.map((x, i) => x - b[i])) / norm(a);
};

describe("pitch", () => {
  test.each([80, 120, 200, 310])("a buzz of %i Hz", (pitch) => {
    const buzz = Float32Array.from({ length: 16000 }, (_, t) => {
      let sum = 0;
      for (let h = 1; h * pitch < 3000; h++) sum += Math.cos((2 * Math.PI * h * pitch * t) / 16000) / h;
      return 0.1 * sum;
    });
    const inner = trackPitch(buzz, 16000).slice(10, -10);
    for (const f of inner) expect(Math.abs(f / pitch - 1)).toBeLessThan(0.02);
  });

  test("silence and noise are unvoiced", () => {
    expect(trackPitch(new Float32Array(8000), 16000).every((f) => f === 0)).toBe(true);
    let state = 1;
    const noise = Float32Array.from({ length: 16000 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return state / 2 ** 33;
    });
    expect(trackPitch(noise, 16000).filter((f) => f > 0).length).toBeLessThan(10);
  });
});

describe("simulated dimensions", () => {
  test("nothing changed, nothing heard", () => {
    for (const voice of voices) {
      const { samples, timeOf } = simulateSpeech(voice, 16000, unchanged, 1);
      expect(samples.length).toBe(voice.length);
      expect(difference(voice, samples)).toBeLessThan(1e-3);
      expect(timeOf(0.7)).toBeCloseTo(0.7, 6);
    }
  });

  // What moves, in which direction, and by how much from depth 0 to 1 at least.
  const correlates: [Dimension, (samples: Float32Array) => number, number][] = [
    ["slowRate", seconds, 0.8],
    ["longPauses", pauseSeconds, 0.3],
    ["monopitch", pitchSpread, -1],
    ["vowelCentralization", vowelSpread, -2],
    ["impreciseConsonants", frication, -4],
    ["hypernasality", nasality, 6],
    ["breathiness", harmonicity, -3],
    ["roughness", harmonicity, -1.5],
  ];
  test.each(correlates)("%s moves its correlate steadily", (dimension, measure, least) => {
    const means = [0, 0.33, 0.67, 1].map(
      (depth) => voices.reduce((sum, voice) => sum + measure(at(voice, dimension, depth)), 0) / voices.length,
    );
    const sign = Math.sign(least);
    for (let i = 1; i < means.length; i++)
      expect(sign * means[i], means.join(" ")).toBeGreaterThan(sign * means[i - 1]);
    expect(Math.abs(means[3] - means[0]), means.join(" ")).toBeGreaterThan(Math.abs(least));
  });

  test("tremor swings a sustained vowel at 4 to 7 Hz, in loudness and pitch", () => {
    const vowel = Float32Array.from({ length: 24000 }, (_, t) => {
      let sum = 0;
      for (let h = 1; h < 20; h++) sum += Math.cos((2 * Math.PI * h * 140 * t) / 16000) / h;
      return 0.1 * sum;
    });
    const depths = [0, 0.33, 0.67, 1];
    const loudness = depths.map((depth) => tremorDepth(at(vowel, "tremor", depth)));
    const pitch = depths.map((depth) => pitchSpread(at(vowel, "tremor", depth)));
    for (let i = 1; i < 4; i++) {
      expect(loudness[i]).toBeGreaterThan(loudness[i - 1] + 0.05);
      expect(pitch[i]).toBeGreaterThan(pitch[i - 1] + 0.1);
    }
    expect(loudness[0]).toBeLessThan(0.05);
    expect(loudness[3]).toBeGreaterThan(0.3);
  });

  test("only rate and pauses change the duration, and only in the first does speech itself last longer", () => {
    for (const dimension of dimensions) {
      const change = seconds(at(voices[0], dimension, 0.8)) - seconds(voices[0]);
      if (dimension === "slowRate" || dimension === "longPauses") expect(change).toBeGreaterThan(0.2);
      else expect(change).toBe(0);
    }
  });

  test("times follow the speech", () => {
    const profile = { ...unchanged, slowRate: 1, longPauses: 1 };
    const { samples, timeOf } = simulateSpeech(voices[0], 16000, profile, 3);
    const end = seconds(voices[0]);
    expect(timeOf(0)).toBe(0);
    expect(timeOf(end)).toBeCloseTo(seconds(samples), 1);
    for (let t = 0; t < end - 0.05; t += 0.05) expect(timeOf(t + 0.05)).toBeGreaterThan(timeOf(t));
    // A loud stretch of the input is loud at its new place.
    const loudness = (x: Float32Array, t: number) => {
      const i = Math.round(t * 16000);
      return x.subarray(Math.max(0, i - 200), i + 200).reduce((s, v) => s + v * v, 0);
    };
    const times = Array.from({ length: 60 }, (_, i) => 0.1 + (i * (end - 0.2)) / 60);
    const before = times.map((t) => Math.log(loudness(voices[0], t) + 1e-6));
    const after = times.map((t) => Math.log(loudness(samples, timeOf(t)) + 1e-6));
    expect(correlation(before, after)).toBeGreaterThan(0.8);
  });

  test("the same seed gives the same speech, another seed another", () => {
    const profile = speakerProfile(3, "a", 1);
    const [a, b, c] = [1, 1, 2].map((seed) => simulateSpeech(voices[1], 16000, profile, seed).samples);
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  test("sounds of all kinds give finite sounds of the same loudness", () => {
    const extreme = speakerProfile(4, "b", 2);
    const cases = [
      new Float32Array(8000),
      new Float32Array(10),
      Float32Array.from({ length: 8000 }, (_, t) => (t === 4000 ? 1 : 0)),
      Float32Array.from({ length: 8000 }, (_, t) => Math.sin(t * 0.05)),
      Float32Array.from({ length: 8000 }, (_, t) => (t % 100 < 50 ? 1 : -1)),
    ];
    for (const samples of cases) {
      for (const rate of [8000, 16000, 44100]) {
        const out = simulateSpeech(samples, rate, extreme, 1).samples;
        expect(out.every((x) => Math.abs(x) <= 1)).toBe(true);
      }
    }
  });
});

describe("grades", () => {
  test("depths rise with the grade on the average, speakers differ, utterances vary around their speaker", () => {
    const depth = (grade: number, speaker: number) => {
      const profile = speakerProfile(grade, `s${speaker}`, 7);
      return dimensions.reduce((sum, d) => sum + profile[d], 0) / dimensions.length;
    };
    const speakers = Array.from({ length: 40 }, (_, s) => s);
    const means = grades.map(
      (grade) => speakers.reduce((sum, s) => sum + depth(grade, s), 0) / speakers.length,
    );
    for (let g = 1; g < means.length; g++) expect(means[g]).toBeGreaterThan(means[g - 1] + 0.1);
    expect(new Set(speakers.map((s) => depth(2, s))).size).toBe(40);
    // Each single dimension overlaps between neighbours.
    for (const dimension of ["slowRate", "longPauses", "monopitch"] as const) {
      const most = Math.max(...speakers.map((s) => speakerProfile(1, `s${s}`, 7)[dimension]));
      const least = Math.min(...speakers.map((s) => speakerProfile(2, `s${s}`, 7)[dimension]));
      expect(most).toBeGreaterThan(least);
    }
    const own = speakerProfile(3, "x", 1);
    const takes = speakers.map((s) => utteranceProfile(own, `u${s}`, 1).breathiness);
    expect(Math.min(...takes)).toBeLessThan(own.breathiness);
    expect(Math.max(...takes)).toBeGreaterThan(own.breathiness);
    expect(takes.every((t) => t >= 0 && t <= 1)).toBe(true);
  });

  test("real recordings take the changes as well", async () => {
    const folder = dataDir("speechocean762", "audio");
    if (folder === undefined) return;
    const speaker = readdirSync(folder)[3];
    const file = readdirSync(join(folder, speaker))[0];
    const { samples } = await readAudio(join(folder, speaker, file), { sampleRate: 16000 });
    expect(difference(samples, simulateSpeech(samples, 16000, unchanged, 1).samples)).toBeLessThan(1e-3);
    expect(harmonicity(at(samples, "breathiness", 1))).toBeLessThan(harmonicity(samples) - 1);
    expect(nasality(at(samples, "hypernasality", 1))).toBeGreaterThan(nasality(samples) + 3);
    expect(seconds(at(samples, "slowRate", 1))).toBeGreaterThan(1.2 * seconds(samples));
  });
});

function correlation(a: number[], b: number[]): number {
  const mean = (x: number[]) => x.reduce((s, v) => s + v, 0) / x.length;
  const [ma, mb] = [mean(a), mean(b)];
  const dot = (f: (i: number) => number) => a.reduce((s, _, i) => s + f(i), 0);
  return (
    dot((i) => (a[i] - ma) * (b[i] - mb)) /
    Math.sqrt(dot((i) => (a[i] - ma) ** 2) * dot((i) => (b[i] - mb) ** 2))
  );
}
