import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parseRecipe, printRecipe } from "../../src/train/recipe.ts";
import { Signals, signalNames } from "../../src/train/signals.ts";
import { train } from "../../src/train/trainer.ts";
import { TINY_CONFIG, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

const weights = { F0final_sma: 0.6, logHNR_sma: 0.4, pcm_zcr_sma: 0 };
const file = {
  always: { mel: 1, mfcc: 1 },
  weights,
  choices: [
    { method: "sparsemax", weights },
    { method: "all", weights: { F0final_sma: 1, logHNR_sma: 1, pcm_zcr_sma: 1 } },
  ],
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "workers-"));
});
const put = (name: string, value: unknown): string => {
  writeFileSync(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));
  return name;
};
const parse = (workers: unknown, objectives: unknown = {}, overrides: string[] = []) =>
  parseRecipe(tinyRecipe({ workers, objectives }), join(folder, "r.yaml"), overrides);
const lambdas = (recipe: ReturnType<typeof parse>) =>
  Object.fromEntries(Object.entries(recipe.objectives).map(([name, o]) => [name, o.weight]));

describe("workers from a selection", () => {
  it("are one objective for each weight above 0, beside mel and MFCC", () => {
    const recipe = parse({ from: put("weights.json", file), layer: 1, hidden: 4 });
    expect(lambdas(recipe)).toEqual({ mel: 1, mfcc: 1, F0final_sma: 0.6, logHNR_sma: 0.4 });
    expect(recipe.objectives.F0final_sma).toMatchObject({
      ...{ loss: "worker", signal: "F0final_sma", layer: 1, hidden: 4 },
    });
    expect(recipe).not.toHaveProperty("workers");
  });

  it("keep the other objectives, and what those say of a worker", () => {
    const recipe = parse(
      { from: put("weights.json", file), scale: 0.1 },
      { small: { loss: "feature-penalty" }, mel: { weight: 0 }, logHNR_sma: { distance: "mse" } },
    );
    expect(lambdas(recipe)).toEqual({ small: 1, mel: 0, mfcc: 0.1, F0final_sma: 0.06, logHNR_sma: 0.04 });
    expect(recipe.objectives.logHNR_sma).toMatchObject({ distance: "mse" });
  });

  it("are those of another method where one is named", () => {
    const recipe = parse({ from: put("weights.json", file) }, {}, ["workers.method=all"]);
    expect(lambdas(recipe)).toEqual({ mel: 1, mfcc: 1, F0final_sma: 1, logHNR_sma: 1, pcm_zcr_sma: 1 });
  });

  it("weigh spectral candidates by absolute difference, MFCC among them (eq. 13)", () => {
    const mu = { mfcc: 0.5, spectralFlatness: 0.3, octaveIntensity: 0.2, chroma: 0 };
    const spectral = { always: { mel: 1 }, weights: { ...weights, ...mu } };
    const { objectives } = parse({ from: put("spectral.json", spectral) });
    expect(Object.keys(objectives).sort()).toEqual(
      ["F0final_sma", "logHNR_sma", "mel", "mfcc", "octaveIntensity", "spectralFlatness"].sort(),
    );
    expect(objectives.mfcc).toMatchObject({ weight: 0.5, distance: "l1" });
    expect(objectives.mel).toMatchObject({ weight: 1 });
    expect(objectives.mel).not.toHaveProperty("distance");
  });

  it("stand in the printed recipe, which needs the file no more", () => {
    const recipe = parse({ from: put("gone.json", file) });
    rmSync(join(folder, "gone.json"));
    const elsewhere = mkdtempSync(join(tmpdir(), "moved-"));
    expect(parseRecipe(printRecipe(recipe), join(elsewhere, "recipe.yaml"))).toEqual(recipe);
  });

  it("say what is wrong in a sentence", () => {
    const fails = (workers: unknown, objectives?: unknown) => expect(() => parse(workers, objectives));
    fails({ from: "none.json" }).toThrow(
      /r\.yaml: workers\.from: .*none\.json does not exist; `voxsmith select` makes it$/,
    );
    fails({ from: put("broken.json", "{") }).toThrow(/broken\.json: is not JSON/);
    fails({ from: put("empty.json", {}) }).toThrow(/empty\.json: weights must be `\{"weights"/);
    fails({ from: put("text.json", { weights: { mel: "much" } }) }).toThrow(
      /text\.json: weights\.mel must be a number of at least 0/,
    );
    fails({ from: put("odd.json", { weights: { F0final_smo: 1 } }) }).toThrow(
      /odd\.json: weighs "F0final_smo", which is no signal; did you mean F0final_sma\?/,
    );
    fails({ from: put("weights.json", file), method: "rfe" }).toThrow(
      /workers\.method: .*weights\.json has no weights by "rfe"; it has sparsemax, all$/,
    );
    fails({ from: "weights.json", scales: 2 }).toThrow(
      /workers\.scales: is not a known key; did you mean `scale`/,
    );
    fails({ from: "weights.json" }, { mel: { loss: "mse", target: "labels.pitch" } }).toThrow(
      /objectives\.mel: is also the name of a worker of `workers`/,
    );
  });

  it("train: spectral targets and descriptors together, the loss falls, and the run can be moved", async () => {
    const corpus = tinyCorpus(2);
    const mu = { mfcc: 0.4, spectralFlatness: 0.2, octaveIntensity: 0.2, chroma: 0.2 };
    put("all.json", { always: { mel: 1 }, weights: { ...mu, pcm_zcr_sma: 1 } });
    const recipe = parseRecipe(
      tinyRecipe({
        upstream: { config: { ...TINY_CONFIG, mask_time_prob: 0, mask_feature_prob: 0 } },
        ...{ workers: { from: "all.json" }, objectives: {} },
        ...{ optimizer: { name: "adam", lr: 0.01 }, epochs: 8 },
      }),
      join(folder, "r.yaml"),
    );
    const out = join(corpus.folder, "run");
    await train(recipe, { out, data: corpus.folder, skipBad: false, log: () => {} });
    rmSync(join(folder, "all.json"));
    const losses = readFileSync(join(out, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === "train")
      .map((line) => line.losses as Record<string, number>);
    for (const name of Object.keys(recipe.objectives))
      expect(losses.at(-1)![name], name).toBeLessThan(0.97 * losses[0][name]);
    mkdirSync(join(dirname(out), "moved"));
    expect(
      parseRecipe(readFileSync(join(out, "recipe.yaml"), "utf8"), join(dirname(out), "moved", "r")),
    ).toEqual(recipe);
  }, 30_000);
});

describe("signals", () => {
  it("are frames at 10 ms, as many as the recording has, whatever the sample rate", async () => {
    for (const rate of [8000, 16_000]) {
      const wave = Float32Array.from(
        { length: rate },
        (_, i) => 0.3 * Math.sin((2 * Math.PI * 440 * i) / rate),
      );
      const signals = new Signals(rate, async () => wave);
      for (const name of signalNames) {
        const { frames, dim, data } = await signals.of(name, 0);
        expect(Math.abs(frames - 99), `${name} at ${rate}`).toBeLessThan(5);
        expect(data.length).toBe(frames * dim);
        expect(data.every(Number.isFinite)).toBe(true);
      }
      // A440 is the ninth pitch class above C.
      const { data, dim } = await signals.of("chroma", 0);
      expect(data.subarray(50 * dim, 51 * dim).indexOf(1)).toBe(9);
    }
  });
});
