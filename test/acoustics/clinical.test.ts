import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clinicalFeatures, clinicalNames } from "../../src/audio/acoustics/clinical/clinical.ts";
import { type PhoneInterval, phoneClassifier } from "../../src/audio/acoustics/clinical/phones.ts";
import { pronunciation } from "../../src/audio/acoustics/clinical/pronunciation.ts";
import { rhythm } from "../../src/audio/acoustics/clinical/rhythm.ts";
import { burg, vowelFormants } from "../../src/audio/acoustics/clinical/vowel-formants.ts";
import { vowelSpace } from "../../src/audio/acoustics/clinical/vowel-space.ts";
import { UserError } from "../../src/errors.ts";
import { alternatingPulses, harmonicTone, noise, pulsesThroughResonators, rate } from "./signals.ts";

/** Phones one after the other, durations in ms: "t:60 a:120". */
function phones(text: string): PhoneInterval[] {
  let at = 0;
  return text.split(" ").map((item) => {
    const [label, ms] = item.split(":");
    const start = at;
    at += Number(ms) / 1000;
    return { start, end: at, label };
  });
}

describe("phone classes", () => {
  it("know y as a consonant in ARPAbet and a vowel in IPA", () => {
    expect(phoneClassifier(["Y", "UW1", "sil"])("Y")).toBe("consonant");
    expect(phoneClassifier(["y", "ʃ"])("y")).toBe("vowel");
  });

  it("know diphthongs, length, stress and silence", () => {
    const ipa = phoneClassifier(["ˈaɪ", "tʃ", "iː"]);
    expect(["ˈaɪ", "iː", "tʃ", "ŋ", "<unk>", ""].map(ipa)).toEqual([
      "vowel",
      "vowel",
      "consonant",
      "consonant",
      "silence",
      "silence",
    ]);
    expect(["AA0", "er", "NG", "h#"].map(phoneClassifier(["aa"]))).toEqual([
      "vowel",
      "vowel",
      "consonant",
      "silence",
    ]);
  });
});

describe("rhythm", () => {
  it("of intervals worked out by hand", () => {
    // V: 100, 200, 60+40; C: 50+30, 120; silence between the second and the third vowel.
    const found = rhythm(phones("aa:100 t:50 s:30 iy:200 sil:300 ah:60 uw:40 n:120"));
    expect(found.percentV).toBeCloseTo((100 * 400) / 600, 9);
    expect(found.deltaV).toBeCloseTo(Math.sqrt((2 * (1 / 30) ** 2 + (1 / 15) ** 2) / 3), 9);
    expect(found.varcoV).toBeCloseTo((100 * found.deltaV) / (0.4 / 3), 9);
    expect(found.deltaC).toBeCloseTo(0.02, 9);
    expect(found.varcoC).toBeCloseTo(20, 9);
    // One pair of vowels on one side of the silence; no pair of consonants.
    expect(found.rPviV).toBeCloseTo(100, 9);
    expect(found.nPviV).toBeCloseTo((100 * 0.1) / 0.15, 9);
    expect(found.rPviC).toBeNaN();
  });

  it("normalised measures do not change with tempo, the others scale with it", () => {
    const duration = fc.integer({ min: 20, max: 300 });
    fc.assert(
      fc.property(fc.array(fc.tuple(duration, duration), { minLength: 3, maxLength: 12 }), (pairs) => {
        const text = (by: number) => pairs.map(([v, c]) => `a:${v * by} t:${c * by}`).join(" ");
        const [normal, slow] = [rhythm(phones(text(1))), rhythm(phones(text(2)))];
        for (const name of ["percentV", "varcoV", "varcoC", "nPviV", "nPviC"] as const)
          expect(slow[name]).toBeCloseTo(normal[name], 6);
        for (const name of ["deltaV", "deltaC", "rPviV", "rPviC"] as const)
          expect(slow[name]).toBeCloseTo(2 * normal[name], 6);
      }),
    );
  });
});

describe("pronunciation", () => {
  it("counts matched canonical phones by class", () => {
    const found = pronunciation("k ae d".split(" "), "K AE1 T S".split(" "));
    expect(found.pcv).toBe(100);
    expect(found.pcc).toBeCloseTo(100 / 3, 9);
    expect(found.pct).toBe(50);
  });

  it("is 100 for the canonical phones, 0 for none, unharmed by insertions", () => {
    const canonical = "sil hh ah l ow sil".split(" ");
    expect(pronunciation(canonical, canonical)).toEqual({ pcc: 100, pcv: 100, pct: 100 });
    expect(pronunciation([], canonical)).toEqual({ pcc: 0, pcv: 0, pct: 0 });
    expect(pronunciation("hh ah ah l t ow".split(" "), canonical).pct).toBe(100);
    expect(pronunciation(["aa"], []).pct).toBeNaN();
  });

  it("matches no more phones than either side has", () => {
    const phone = fc.constantFrom("p", "t", "k", "aa", "iy");
    fc.assert(
      fc.property(
        fc.array(phone, { maxLength: 12 }),
        fc.array(phone, { minLength: 1, maxLength: 12 }),
        (said, wanted) => {
          const { pct } = pronunciation(said, wanted);
          expect(Math.round((pct / 100) * wanted.length)).toBeLessThanOrEqual(
            Math.min(said.length, wanted.length),
          );
        },
      ),
    );
  });
});

describe("vowel space", () => {
  it("of three vowels worked out by hand", () => {
    const found = vowelSpace([
      { label: "IY1", f1: 300, f2: 2300 },
      { label: "aa", f1: 800, f2: 1300 },
      { label: "u", f1: 350, f2: 800 },
      { label: "eh", f1: 500, f2: 1800 },
    ]);
    expect(found.vsa).toBeCloseTo(
      Math.abs(300 * (1300 - 800) + 800 * (800 - 2300) + 350 * (2300 - 1300)) / 2,
      6,
    );
    expect(found.fcr).toBeCloseTo((800 + 1300 + 300 + 350) / (2300 + 800), 9);
    expect(found.vai).toBeCloseTo(1 / found.fcr, 12);
    expect(found.f2Ratio).toBeCloseTo(2300 / 800, 12);
  });

  it("is undefined without a corner", () => {
    const found = vowelSpace([{ label: "iy", f1: 300, f2: 2300 }]);
    expect([found.vsa, found.fcr, found.vai, found.f2Ratio]).toEqual([
      Number.NaN,
      Number.NaN,
      Number.NaN,
      Number.NaN,
    ]);
  });
});

describe("formants of vowels", () => {
  const vowels: [label: string, f0: number, f1: number, f2: number][] = [
    ["iy", 120, 300, 2250],
    ["aa", 120, 750, 1200],
    ["uw", 120, 320, 850],
    ["eh", 200, 550, 1850],
    ["aa", 200, 850, 1400],
  ];

  it.each(vowels)("of a synthetic /%s/ with F0 %f Hz are found", (label, f0, f1, f2) => {
    const resonators: [number, number][] = [
      [f1, 70],
      [f2, 100],
      [2900, 150],
      [3800, 200],
      [4700, 250],
    ];
    const x = pulsesThroughResonators(alternatingPulses(f0, 0.3), resonators, 0.3);
    const [found] = vowelFormants(x, rate, [{ start: 0, end: 0.3, label }]);
    expect(Math.abs(found.f1 - f1)).toBeLessThan(Math.max(40, 0.1 * f1));
    expect(Math.abs(found.f2 - f2)).toBeLessThan(0.06 * f2);
  });

  it("Burg's method recovers an autoregressive process", () => {
    const white = noise(1, 1);
    const x = new Float64Array(white.length);
    for (let i = 0; i < x.length; i++) x[i] = white[i] + 1.2 * (x[i - 1] ?? 0) - 0.6 * (x[i - 2] ?? 0);
    const a = burg(x, 2)!;
    expect(a[1]).toBeCloseTo(-1.2, 1);
    expect(a[2]).toBeCloseTo(0.6, 1);
    expect(burg(new Float64Array(100), 2)).toBeUndefined();
  });
});

describe("clinical features", () => {
  const syllable = (seconds: number) =>
    harmonicTone(() => 150, seconds).map((v, i) => v * Math.sin((Math.PI * i) / (seconds * rate)) ** 2);
  /** Syllables of 0.25 s with silences (seconds) between them. */
  const speech = (gaps: number[]) => {
    const parts = [syllable(0.25), ...gaps.flatMap((gap) => [new Float32Array(gap * rate), syllable(0.25)])];
    const out = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out.map((v, i) => v + 1e-5 * Math.sin(i * i));
  };

  it("have a value or NaN for every name", () => {
    const found = clinicalFeatures(speech([0.05, 0.5]), rate);
    expect(Object.keys(found)).toEqual([...clinicalNames]);
    for (const name of ["percentV", "pct", "vsa"] as const) expect(found[name]).toBeNaN();
  });

  it("count syllables and pauses", () => {
    const found = clinicalFeatures(speech([0.05, 0.6, 0.05, 0.05, 0.8]), rate);
    expect(found.pauses).toBe(2);
    // The quiet ends of the syllables beside a pause belong to it.
    expect(found.pauseMean_s).toBeGreaterThan(0.65);
    expect(found.pauseMean_s).toBeLessThan(0.9);
    expect(found.speechRate_perSec * found.duration_s).toBeCloseTo(6, 9);
    expect(found.articulationRate_perSec).toBeGreaterThan(1.3 * found.speechRate_perSec);
  });

  it("count breaks of the voice", () => {
    const found = clinicalFeatures(speech([0.3, 0.3]), rate);
    expect(found.voiceBreaks).toBe(2);
    expect(found.voiceBreaksDegree_percent).toBeGreaterThan(30);
    expect(found.f0Median_Hz).toBeGreaterThan(148);
    expect(found.f0Median_Hz).toBeLessThan(152);
  });

  it("do not depend on the level, except for its mean", () => {
    const x = speech([0.05, 0.5]);
    const [loud, soft] = [
      clinicalFeatures(x, rate),
      clinicalFeatures(
        x.map((v) => v / 2),
        rate,
      ),
    ];
    expect(loud.level_mean_dB - soft.level_mean_dB).toBeCloseTo(20 * Math.log10(2), 4);
    expect(soft.f0Median_Hz).toBeCloseTo(loud.f0Median_Hz, 1);
    expect(soft.pauses).toBe(loud.pauses);
  });

  it("of silence are NaN where there is nothing to measure", () => {
    const found = clinicalFeatures(new Float32Array(rate), rate);
    expect(found.f0Mean_Hz).toBeNaN();
    expect(found.voiceBreaks).toBeNaN();
  });

  it("say how long the audio must be", () => {
    expect(() => clinicalFeatures(new Float32Array(500), rate)).toThrow(UserError);
  });
});
