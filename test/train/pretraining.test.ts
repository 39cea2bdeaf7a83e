import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { TINY_CONFIG, type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

let corpus: TinyCorpus;
beforeAll(() => {
  corpus = tinyCorpus(4);
});

const config = { ...TINY_CONFIG, mask_feature_prob: 0, layerdrop: 0, mask_time_prob: 0.6 };
const units = { loss: "masked-prediction", clusters: { of: "mfcc", count: 5 }, size: 8 };

async function run(
  out: string,
  changes: Record<string, unknown>,
  options: { signal?: AbortSignal; log?: (line: string) => void } = {},
) {
  const recipe = parseRecipe(
    tinyRecipe({ upstream: { config }, epochs: 3, optimizer: { name: "adam", lr: 0.01 }, ...changes }),
    "tiny",
  );
  const folder = join(corpus.folder, out);
  const result = await train(recipe, {
    out: folder,
    data: corpus.folder,
    skipBad: false,
    log: () => {},
    ...options,
  });
  const log = readFileSync(join(folder, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { ...result, log, folder };
}

describe("pre-training", () => {
  it("learns the clusters of hidden frames, and signals of the voice, from audio alone", async () => {
    const objectives = {
      units,
      mel: { loss: "worker", signal: "mel", weight: 0.5, layer: 1 },
      crossings: { loss: "worker", signal: "pcm_zcr_sma", weight: 0.2, hidden: 4 },
      small: { loss: "feature-penalty", weight: 0.1 },
    };
    const { log, metrics } = await run("units", { objectives, epochs: 12 });
    const steps = log.filter(({ event }) => event === "train");
    for (const name of ["units", "mel", "crossings"])
      expect(steps.at(-1).losses[name]).toBeLessThan(0.9 * steps[0].losses[name]);
    expect(metrics["test.units.accuracy"]).toBeGreaterThan(0.3);
    expect(metrics["test.units.perplexity"]).toBeGreaterThan(1.5);
  }, 60_000);

  it("wav2vec 2.0 with a worker runs, is judged on hidden frames, and resumes bit for bit", async () => {
    const codes = {
      ...config,
      model_type: "wav2vec2",
      num_codevector_groups: 2,
      num_codevectors_per_group: 6,
      codevector_dim: 8,
      proj_codevector_dim: 8,
      num_negatives: 5,
    };
    const changes = {
      upstream: { config: codes },
      objectives: {
        contrastive: { loss: "contrastive", temperature: { decay: 0.99 } },
        diversity: { loss: "code-diversity", weight: 0.1 },
        mel: { loss: "worker", signal: "mel", weight: 0.5, layer: 0 },
      },
      batch: { size: 4, accumulate: 2 },
      epochs: 4,
    };
    const whole = await run("whole", changes);
    const steps = whole.log.filter(({ event }) => event === "train");
    expect(steps[0].measures["diversity.perplexity"]).toBeGreaterThan(2);
    expect(whole.metrics["test.contrastive.codePerplexity"]).toBeGreaterThan(1);
    // Stopped before each step by a signal that is up already, and gone on with: one more step each time.
    const stop = new AbortController();
    let stopped = 0;
    const log = (line: string) => {
      if (line.includes("parameters")) stopped++;
    };
    stop.abort();
    expect((await run("parts", changes, { signal: stop.signal, log })).status).toBe("interrupted");
    expect(stopped).toBe(1);
    const parts = await run("parts", changes);
    expect(parts.log).toEqual(whole.log);
    expect(readFileSync(join(parts.folder, "model.safetensors"))).toEqual(
      readFileSync(join(whole.folder, "model.safetensors")),
    );
  }, 60_000);

  it("says what does not fit", async () => {
    const fails = (changes: Record<string, unknown>) => run(`bad-${JSON.stringify(changes).length}`, changes);
    await expect(fails({ objectives: { units }, augment: { timeMask: { prob: 0 } } })).rejects.toThrow(
      /objectives\.units: learns from hidden frames, but augment\.timeMask\.prob is 0/,
    );
    await expect(fails({ objectives: { units }, augment: { speed: [0.9, 1.1] } })).rejects.toThrow(
      /augment\.speed: moves the frames/,
    );
    await expect(
      fails({ objectives: { units: { ...units, clusters: { of: "layer", layer: 1 } } } }),
    ).rejects.toThrow(/objectives\.units\.clusters\.model: is missing/);
    await expect(fails({ objectives: { mel: { loss: "worker", signal: "mel", layer: 7 } } })).rejects.toThrow(
      /objectives\.mel\.layer: there are hidden states 0 to 2/,
    );
  }, 60_000);

  it("clusters a layer of a model it made before", async () => {
    const objectives = { units };
    const { folder } = await run("first", {
      objectives,
      upstream: { config: { ...config, mask_time_prob: 0.05, mask_time_length: 4 } },
      augment: { timeMask: { prob: 0.65, length: 3, minMasks: 1 } },
      epochs: 1,
    });
    // Masks are the recipe's: the model that is written keeps its own for those who fine-tune it.
    const written = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(written).toMatchObject({ mask_time_prob: 0.05, mask_time_length: 4 });
    expect(written).not.toHaveProperty("mask_time_min_masks");
    const second = { ...units, clusters: { of: "layer", model: folder, layer: 1, count: 4 } };
    const { metrics } = await run("second", { objectives: { units: second }, epochs: 2 });
    expect(metrics["test.units.loss"]).toBeLessThan(3);
    expect(Object.keys(metrics)).toContain("test.units.perplexity");
    const said: string[] = [];
    const fromSecond = {
      upstream: { model: join(corpus.folder, "second") },
      objectives: { units },
      epochs: 1,
    };
    await run("third", fromSecond, { log: (line) => said.push(line) });
    expect(said.join("\n")).toContain("hides 60 % of the frames in training, as pre-training does");
  }, 60_000);

  it("trains a PASE-like encoder by its workers, with Adadelta and NewBob", async () => {
    const pase = {
      model_type: "pase",
      num_mel_bins: 16,
      cnn_channels: [3, 4],
      rnn_layers: 2,
      rnn_neurons: 6,
      dnn_neurons: [8, 8],
    };
    const { log } = await run("pase", {
      upstream: { config: pase },
      objectives: {
        mel: { loss: "worker", signal: "mel" },
        mfcc: { loss: "worker", signal: "mfcc" },
        crossings: { loss: "worker", signal: "pcm_zcr_sma", weight: 0.5 },
      },
      optimizer: { name: "adadelta", clip: 5 },
      schedule: { name: "newbob", factor: 0.75 },
      epochs: 3,
    });
    // Adadelta's first steps are short.
    const losses = log.filter(({ event }) => event === "valid").map(({ loss }) => loss);
    expect(losses).toHaveLength(3);
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    expect(losses[2]).toBeLessThan(losses[0] - 0.02);
  }, 60_000);

  it("stops where all frames get one cluster", async () => {
    const guards = { collapse: { codes: 6, evaluations: 2 } };
    await expect(run("collapse", { objectives: { units }, guards })).rejects.toThrow(
      /objective units has used fewer than 6 codes .* in 2 evaluations in a row/,
    );
  }, 60_000);
});
