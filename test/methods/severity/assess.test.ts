import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeWav } from "../../../src/audio/wav.ts";
import { Assessor, placesOf } from "../../../src/methods/severity/assess/assess.ts";
import { fittedOn } from "../../../src/methods/severity/assess/calibration.ts";
import { faultsOf, qualityOf } from "../../../src/methods/severity/assess/quality.ts";
import { random } from "../../../src/random.ts";
import { assessmentPage } from "../../../src/report/severity-assessment.ts";
import { packRun } from "../../../src/train/pack.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { gradedCorpus, gradedRecipe } from "./graded-corpus.ts";

const RATE = 16_000;
const bin = resolve(import.meta.dirname, "../../../bin/voxsmith.js");
const corpus = gradedCorpus({ seconds: 0.3 });
const scratch = mkdtempSync(join(tmpdir(), "assess-"));
const run = join(scratch, "run");
const audio = (id: string) => join(corpus.folder, "audio", `${id}.wav`);
const wav = (name: string, samples: Float32Array) => {
  const path = join(scratch, name);
  writeFileSync(path, encodeWav(samples, RATE));
  return path;
};

/** Syllables of a voice-like tone with pauses between, over a floor of noise. */
function syllables(seconds: number, noise = 0.0005, gain = 0.3): Float32Array {
  const chance = random("syllables");
  return Float32Array.from({ length: Math.round(seconds * RATE) }, (_, i) => {
    const t = i / RATE;
    const on = (t * 3) % 1 < 0.6 ? 1 : 0;
    return on * gain * Math.sin(2 * Math.PI * 200 * t) + noise * chance.normal();
  });
}

describe("what a recording is like", () => {
  const faults = (samples: Float32Array) => faultsOf(qualityOf(samples, RATE)).join(" / ");
  it("is judged with a reason for each fault", () => {
    expect(faults(syllables(2))).toBe("");
    expect(faults(syllables(0.4))).toMatch(
      /^it is too short: 0\.\d\d s of speech in 0\.40 s, and at least 0\.5 s/,
    );
    expect(faults(syllables(2, 0.15))).toMatch(/^it is too noisy: speech stands \d+ dB above/);
    expect(faults(syllables(2, 0.0005, 3).map((x) => Math.max(-0.9, Math.min(0.9, x))))).toMatch(
      /^it is clipped: \d+\.\d\d % of its samples/,
    );
    expect(faults(new Float32Array(RATE))).toMatch(/^it is silent/);
  });
});

describe("calibration", () => {
  it("makes an overconfident model as sure as it is right", () => {
    const chance = random("calibration");
    const truth = Array.from({ length: 400 }, (_, i) => i % 3);
    // Right in 70 of 100 cases, and sure of it at odds of e^6.
    const scores = truth.map((y) => {
      const called = chance.next() < 0.7 ? y : (y + 1) % 3;
      return [0, 1, 2].map((k) => (k === called ? 6 : 0));
    });
    const { temperature, errorBefore, errorAfter } = fittedOn({ scores, truth });
    expect(temperature).toBeGreaterThan(3);
    expect(errorBefore).toBeGreaterThan(0.2);
    expect(errorAfter).toBeLessThan(0.05);
  });
  it("leaves a run without validation as it is", () => {
    expect(fittedOn({ scores: [], truth: [] })).toMatchObject({ temperature: 1, utterances: 0 });
  });
});

describe("assessing", () => {
  let assessor: Assessor;
  beforeAll(async () => {
    const recipe = parseRecipe(
      gradedRecipe({ epochs: 12, optimizer: { name: "adam", lr: 0.01 } }),
      "graded.yaml",
    );
    await train(recipe, { data: corpus.folder, out: run, skipBad: false, log: () => {} });
    assessor = await Assessor.open(run, { threads: 1, data: corpus.folder });
  }, 120_000);
  afterAll(() => assessor.dispose());

  it("says what it heard and how sure it is, alone and together, by session", async () => {
    const result = await assessor.assess([audio("s0-0"), audio("s0-1"), audio("s2-0")], {
      speaker: "s0",
      symbols: ["a", "b", "c"],
      sessions: ["first", "first", "second"],
    });
    for (const { probabilities, alignment, expected, heard, clinical, likeness } of result.recordings) {
      expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
      expect(expected).toEqual(["a", "b", "c"]);
      expect(alignment!.flatMap(({ hyp }) => hyp ?? [])).toEqual(heard.map(({ symbol }) => symbol));
      expect(clinical.duration_s).toBeGreaterThan(0.3);
      expect(likeness!.representation.distance).toBeGreaterThan(0);
      expect(likeness!.spectrum.distance).toBeLessThan(likeness!.spectrum.limit);
    }
    const { pooled, sessions, recordings, places } = result;
    expect(pooled.recordings).toBe(recordings.filter(({ grade }) => grade !== undefined).length);
    expect(pooled.votes.reduce((a, b) => a + b, 0)).toBe(pooled.recordings);
    expect(sessions.map(({ session }) => session)).toEqual(["first", "second"]);
    const duration = places.find(({ feature }) => feature === "duration_s")!;
    // Slower speakers have the higher grade here.
    const medians = duration.grades.map(({ median }) => median);
    expect(medians).toEqual([...medians].sort((a, b) => a - b));
    expect(existsSync(join(run, "calibration.json"))).toBe(true);
    expect(existsSync(join(run, "reference.json"))).toBe(true);
  });

  it("knows what was read from the training corpus, and says which word it does not know", async () => {
    const { recordings } = await assessor.assess([audio("s1-0")], { text: "A b, C." });
    expect(recordings[0].expected).toEqual(["a", "b", "c"]);
    await expect(assessor.assess([audio("s1-0")], { text: "a xylophone" })).rejects.toThrow(
      /nothing says how "a" is pronounced/,
    );
    await expect(assessor.assess([audio("s1-0")], { symbols: ["q"] })).rejects.toThrow(
      /--phones has the symbol "q"/,
    );
    await expect(assessor.assess([audio("s1-0")], { sessions: ["a", "b"] })).rejects.toThrow(
      "--sessions: names 2 sessions for 1 recordings",
    );
  });

  it("gives no grade to what is unlike its training data, and says why", async () => {
    // A hum: nothing of it is where the corpus's tones and noise are.
    const hum = wav("hum.wav", syllables(2));
    const { recordings, pooled } = await assessor.assess([hum]);
    expect(recordings[0].grade).toBeUndefined();
    expect(recordings[0].abstained.join()).toMatch(
      /it is unlike the training data: its long-term spectrum lies \d/,
    );
    expect(pooled.grade).toBeUndefined();
    expect(await assessmentPage(await assessor.assess([hum]))).toContain(
      "No grade is given, since it is unlike",
    );
  });

  it("is a page that loads nothing and says what it is not for", async () => {
    const result = await assessor.assess([audio("s0-0"), audio("s2-1")], {
      speaker: "<s0>",
      symbols: ["a", "b", "c"],
      sessions: ["one", "two"],
    });
    const page = await assessmentPage(result);
    expect(page).toContain("A research aid, not a medical device.");
    expect(page).toMatch(/must not decide on a diagnosis/);
    expect(page).toContain("fitted on 6 validation recordings");
    expect(page).toContain("Change over sessions");
    expect(page).toContain("&#60;s0&#62;");
    expect(page).not.toMatch(/<script|<link|src="http|href="http/);
    expect(page).toContain("Expected and heard");
  });

  it("without a reference says what is missing, and works", async () => {
    const bare = await Assessor.open(run, { threads: 1 });
    expect(bare.reference).toBeDefined();
    await bare.dispose();
    expect(placesOf([], { speakers: [] }, ["0"])).toEqual([]);
  });

  it("judges with a mask pack as with the run that it came from, over the backbone that is named", async () => {
    const [masked, pack] = [join(scratch, "masked"), join(scratch, "masked.pack")];
    const upstream = { model: run };
    const plan = { mask: { sparsity: 0.2 } };
    await train(parseRecipe(gradedRecipe({ name: "masked", epochs: 2, upstream, plan }), "graded.yaml"), {
      ...{ data: corpus.folder, out: masked, skipBad: false, log: () => {} },
    });
    const own = await Assessor.open(masked, { threads: 1, data: corpus.folder });
    packRun(masked, pack);
    for (const options of [{ threads: 1 }, { threads: 1, backbone: run }]) {
      const packed = await Assessor.open(pack, options);
      expect(packed.reference).toEqual(own.reference);
      expect(packed.temperature).toEqual(own.temperature);
      const { recordings: found } = await packed.assess([audio("s2-0")], { symbols: ["a"] });
      const { recordings: wanted } = await own.assess([audio("s2-0")], { symbols: ["a"] });
      expect(found).toEqual(wanted);
      await packed.dispose();
    }
    await expect(Assessor.open(pack, { backbone: masked })).rejects.toThrow(/belongs to another backbone/);
    await own.dispose();
    const said = spawnSync(process.execPath, [bin, "assess", audio("s0-0"), "--pack", pack], {
      encoding: "utf8",
    });
    expect([said.status, said.stderr]).toEqual([0, ""]);
  }, 60_000);

  it("runs from the command line, and refuses in one sentence", () => {
    const out = join(scratch, "report.json");
    const said = spawnSync(process.execPath, [bin, "assess", audio("s0-0"), "--model", run, "--out", out], {
      encoding: "utf8",
    });
    expect(said.stderr).toBe("");
    expect(said.status).toBe(0);
    expect(said.stdout).toContain("A research aid, not a medical device");
    expect(JSON.parse(readFileSync(out, "utf8")).recordings[0]).not.toHaveProperty("samples");
    const bad = spawnSync(process.execPath, [bin, "assess", audio("s0-0"), "--model", scratch], {
      encoding: "utf8",
    });
    expect([bad.status, bad.stderr]).toEqual([2, expect.stringMatching(/^voxsmith: .*is no run's folder/)]);
  });
});
