import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { exportModel, importModel } from "../../src/train/export.ts";
import { closeStreams, parametersOf, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { openCheckpoint, requirePretrainingHeads } from "../../src/weights/checkpoint.ts";
import { type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

// Pre-training goes on where a pre-trained model left off: its heads are read, trained and written back.

const checkpoints = join(import.meta.dirname, "../fixtures/weights/checkpoints");
const scratch = mkdtempSync(join(tmpdir(), "continued-"));
let corpus: TinyCorpus;
beforeAll(() => {
  corpus = tinyCorpus(1);
});
afterAll(() => {
  for (const folder of [scratch, corpus.folder]) rmSync(folder, { recursive: true });
});

const recipeOf = (model: string, objectives: Record<string, unknown>) =>
  parseRecipe(
    tinyRecipe({
      upstream: { model },
      objectives,
      augment: { timeMask: { prob: 0.6, length: 2, minMasks: 2 }, channelMask: { prob: 0 } },
      optimizer: { name: "adam", lr: 0.01 },
      epochs: undefined,
      steps: 2,
    }),
    "tiny.yaml",
  );
const options = () => ({ data: corpus.folder, skipBad: false, log: () => {} });
const load = (model: string, objectives: Record<string, unknown>) =>
  prepare(recipeOf(model, objectives), { ...options(), cache: scratch });

/** Parameters of a checkpoint, by name. */
function read(path: string, names: readonly string[]): Record<string, Float32Array> {
  const { weights } = openCheckpoint(path);
  const out = Object.fromEntries(names.map((name) => [name, weights.readF32(name)]));
  weights.close();
  return out;
}

const own = { loss: "masked-prediction", clusters: { of: "codebook" } };
const mfcc = { loss: "masked-prediction", clusters: { of: "mfcc", count: 5 }, size: 8 };
const quantizer = ["quantizer.codevectors", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"];
const projections = ["project_q.weight", "project_q.bias", "project_hid.weight", "project_hid.bias"];

describe("continued pre-training", () => {
  test.each<[string, Record<string, unknown>, string[], string, string]>([
    [
      "wav2vec2-args.pt",
      { codes: { loss: "contrastive" }, diversity: { loss: "code-diversity", weight: 0.1 } },
      [...quantizer, ...projections],
      "model.safetensors",
      "Wav2Vec2ForPreTraining",
    ],
    [
      "hubert-omegaconf.pt",
      { units: own },
      ["final_proj.weight", "final_proj.bias", "label_embs_concat"],
      "heads.safetensors",
      "HubertModel",
    ],
  ])(
    "of %s starts from its heads, trains them and writes them back",
    async (file, objectives, heads, where, architecture) => {
      const source = join(checkpoints, file);
      const before = read(source, heads);
      const started = await load(source, objectives);
      await closeStreams(started.streams);
      const { store, task, streams, recipe } = started;
      const others = [...store.specs.keys()].filter(
        (name) => !name.startsWith(`${task.model.upstream.prefix}.`),
      );
      expect(others.sort()).toEqual([...heads].sort());
      for (const name of heads) expect(store.array(name)).toEqual(before[name]);

      const out = join(scratch, `run-${file}`);
      const { metrics } = await train(recipe, { ...options(), out });
      const after = read(out, heads);
      for (const name of heads) expect(after[name], name).not.toEqual(before[name]);
      expect(existsSync(join(out, "heads.safetensors"))).toBe(where === "heads.safetensors");
      const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
      expect(config.architectures).toEqual([architecture]);
      // The run's folder is a model that goes on in its turn, and is evaluated without the one it began with being named.
      const again = await load(out, objectives);
      await closeStreams(again.streams);
      for (const name of heads) expect(again.store.array(name)).toEqual(after[name]);
      const evaluated = await evaluateRun(out, "test", options());
      for (const [name, value] of Object.entries(evaluated.metrics)) {
        expect(Number.isFinite(value), name).toBe(true);
        expect(metrics).toHaveProperty([`test.${name}`]);
      }

      // What is written is what was there, to the last bit.
      for (let i = 0; i < store.weights.length; i++) store.weights[i] = Math.fround(Math.sin(i) + 1e-8 * i);
      const folder = mkdtempSync(join(scratch, "heads-"));
      exportModel(folder, task, store, streams[0]);
      const checkpoint = openCheckpoint(folder);
      requirePretrainingHeads(checkpoint);
      checkpoint.weights.close();
      for (const [name, values] of Object.entries(read(folder, heads)))
        expect(values).toEqual(store.array(name));
      const imported = parametersOf(recipe, task, false).store;
      importModel(folder, task, imported);
      expect(imported.weights).toEqual(store.weights);
    },
    60_000,
  );

  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "wav2vec2-ctc-args.pt",
      { codes: { loss: "contrastive" } },
      /wav2vec2-ctc-args\.pt: cannot be pre-trained further, for it lacks the pre-training heads \(quantizer\.codevectors, .*project_hid\.bias\)/,
    ],
    [
      "hubert-ctc-cfg.pt",
      { units: own },
      /hubert-ctc-cfg\.pt: cannot be pre-trained further, for it lacks the pre-training heads \(final_proj\.weight, final_proj\.bias, label_embs_concat\)/,
    ],
  ])("of %s, which lacks them, is refused", async (file, objectives, message) => {
    await expect(load(join(checkpoints, file), objectives)).rejects.toThrow(message);
  });

  test("with new clusters has a new head, whether the model has one or not", async () => {
    for (const file of ["hubert-omegaconf.pt", "data2vec-cfg.pt"]) {
      const { store, streams } = await load(join(checkpoints, file), { units: mfcc, more: mfcc });
      await closeStreams(streams);
      expect(store.specs.get("label_embs_concat")?.shape).toEqual([5, 8]);
      expect(store.specs.get("heads.more.label_embs_concat")?.shape).toEqual([5, 8]);
      expect(store.array("label_embs_concat").some((x) => x !== 0)).toBe(true);
    }
  }, 60_000);

  test("with another model's codebook leaves the model's own names to its own", async () => {
    const source = join(checkpoints, "hubert-omegaconf.pt");
    const other = { ...own, clusters: { of: "codebook", model: source } };
    const { store, streams } = await load(source, { other, own });
    await closeStreams(streams);
    const before = read(source, ["label_embs_concat"]).label_embs_concat;
    expect(store.array("label_embs_concat")).toEqual(before);
    expect(store.array("heads.other.label_embs_concat")).not.toEqual(before);
  });
});
