import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Evaluator } from "../../src/train/evaluation.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { closeStreams, type Prepared, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { Stepper } from "../../src/train/stepper.ts";
import { TINY_CONFIG, type TinyCorpus, tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

// No dropout and no masks: what one batch and several draw would differ.
const still = {
  ...TINY_CONFIG,
  ...{
    hidden_dropout: 0,
    activation_dropout: 0,
    attention_dropout: 0,
    feat_proj_dropout: 0,
    final_dropout: 0,
  },
  ...{ layerdrop: 0, mask_time_prob: 0, mask_feature_prob: 0 },
};
const word = { loss: "cross-entropy", target: "labels.word" };
const letters = { loss: "ctc", target: "characters", weight: 0.5 };
const pitch = { loss: "mse", target: "labels.pitch", head: { lstm: { hidden: 4, layers: 2 } }, weight: 0.1 };

let corpus: TinyCorpus;
const opened: Prepared[] = [];
beforeAll(() => {
  corpus = tinyCorpus(2);
});
afterAll(async () => {
  for (const { streams } of opened) await closeStreams(streams);
});

async function ready(changes: Record<string, unknown>) {
  const recipe = parseRecipe(tinyRecipe({ upstream: { config: still }, ...changes }), "tiny.yaml");
  const cache = join(corpus.folder, "cache");
  const prepared = await prepare(recipe, { data: corpus.folder, cache, skipBad: false, log: () => {} });
  expect(existsSync(cache)).toBe(false);
  opened.push(prepared);
  const { task, store, training } = prepared;
  const program = { threads: 1 };
  const optimiser = new Optimiser(recipe.optimizer, store, program);
  const stepper = new Stepper({
    ...{ task, store, optimiser, training, program },
    ...{ optimizer: recipe.optimizer, recompute: recipe.plan.recompute, augment: recipe.augment, seed: 1 },
  });
  return { ...prepared, optimiser, stepper };
}

/** The gradients of the first update, by parameter. */
async function firstGradients(run: Awaited<ReturnType<typeof ready>>) {
  const [stream] = run.streams;
  const { value } = await run.orders.get("main")!.loaded(0).next();
  const result = await run.stepper.gradients(0, [{ stream, batches: value! }], run.weights.at(0), false);
  return { ...result, gradients: run.store.gradients };
}

/** |a - b| / |b| over whole buffers. */
function difference(a: Float32Array, b: Float32Array): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    error += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(error / size);
}

describe("training", () => {
  it.each(["mean", "sum"])(
    "k batches give the gradient of one k times as large (CTC %s)",
    async (reduction) => {
      const objectives = { word, letters: { ...letters, reduction }, pitch };
      // 8 training utterances: one batch of 8, or 3 + 3 + 2, which only the right weights put together.
      const whole = await firstGradients(await ready({ objectives, batch: { size: 8 } }));
      const parts = await firstGradients(await ready({ objectives, batch: { size: 3, accumulate: 3 } }));
      expect(difference(parts.gradients, whole.gradients)).toBeLessThan(1e-5);
      expect(parts.loss).toBeCloseTo(whole.loss, 4);
      const wrong = await firstGradients(await ready({ objectives, batch: { size: 3, accumulate: 1 } }));
      expect(difference(wrong.gradients, whole.gradients)).toBeGreaterThan(1e-2);
    },
  );

  it("an objective whose weight is always 0 is absent", async () => {
    const off = await ready({ objectives: { word, letters: { ...letters, weight: 0 } } });
    const absent = await ready({ objectives: { word } });
    expect([...off.store.specs.keys()]).toEqual([...absent.store.specs.keys()]);
    expect(off.store.weights).toEqual(absent.store.weights);
    expect((await firstGradients(off)).gradients).toEqual((await firstGradients(absent)).gradients);
    // One that is 0 at the moment has a head, but reaches no parameter.
    const later = await ready({ objectives: { word, letters: { ...letters, from: { epoch: 1 } } } });
    const { reached } = await firstGradients(later);
    expect(reached.has("lm_head.weight")).toBe(false);
    expect(later.store.specs.has("lm_head.weight")).toBe(true);
  });

  it("frozen parameters stay as they are, bit for bit, and cost no gradient", async () => {
    const freeze = ["feature_extractor", "encoder.layers.0"];
    const run = await ready({ objectives: { word, letters }, plan: { freeze } });
    const before = run.store.weights.slice();
    const { reached } = await firstGradients(run);
    await run.stepper.update(reached, 0.1);
    let moved = 0;
    for (const { name, start, end } of run.store.spans.values()) {
      const same = run.store.weights.subarray(start, end).every((x, i) => x === before[start + i]);
      const frozen = freeze.some((part) => name.startsWith(`wav2vec2.${part}.`));
      if (frozen) expect([name, same, end > run.store.trainedSize]).toEqual([name, true, true]);
      else if (!same) moved++;
    }
    expect(moved).toBeGreaterThan(20);
    expect(run.optimiser.states.mean.length).toBe(run.store.trainedSize);
  });

  it("recomputation changes no gradient", async () => {
    const objectives = { word, letters };
    const kept = await firstGradients(await ready({ objectives }));
    const again = await firstGradients(await ready({ objectives, plan: { freeze: [], recompute: "all" } }));
    expect(difference(again.gradients, kept.gradients)).toBeLessThan(1e-6);
  });

  it("heads come first, and the upstream's updates count from the switch", async () => {
    const run = await ready({ objectives: { word, letters } });
    const [stream] = run.streams;
    const { value } = await run.orders.get("main")!.loaded(0).next();
    const batches = [{ stream, batches: value! }];
    const heads = await run.stepper.gradients(0, batches, run.weights.at(0), true);
    expect([...heads.reached].sort()).toEqual([
      ...["heads.word.bias", "heads.word.weight", "lm_head.bias", "lm_head.weight"],
    ]);
    await run.stepper.update(heads.reached, 1e-3);
    const all = await run.stepper.gradients(1, batches, run.weights.at(1), false);
    await run.stepper.update(all.reached, 1e-3);
    expect(run.stepper.updates["lm_head.weight"]).toBe(2);
    expect(run.stepper.updates["wav2vec2.encoder.layers.0.attention.q_proj.weight"]).toBe(1);
  });
});

describe("evaluation", () => {
  async function losses(changes: Record<string, unknown>, batch: number) {
    const run = await ready({ objectives: { word, letters, pitch }, ...changes });
    const evaluator = new Evaluator(run.task, run.store, { threads: 1, batch });
    const { predictions } = (await evaluator.evaluate(run.streams, "train"))!;
    await evaluator.dispose();
    return Float32Array.from(predictions.flatMap((p) => Object.values(p.losses)));
  }

  it("of a batch equals that of each alone, where padding is hidden", async () => {
    expect(difference(await losses({}, 8), await losses({}, 1))).toBeLessThan(1e-5);
  });

  it("differs where the model hears padding (group norm, no mask), as the trainer says", async () => {
    const config = { ...still, feat_extract_norm: "group", do_stable_layer_norm: false, conv_bias: false };
    const upstream = { config };
    expect(difference(await losses({ upstream }, 8), await losses({ upstream }, 1))).toBeGreaterThan(1e-4);
  });
});
