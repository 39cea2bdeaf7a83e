import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { locateModel } from "../../src/train/locate.ts";
import { closeStreams, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { Inference } from "../../src/use/inference.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { headOf } from "../../src/weights/names.ts";
import { type TinyCorpus, tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";
import { hub, startHub } from "./hub-server.ts";

// `upstream.model` takes every kind of name: a folder, a run, a checkpoint file, a model of the hub.

const fixtures = join(import.meta.dirname, "../fixtures");
const tiny = join(fixtures, "reference/wav2vec2-tiny");
const scratch = mkdtempSync(join(tmpdir(), "voxsmith-sources-"));
let corpus: TinyCorpus;
let close: () => void;

beforeAll(async () => {
  corpus = tinyCorpus(2);
  const started = await startHub();
  close = started.close;
  hub.home = join(scratch, "home");
  hub.files = Object.fromEntries(
    ["config.json", "model.safetensors"].map((name) => [
      name,
      { data: readFileSync(join(tiny, name)), large: name.endsWith(".safetensors") },
    ]),
  );
  process.env.HF_HOME = hub.home;
  process.env.HF_ENDPOINT = started.endpoint;
});
afterAll(() => {
  close();
  delete process.env.HF_HOME;
  delete process.env.HF_ENDPOINT;
  rmSync(scratch, { recursive: true });
  rmSync(corpus.folder, { recursive: true });
});

const recipeFor = (model: string, changes: Record<string, unknown> = {}) =>
  parseRecipe(
    tinyRecipe({
      upstream: { model },
      objectives: { word: { loss: "cross-entropy", target: "labels.word" } },
      augment: { timeMask: { prob: 0 }, channelMask: { prob: 0 } },
      ...changes,
    }),
    "tiny.yaml",
  );

/** The run's store before its first step must hold the checkpoint's own numbers. */
async function expectLoaded(model: string, path: string): Promise<string[]> {
  const said: string[] = [];
  const options = {
    data: corpus.folder,
    cache: scratch,
    skipBad: false,
    log: (line: string) => said.push(line),
  };
  const run = await prepare(recipeFor(model), options);
  await closeStreams(run.streams);
  const { weights } = openCheckpoint(path);
  const names = [...weights.infos.keys()].filter(
    (name) => headOf(name) === undefined && !name.endsWith("masked_spec_embed"),
  );
  expect(names.length).toBeGreaterThan(20);
  for (const name of names) expect(run.store.array(name)).toEqual(weights.readF32(name));
  weights.close();
  return said;
}

describe("a recipe's upstream is read from", () => {
  test.each(["wav2vec2-args.pt", "hubert-omegaconf.pt", "wavlm.pt", "data2vec-cfg.pt", "decoar2.pt"])(
    "%s",
    async (name) => {
      const path = join(fixtures, "weights/checkpoints", name);
      await expectLoaded(path, path);
    },
  );

  test("an s3prl run, saying what it does not say", async () => {
    const path = join(fixtures, "weights/checkpoints/s3prl-run.ckpt");
    expect((await expectLoaded(path, path)).join()).toMatch(/taken as usual: attention heads of 64 dim/);
  });

  test("the hub, by name: downloaded, trained on, and trained on again without network", async () => {
    await expectLoaded("org/tiny", tiny);
    const recipe = recipeFor("org/tiny", { epochs: 1 });
    const out = join(scratch, "from-hub");
    const options = { data: corpus.folder, skipBad: false, log: () => {} };
    expect((await train(recipe, { ...options, out })).status).toBe("finished");
    // The run says what it was made from, not where that lay.
    expect(readFileSync(join(out, "recipe.yaml"), "utf8")).toContain("model: org/tiny");
    const before = hub.requests.length;
    process.env.HF_HUB_OFFLINE = "1";
    try {
      await expectLoaded("org/tiny", tiny);
      expect((await locateModel("org/tiny", () => {})).commit).toMatch(/^[0-9a-f]{40}$/);
      const model = await Inference.open("org/tiny", { threads: 1, layers: "all" });
      expect(model.model.task.model.upstream.modelType).toBe("wav2vec2");
      await model.dispose();
    } finally {
      delete process.env.HF_HUB_OFFLINE;
    }
    expect(hub.requests.length).toBe(before);
  }, 60_000);

  test("another run's folder: training goes on from its upstream, with new heads", async () => {
    await expectLoaded(join(scratch, "from-hub"), join(scratch, "from-hub"));
  });

  test("the package's own model, from any folder, unless a folder there has its name", async () => {
    const [here, elsewhere] = [process.cwd(), mkdtempSync(join(scratch, "elsewhere-"))];
    process.chdir(elsewhere);
    try {
      const own = resolve(import.meta.dirname, "../../models/nano");
      expect((await locateModel("models/nano", () => {})).path).toBe(own);
      mkdirSync("models/nano", { recursive: true });
      expect((await locateModel("models/nano", () => {})).path).toBe("models/nano");
    } finally {
      process.chdir(here);
    }
  });

  test("an upstream without weights, by its name", async () => {
    const options = { data: corpus.folder, cache: scratch, skipBad: false, log: () => {} };
    const run = await prepare(recipeFor("log-mel", { plan: {} }), options);
    await closeStreams(run.streams);
    expect(run.task.model.upstream.modelType).toBe("log-mel");
  });

  test("nowhere: one sentence", async () => {
    const options = { data: corpus.folder, cache: scratch, skipBad: false, log: () => {} };
    await expect(prepare(recipeFor("org/none"), options)).rejects.toThrow(/org\/none: not on http/);
    await expect(prepare(recipeFor("nowhere"), options)).rejects.toThrow(
      /is no folder, no file, and no name/,
    );
  });
});
