import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Plda } from "../../src/metrics/plda.ts";
import { random } from "../../src/random.ts";
import { taskEntries, taskGroups, tasksNamed } from "../../src/superb/index.ts";
import { type ProbeReport, probe } from "../../src/superb/probe.ts";
import type { ProbeTask } from "../../src/superb/task.ts";
import { turnsOf } from "../../src/superb/tasks/sd.ts";
import { symbolsOf, textOf } from "../../src/superb/tasks/sf.ts";
import { toyUpstream } from "./toy.ts";
import {
  commonVoiceChinese,
  covost,
  fluentSpeechCommands,
  iemocap,
  libri2mix,
  librispeech,
  medleySolos,
  openmic,
  quesst,
  snips,
  speechCommands,
  tree,
  voxceleb,
} from "./trees.ts";

// Each official task on its corpus in miniature, from the corpus's own files to the score's column.

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "superb-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** The tasks of a name with fewer updates at a higher rate, and smaller heads where the official ones are large. */
async function shortened(name: string, steps: number, lr: number): Promise<ProbeTask[]> {
  const [entry] = tasksNamed(name);
  const tasks = await entry.prepare(root, { hidden: 32 });
  return tasks.map((task) => {
    const { recipe } = task;
    const optimizer = { ...recipe.optimizer, lr };
    return { ...task, recipe: { ...recipe, steps, evaluateEvery: Math.ceil(steps / 2), optimizer } };
  });
}
const run = (tasks: ProbeTask[], upstream = toyUpstream()): Promise<ProbeReport> =>
  probe(upstream, tasks, { threads: 1, cache: join(root, "cache") });
const sizes = ({ parts }: ProbeTask) => [parts.train.length, parts.valid.length, parts.test.length];

describe("SUPERB's tasks", () => {
  test("are named on the command line, alone and in groups", () => {
    expect(taskGroups.all).toEqual(["pr", "asr", "ks", "qbe", "sid", "asv", "sd", "er", "ic", "sf"]);
    expect(tasksNamed("mini,sid").map(({ name }) => name)).toEqual(["pr", "sid", "er", "sf"]);
    expect(taskEntries.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["st", "asr-zh", "mini-slots"]),
    );
    expect(() => tasksNamed("pr,sit")).toThrow('--tasks: "sit" is no task; did you mean sid?');
  });

  test("each says which folder it needs", async () => {
    for (const { name, prepare } of taskEntries)
      if (!name.startsWith("mini-"))
        await expect(prepare(root)).rejects.toThrow(new RegExp(`the task ${name} needs the folder`));
  });

  test("pr: phones of LibriSpeech's words by a lexicon", async () => {
    librispeech(root);
    const [task] = await shortened("pr", 60, 1e-2);
    expect(task.recipe).toMatchObject({ batch: 32, clip: 1, best: { metric: "per", higher: false } });
    expect(sizes(task)).toEqual([12, 4, 4]);
    const { results, score } = await run([task]);
    expect(results[0].metrics.per).toBeLessThan(0.6);
    expect(results[0].columns.PR).toBeCloseTo(100 * results[0].metrics.per, 9);
    expect(Object.keys(score!.tasks)).toEqual(["PR"]);
    // A word that the lexicon lacks leaves its utterance out, and says so.
    tree(root, { "librispeech-lexicon.txt": ["AB\tAH0 B", "CB\tK B", "DA\tD AH0", "BC\tB K", "AD\tAH0 D"] });
    const [less] = await shortened("pr", 1, 1e-2);
    expect(less.notes.join()).toMatch(/utterances of the train part have words that the lexicon lacks/);
  });

  test("asr: letters by two BLSTM layers with SpecAugment", async () => {
    librispeech(root);
    const [task] = await shortened("asr", 80, 1e-2);
    expect(task.recipe).toMatchObject({ batch: 32, specAugment: { timeWarp: 5, channelMasks: 4 } });
    // Masks of up to 40 frames would leave nothing of these recordings.
    const specAugment = { timeWarp: 2, timeMasks: 1, timeWidth: 2, channelMasks: 1, channelWidth: 2 };
    const { results } = await run([{ ...task, recipe: { ...task.recipe, specAugment } }]);
    expect(Object.keys(results[0].metrics)).toEqual(["wer", "cer"]);
    expect(results[0].metrics.cer).toBeLessThan(0.9);
  });

  test("sid: known speakers, training recordings cut to 8 s", async () => {
    voxceleb(root);
    const [task] = await shortened("sid", 80, 1e-2);
    expect(sizes(task)).toEqual([24, 6, 6]);
    expect(task.items[task.parts.train[0]].maxSamples).toBe(128_000);
    expect(task.items[task.parts.test[0]].maxSamples).toBeUndefined();
    const { results } = await run([task]);
    expect(results[0].columns.SID).toBeGreaterThan(60);
  });

  test("er: five folds by session, their mean in the score", async () => {
    iemocap(root);
    const tasks = await shortened("er", 30, 2e-2);
    expect(tasks.map(({ name }) => name)).toEqual([1, 2, 3, 4, 5].map((n) => `er-session${n}`));
    expect(tasks.map(sizes)).toEqual(Array(5).fill([26, 6, 8]));
    for (const { items, parts } of tasks) {
      const sessions = (part: "train" | "test") =>
        new Set(parts[part].map((i) => items[i].utterance.labels?.session));
      for (const session of sessions("test")) expect(sessions("train").has(session)).toBe(false);
    }
    const upstream = toyUpstream();
    const { results, score } = await run(tasks, upstream);
    expect(upstream.heard).toBe(40);
    const mean = results.reduce((sum, { columns }) => sum + columns.ER! / 5, 0);
    expect(mean).toBeGreaterThan(80);
    expect(score!.score).toBeCloseTo((1000 * (mean - 35.39)) / (70.68 - 35.39), 6);
  });

  test("ks: twelve classes, rare ones as often as others, the official test set", async () => {
    speechCommands(root);
    const [task] = await shortened("ks", 80, 1e-2);
    expect(sizes(task)).toEqual([3 * 4 + 2, 3 + 1, 4]);
    expect(task.recipe.sampling).toBe("balanced");
    expect((await run([task])).results[0].columns.KS).toBeGreaterThan(70);
  });

  test("ic: three answers, all of them right", async () => {
    fluentSpeechCommands(root);
    const [task] = await shortened("ic", 60, 1e-2);
    const { metrics, columns } = (await run([task])).results[0];
    expect(Object.keys(metrics)).toEqual([
      "accuracy",
      "accuracy.action",
      "accuracy.object",
      "accuracy.location",
      "accuracy.mean",
    ]);
    expect(metrics.accuracy).toBeLessThanOrEqual(
      Math.min(metrics["accuracy.action"], metrics["accuracy.object"]),
    );
    expect(columns.IC).toBeGreaterThan(70);
  });

  test("sf: text with tagged slots, by voices that were not heard", async () => {
    expect(symbolsOf("PLAY B-a THE X E-a ON").join("|")).toBe("P|L|A|Y| |B-a|T|H|E| |X|E-a| |O|N");
    expect(textOf(symbolsOf("PLAY B-a THE X E-a ON"))).toBe("PLAY B-a THE X E-a ON");
    snips(root);
    const [task] = await shortened("sf", 30, 1e-2);
    expect(sizes(task)).toEqual([6, 3, 3]);
    const tagged = task.parts.test.map((i) => task.items[i].utterance.labels?.tagged);
    expect(tagged).toEqual(["AB B-city CD E-city BA", "AB B-city CA DA E-city", "CD AB"]);
    const { columns } = (await run([task])).results[0];
    expect(Object.keys(columns)).toEqual(["SF_F1", "SF_CER"]);
    expect(columns.SF_CER).toBeGreaterThan(0);
  });

  test("asr-zh: characters of Common Voice, each layer behind a squashed projection", async () => {
    commonVoiceChinese(root);
    const [task] = await shortened("asr-zh", 20, 1e-2);
    expect(task.recipe).toMatchObject({ batch: 16, head: { squash: true } });
    const { metrics, columns } = (await run([task])).results[0];
    expect(metrics.cer).toBeGreaterThanOrEqual(0);
    expect(columns).toEqual({});
  });

  test("qbe: the layer that finds the development queries finds the others, without training", async () => {
    quesst(root);
    const [task] = await shortened("qbe", 1, 1);
    expect(sizes(task)).toEqual([0, 10, 10]);
    const { results } = await run([task]);
    expect(results[0].layerWeights).toEqual([0, 1, 0]);
    expect(results[0].metrics.mtwv).toBeGreaterThan(0.4);
    expect(results[0].columns).toEqual({ QbE: results[0].metrics.mtwv });
  });

  test("asv: x-vectors tell new speakers apart", async () => {
    voxceleb(root, 0.6);
    const [task] = await shortened("asv", 8, 1e-3);
    // Speakers of the trials are not trained on; recordings have 2.4 s.
    expect(sizes(task)).toEqual([24, 12, 12]);
    expect(task.recipe).toMatchObject({ optimizer: { name: "adamw" }, batch: 50, clip: 1000 });
    const { results } = await run([task]);
    expect(results[0].columns.ASV).toBeLessThan(50);
    expect(results[0].notes.join()).toMatch(/chosen on the trials themselves/);
  });

  test("asv-plda: the last head counts, and PLDA is fitted to the training part's embeddings alone", async () => {
    voxceleb(root, 0.6);
    const [entry] = tasksNamed("asv-plda");
    const [task] = await entry.prepare(root, { hidden: 8 });
    expect(sizes(task)).toEqual([24, 0, 12]);
    expect(task.recipe).toMatchObject({
      ...{ optimizer: { name: "adam", lr: 1e-3 }, schedule: { name: "linear", finalScale: 0.1 }, steps: 10 },
      head: { layers: [5, 3, 3, 1, 1].map((context) => expect.arrayContaining([context])) },
    });
    const upstream = toyUpstream();
    const [{ metrics, best, columns }] = (
      await run([{ ...task, recipe: { ...task.recipe, steps: 2 } }], upstream)
    ).results;
    expect(Object.keys(metrics)).toEqual(["eer"]);
    expect(best).toBeUndefined();
    expect(columns).toEqual({});

    // The same head asked about embeddings that are known: three numbers of the speaker's, five of the recording's.
    const learner = (task as Extract<ProbeTask, { learner: unknown }>).learner(upstream);
    const rng = random(3, "plda task");
    const voices = new Map<string, number[]>();
    const embed = (part: "train" | "test") =>
      new Map(
        task.parts[part].map((item) => {
          const { id, labels } = task.items[item].utterance;
          const name = String(labels!.speaker);
          const voice = voices.get(name) ?? Array.from({ length: 3 }, () => 3 * rng.normal());
          voices.set(name, voice);
          return [
            item,
            { id, embedding: Array.from({ length: 8 }, (_, d) => (voice[d] ?? 0) + rng.normal()) },
          ];
        }),
      );
    const [known, asked] = [embed("train"), embed("test")];
    learner.fit!(known);
    const plda = Plda.train(
      [...known.values()].map(({ embedding }) => embedding),
      [...known.keys()].map((item) => String(task.items[item].utterance.labels!.speaker)),
      { rank: 100, rounds: 10 },
    );
    const vector = (id: unknown) => [...asked.values()].find((each) => each.id === id)!.embedding;
    const lines = learner.lines!(asked);
    expect(lines).toHaveLength(20);
    for (const { first, second, score } of lines)
      expect(score).toBeCloseTo(plda.score(vector(first), vector(second)), 9);
    expect(learner.metrics(asked, "test").eer).toBeLessThan(0.3);
  });

  test("medley-solos: one instrument by an x-vector, the best epoch of ten", async () => {
    medleySolos(root);
    const [entry] = tasksNamed("medley-solos");
    const [task] = await entry.prepare(root, { hidden: 16 });
    expect(sizes(task)).toEqual([12, 6, 6]);
    expect(task.recipe).toMatchObject({
      steps: 10,
      evaluateEvery: 1,
      best: { metric: "accuracy", higher: true },
    });
    const [short] = await shortened("medley-solos", 40, 3e-3);
    const { metrics, best } = (await run([short])).results[0];
    expect(metrics.accuracy).toBeGreaterThan(0.5);
    expect(best).toBeDefined();
  });

  test("openmic: a forest for each instrument on the clips that were labelled", async () => {
    openmic(root);
    const [entry] = tasksNamed("openmic");
    const [task] = await entry.prepare(root);
    expect(sizes(task)).toEqual([24, 0, 12]);
    const toy = toyUpstream();
    // Its second state hears; the task takes the last.
    const upstream = toyUpstream({
      layers: 1,
      hear: async (wave) => {
        const { frames, layers } = await toy.hear(wave);
        return { frames, layers: [layers[1]] };
      },
    });
    const [{ metrics, columns, layerWeights }] = (await run([task], upstream)).results;
    // Of the flute no test clip is labelled.
    expect(Object.keys(metrics)).toEqual(["f1", "f1.heard", "f1.bass", "f1.cello"]);
    expect(metrics["f1.bass"]).toBeGreaterThan(0.8);
    expect(metrics["f1.cello"]).toBeGreaterThan(0.8);
    expect(metrics.f1).toBeCloseTo((metrics["f1.bass"] + metrics["f1.cello"]) / 2, 12);
    expect(columns).toEqual({});
    expect(layerWeights).toEqual([1]);
  });

  test("sd: who speaks when, under the best naming and decision", async () => {
    libri2mix(root);
    const [task] = await shortened("sd", 12, 3e-3);
    expect(sizes(task)).toEqual([6, 2, 2]);
    const { results } = await run([task]);
    expect(results[0].columns.SD).toBeLessThan(40);
    expect([1, 11]).toContain(results[0].metrics.median);
    // One tone from .2 to .6 s, one frame in 20 ms.
    const speech = Array.from({ length: 50 }, (_, t) => [
      t >= 10 && t < 30 ? 0.9 : 0.1,
      t === 4 ? 0.9 : 0.1,
    ]).flat();
    expect(turnsOf(speech, 1, 50, 0.5, 1)).toEqual([
      { speaker: "s0", start: 0.2, end: 0.6 },
      { speaker: "s1", start: 0.08, end: 0.1 },
    ]);
    expect(turnsOf(speech, 1, 50, 0.5, 11)).toEqual([{ speaker: "s0", start: 0.2, end: 0.6 }]);
  });

  test("st: a transformer writes translations letter by letter", async () => {
    covost(root);
    const [task] = await shortened("st", 70, 5e-3);
    expect(task.recipe).toMatchObject({
      clip: 10,
      schedule: { name: "inverse-sqrt" },
      head: { labelSmoothing: 0.1, beam: 20 },
    });
    const schedule = { name: "constant" } as const;
    const { results } = await run([{ ...task, recipe: { ...task.recipe, schedule, evaluateEvery: 70 } }]);
    expect(results[0].columns).toEqual({});
    expect(results[0].metrics.bleu).toBeGreaterThan(5);
  });
});
