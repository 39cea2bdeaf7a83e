import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { schedule } from "../../src/nn/schedules.ts";
import { addAnchor } from "../../src/params/anchor.ts";
import { constantInit } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { frameTimes } from "../../src/train/feeds.ts";
import { frameCrossEntropy } from "../../src/train/losses/frame-cross-entropy.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { closeStreams, type Prepared, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { Stepper } from "../../src/train/stepper.ts";
import { ParameterStore } from "../../src/train/store.ts";
import { targetFromJson, targetToJson } from "../../src/train/targets.ts";
import { train } from "../../src/train/trainer.ts";
import { upstreamOf } from "../../src/upstreams/index.ts";
import { TINY_CONFIG, type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

let corpus: TinyCorpus;
const opened: Prepared[] = [];
beforeAll(() => {
  corpus = tinyCorpus(2);
  // The two tones of a word as phones, each half of it: their lengths differ by at most 0.03 s.
  const lines = readFileSync(corpus.manifest, "utf8").trim().split("\n");
  const timed = lines.map((line) => {
    const utterance = JSON.parse(line);
    const [a, b] = utterance.text;
    const phones = [
      { phone: `${a.toUpperCase()}1`, start: 0, end: 0.065 },
      { phone: b.toUpperCase(), start: 0.065, end: 0.2 },
    ];
    return JSON.stringify({ ...utterance, phones });
  });
  writeFileSync(corpus.manifest, `${timed.join("\n")}\n`);
});
afterAll(async () => {
  for (const { streams } of opened) await closeStreams(streams);
});

async function ready(changes: Record<string, unknown>) {
  const recipe = parseRecipe(tinyRecipe(changes), "tiny.yaml");
  const cache = join(corpus.folder, "cache");
  const prepared = await prepare(recipe, { data: corpus.folder, cache, skipBad: false, log: () => {} });
  opened.push(prepared);
  const { task, store, training } = prepared;
  const program = { threads: 1 };
  const optimiser = new Optimiser(recipe.optimizer, store, program);
  const stepper = new Stepper({
    ...{ task, store, optimiser, training, program, anchor: recipe.plan.anchor },
    ...{ optimizer: recipe.optimizer, recompute: recipe.plan.recompute, augment: recipe.augment, seed: 1 },
  });
  const [stream] = prepared.streams;
  const batches = prepared.orders.get("main")!.loaded(0);
  const step = async (i: number) => {
    const { value } = await batches.next();
    const done = await stepper.gradients(
      i,
      [{ stream, batches: value! }],
      prepared.weights.at(i),
      i < prepared.headSteps,
    );
    const factor = prepared.schedule!(i);
    await stepper.update(done.reached, recipe.optimizer.lr * factor);
    return done;
  };
  return { ...prepared, optimiser, stepper, step };
}

describe("stable fine-tuning", () => {
  it("trains the heads alone for the first tenth, then all but the extractor; moments start with the training", async () => {
    const run = await ready({
      ...{ steps: 20, epochs: undefined },
      ...{ plan: { headFirst: 0.1 }, schedule: { name: "warmup-hold-decay" } },
    });
    expect(run.headSteps).toBe(2);
    const { store, optimiser, stepper } = run;
    const before = store.weights.slice();
    const moved = () =>
      [...store.spans.values()]
        .filter(({ start, end }) =>
          store.weights.subarray(start, end).some((x, i) => x !== before[start + i]),
        )
        .map(({ name }) => name);
    const isHead = (name: string) => !name.startsWith("wav2vec2.");
    const isExtractor = (name: string) => name.startsWith("wav2vec2.feature_extractor.");
    const names = [...store.spans.keys()];
    await run.step(0);
    // Warm-up: the first rate is 0.
    expect(moved()).toEqual([]);
    await run.step(1);
    expect(moved()).toEqual(names.filter(isHead));
    const { start, end } = store.spans.get("wav2vec2.encoder.layers.0.attention.q_proj.weight")!;
    expect(optimiser.states.square.subarray(start, end).every((x) => x === 0)).toBe(true);
    await run.step(2);
    const after = moved();
    expect(after.filter(isExtractor)).toEqual([]);
    // The projection and the positional convolution belong to what trains; the mask vector is reached by masks alone.
    for (const part of [
      "feature_projection.projection.weight",
      "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    ])
      expect(after).toContain(`wav2vec2.${part}`);
    expect(optimiser.states.square.subarray(start, end).some((x) => x > 0)).toBe(true);
    expect(stepper.updates["heads.word.weight"]).toBe(3);
    expect(stepper.updates["wav2vec2.encoder.layers.0.attention.q_proj.weight"]).toBe(1);
  });

  it("warms up over 10 %, holds 40 % and decays over 50 %", () => {
    const factor = schedule({ name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 }, 50_000);
    const rates = [0, 2500, 5000, 25_000, 37_500, 50_000].map((step) => 1e-4 * factor(step));
    for (const [i, rate] of [0, 5e-5, 1e-4, 1e-4, 5e-5, 0].entries()) expect(rates[i]).toBeCloseTo(rate, 12);
  });
});

describe("L2 to the start", () => {
  it("takes Adam's steps as PyTorch does", async () => {
    const file = join(import.meta.dirname, "../fixtures/reference/anchor.json");
    const { lambda, lr, clip, start, slopes, losses, norms, path } = JSON.parse(readFileSync(file, "utf8"));
    const spec = { name: "x", shape: [start.length], init: constantInit(0) };
    const store = new ParameterStore(new Map([["x", spec]]), () => true);
    store.weights.set(start);
    const anchor = store.weights.slice();
    const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store, { threads: 1 });
    const range = { start: 0, end: start.length };
    for (const [i, slope] of (slopes as number[][]).entries()) {
      const own = slope.reduce((sum, s, j) => sum + s * store.weights[j], 0);
      store.gradients.set(slope);
      const held = addAnchor(store.gradients, store.weights, anchor, range, lambda);
      expect(own + held).toBeCloseTo(losses[i], 5);
      const norm = await optimiser.norm([range]);
      expect(norm).toBeCloseTo(norms[i], 5);
      await optimiser.step(
        [{ ...range, lr, weightDecay: 0, step: i + 1 }],
        Math.min(1, clip / (norm + 1e-6)),
      );
      for (const [j, value] of path[i].entries()) expect(store.weights[j]).toBeCloseTo(value, 5);
    }
    await optimiser.dispose();
  });

  it("holds the upstream, not the heads, and 0 is absent", async () => {
    const changes = { steps: 8, epochs: undefined, plan: { freeze: [] } };
    const go = async (anchor: number) => {
      const run = await ready({ ...changes, plan: { freeze: [], anchor } });
      const start = run.store.weights.slice();
      let last = { loss: 0, losses: {} as Record<string, number> };
      for (let i = 0; i < 4; i++) last = await run.step(i);
      const distance = (upstream: boolean) => {
        let sum = 0;
        for (const span of run.store.spans.values())
          if (span.name.startsWith("wav2vec2.") === upstream)
            for (let i = span.start; i < span.end; i++) sum += (run.store.weights[i] - start[i]) ** 2;
        return sum;
      };
      const own = Object.entries(last.losses).reduce(
        (sum, [name, x]) => sum + (name === "letters" ? 0.5 : 1) * x,
        0,
      );
      return { upstream: distance(true), heads: distance(false), held: last.loss - own };
    };
    const [free, held] = [await go(0), await go(100)];
    expect(free.held).toBeCloseTo(0, 6);
    expect(held.held).toBeGreaterThan(0);
    expect(held.upstream).toBeLessThan(0.5 * free.upstream);
    expect(held.heads).toBeGreaterThan(0.5 * free.heads);
  });
});

describe("SpecAugment over the heads' features", () => {
  const first = async (features?: Record<string, number>) => {
    const run = await ready({ plan: { freeze: [] }, ...(features && { augment: { features } }) });
    const { losses } = await run.step(0);
    return losses;
  };

  it("is absent where nothing moves or hides, and changes what is learned elsewhere", async () => {
    const plain = await first();
    expect(await first({})).toEqual(plain);
    const hidden = { timeMasks: 2, timeWidth: 3, channelMasks: 2, channelWidth: 6 };
    const changed = await first(hidden);
    for (const name of Object.keys(plain)) expect(changed[name]).not.toBe(plain[name]);
    // Drawn from the seed, the step and the stream alone.
    expect(await first(hidden)).toEqual(changed);
    expect(await first({ timeWarp: 2 })).not.toEqual(plain);
  });
});

describe("phoneme classification", () => {
  const spec = frameCrossEntropy.schema.parse({
    loss: "frame-cross-entropy",
    target: "phones",
    dropStress: true,
  });
  const phones = [
    { phone: "AA1", start: 0, end: 0.05 },
    { phone: "B", start: 0.05, end: 0.08 },
    // A gap, then the first phone again.
    { phone: "AA0", start: 0.1, end: 0.12 },
  ];
  const utterance = { id: "u", audio: "", phones };
  const source = { utterances: [utterance], corpus: {} as never, config: {} };
  const target = frameCrossEntropy.target(spec, source);

  it("gives each frame the phone over its middle, and none in gaps", () => {
    expect(target.labels.classes).toEqual(["AA", "B"]);
    expect(targetFromJson(targetToJson(target))).toEqual(target);
    const upstream = upstreamOf({ model_type: "wav2vec2" }, "test");
    const samples = 0.13 * 16_000;
    const times = frameTimes({ upstream }, samples);
    // wav2vec 2.0: a frame hears 400 samples, 320 apart.
    expect([times.frames, times.middle(0), times.middle(2)]).toEqual([6, 0.0125, 0.0525]);
    const row = frameCrossEntropy.encode(target, utterance);
    const labels = (at: typeof times) => {
      const facts = { frames: [at.frames], width: at.frames, times: [at], draw: () => random(1) };
      const feeds = frameCrossEntropy.feeds({ name: "p", spec, target }, [row], facts);
      return [...(feeds["labels.p"].data as Int32Array)];
    };
    // Middles at 12.5, 32.5, 52.5, 72.5, 92.5, 112.5 ms.
    expect(labels(times)).toEqual([0, 0, 1, 1, -1, 0]);
    // Twice as fast: half as many samples, the same phones at half their times.
    const fast = frameTimes({ upstream }, samples / 2, samples);
    expect(fast.middle(0)).toBeCloseTo(0.025, 9);
    expect(labels(fast)).toEqual([0, 1, 0]);
  });

  it("scores frames and leaves uncovered ones out", () => {
    const times = { frames: 6, middle: (frame: number) => 0.0125 + 0.02 * frame };
    const truth = frameCrossEntropy.encode(target, utterance);
    // Says AA, B, B, B, B, AA.
    const scores = Float32Array.from([1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0]);
    const answer = frameCrossEntropy.answer(target, { scores, shape: [1, 6, 2], frames: 6, times, truth });
    expect(answer).toEqual({ kind: "frames", frames: 5, sums: { correct: 4 } });
    expect(frameCrossEntropy.score(target, [answer])).toEqual({ frameAccuracy: 4 / 5 });
  });

  it("says what is missing", () => {
    const bare = { ...utterance, phones: ["AA1"] };
    expect(() => frameCrossEntropy.encode(target, bare)).toThrow(/"u" has no phones with times/);
    const other = { ...utterance, phones: [{ phone: "ZH", start: 0, end: 1 }] };
    expect(() => frameCrossEntropy.encode(target, other)).toThrow(/the phone "ZH"/);
  });

  it("learns which tone is heard when, with a projected head beside a projected classifier", async () => {
    const { metrics } = await train(
      parseRecipe(
        tinyRecipe({
          upstream: { config: TINY_CONFIG },
          objectives: {
            phones: { loss: "frame-cross-entropy", target: "phones", dropStress: true },
            word: { loss: "cross-entropy", target: "labels.word", head: { projection: 8 }, weight: 0.3 },
          },
          ...{ epochs: 25, evaluate: { best: "phones.frameAccuracy" }, augment: { speed: [0.9, 1.1] } },
        }),
        "tiny.yaml",
      ),
      { data: corpus.folder, out: join(corpus.folder, "run"), skipBad: false, log: () => {} },
    );
    expect(metrics["test.phones.frameAccuracy"]).toBeGreaterThan(0.8);
    expect(metrics["test.word.accuracy"]).toBeGreaterThan(0.5);
  });
});
