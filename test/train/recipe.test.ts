import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import type { SplitSpec } from "../../src/corpus/splits.ts";
import { UserError } from "../../src/errors.ts";
import type { OptimiserSpec } from "../../src/nn/optimisers.ts";
import { newBobStart, type ScheduleSpec, schedule } from "../../src/nn/schedules.ts";
import { modelOf } from "../../src/train/model.ts";
import { parseRecipe, printRecipe, readRecipe, recipeDifferences } from "../../src/train/recipe.ts";

const minimal = `name: tiny
upstream: { model: models/nano }
corpus: { manifest: manifest.jsonl }
objectives:
  digit:
    loss: cross-entropy
    target: labels.digit
`;

/** The message of the one UserError that a text gives. */
function fault(text: string, overrides: string[] = []): string {
  try {
    parseRecipe(text, "r.yaml", overrides);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error("no error");
}

describe("recipe", () => {
  it.each([
    ["augment: {}", false, 0.05, 0],
    ["augment: { timeMask: { prob: 0 } }", false, 0, 0],
    ["augment: { timeMask: { prob: 0.3 } }", true, 0.3, 0],
    ["augment: { channelMask: { prob: 0.2 } }", true, 0, 0.2],
  ])("%s of a model whose configuration masks nothing", (augment, applied, frames, channels) => {
    const config = "{ model_type: wav2vec2, apply_spec_augment: false, mask_time_prob: 0.05 }";
    const text = minimal.replace("{ model: models/nano }", `{ config: ${config} }`);
    expect(modelOf(parseRecipe(`${text}${augment}\n`, "r.yaml")).settings).toMatchObject({
      apply_spec_augment: applied,
      mask_time_prob: frames,
      mask_feature_prob: channels,
    });
  });

  it("fills in every default", () => {
    const recipe = parseRecipe(minimal, "r.yaml");
    expect(recipe).toMatchObject({
      seed: 1,
      epochs: 10,
      upstream: { model: "models/nano", layers: "last" },
      corpus: { sampleRate: 16000, resample: true, normalize: true, split: { by: "field" } },
      objectives: { digit: { pool: "mean", head: "linear", weight: 1 } },
      plan: { freeze: ["feature_extractor"], headFirst: 0, recompute: "none", groups: [] },
      optimizer: { name: "adam", lr: 1e-4, betas: [0.9, 0.98], clip: 1 },
      schedule: { name: "constant" },
      evaluate: { every: "epoch", best: "loss", mode: "min" },
      baseline: "none",
      dropout: {},
      augment: { timeMask: {}, channelMask: {} },
    });
    expect(recipe.steps).toBeUndefined();
  });

  it("reads back what it prints", () => {
    const overrides = [
      "objectives.spelling={loss: ctc, target: characters, from: {epoch: 2}, head: {lstm: {hidden: 8}}}",
      "objectives.digit.weight=[{at: {step: 0}, weight: 0}, {at: {step: 10}, weight: 1}]",
      "schedule.name=tri-stage",
      "evaluate.best=digit.accuracy",
    ];
    const recipe = parseRecipe(minimal, "r.yaml", overrides);
    expect(recipe.objectives.spelling).toMatchObject({
      pool: "none",
      head: { lstm: { layers: 1, hidden: 8 } },
    });
    expect(recipe.evaluate.mode).toBe("max");
    const printed = printRecipe(recipe);
    expect(parseRecipe(printed, "again.yaml")).toEqual(recipe);
    expect(recipeDifferences(recipe, parseRecipe(printed, "again.yaml", ["optimizer.lr=2"]))).toEqual([
      "optimizer.lr",
    ]);
  });

  it("applies overrides, also inside lists and through plain values", () => {
    const recipe = parseRecipe(`${minimal}plan: { groups: [{ match: encoder }] }\n`, "r.yaml", [
      "optimizer.lr=3e-5",
      "plan.groups.0.lr=0.5",
      "plan.groups.1={match: head, lr: 2}",
      "objectives.digit.head.lstm.hidden=12",
      "corpus.split={by: folds, fold: 2}",
      "batch.size=4",
    ]);
    expect(recipe.optimizer.lr).toBe(3e-5);
    expect(recipe.plan.groups).toEqual([
      { match: "encoder", lr: 0.5 },
      { match: "head", lr: 2 },
    ]);
    expect(recipe.objectives.digit).toMatchObject({ head: { lstm: { hidden: 12 } } });
    expect(recipe.corpus.split).toMatchObject({ by: "folds", fold: 2, folds: 5 });
  });

  it.each([
    ["batchh: 3", /^r\.yaml:8: batchh: is not a known key; did you mean `batch`\?$/],
    ["optimizer:\n  lrr: 3", /^r\.yaml:9: optimizer\.lrr: is not a known key; did you mean `lr`\?$/],
    ["optimizer: { name: sgd, betas: [0, 0] }", /:8: optimizer\.betas: .*known here: name, lr, momentum/],
    ["corpus2: {}", /:8: corpus2: is not a known key; did you mean `corpus`\?/],
    ["seed: one", /:8: seed: must be a number, not "one"$/],
    ["seed: 1.5", /:8: seed: must be a whole number, not 1\.5$/],
    ["batch: 4", /:8: batch: must be a group of keys, not 4$/],
    ["batch: { size: 0 }", /:8: batch\.size: must be at least 1, not 0$/],
    ["plan: { headFirst: 2 }", /:8: plan\.headFirst: must be at most 1, not 2$/],
    [
      "optimizer: { name: adm }",
      /:8: optimizer\.name: must be adam, adamw, adadelta or sgd, not "adm"; did you mean adam\?$/,
    ],
    ["baseline: mel", /:8: baseline: must be none or log-mel-ridge, not "mel"$/],
    ["plan: { recompute: some }", /:8: plan\.recompute: must be none or all or a list, not "some"/],
    ["epochs: 3\nsteps: 7", /:9: steps: must not be given together with `epochs`$/],
    ["optimizer: [1]", /:8: optimizer: must be a group of keys, not a list of 1$/],
    ["evaluate: { best: digits.accuracy }", /:8: evaluate\.best: .* one of digit$/],
    ["name: again", /^r\.yaml:8:1: is not YAML: Map keys must be unique$/],
    ["a: [", /^r\.yaml:\d+:\d+: is not YAML: /],
  ])("says what is wrong with %j", (addition, message) => {
    expect(fault(minimal + addition)).toMatch(message);
  });

  it.each([
    [
      { loss: "ctc", target: "labels.digit" },
      /objectives\.digit\.target: must be `characters`, `pieces`, `phones` or `tokens` for ctc/,
    ],
    [{ loss: "mse", target: "phones" }, /objectives\.digit\.target: must be `labels\.NAME` for mse/],
    [{ loss: "ctc", target: "phones", pool: "mean" }, /objectives\.digit\.pool: must be none/],
    [
      { loss: "ctc", target: "phonemes" },
      /target: must be `characters`, `pieces`, `phones` or `tokens` for ctc, not "phonemes"/,
    ],
    [
      { loss: "mse", target: "labels.age", reduction: "sum" },
      /objectives\.digit\.reduction: is not a known key; known here: loss, target, pool, head, weight/,
    ],
    [{ loss: "ctc", target: "phones", stream: "de" }, /stream: must be one of main/],
    [
      { target: "phones" },
      /objectives\.digit\.loss: is missing; it must be cross-entropy, ctc, .* or worker/,
    ],
    [
      { loss: "ctc", target: "phones", from: { epoc: 2 } },
      /from\.epoc: is not a known key; did you mean `epoch`/,
    ],
    [
      { loss: "ctc", target: "phones", head: { lstm: { hiden: 2 } } },
      /head\.lstm\.hiden: .*did you mean `hidden`/,
    ],
    [
      { loss: "ctc", target: "phones", weight: [{ at: { step: 1 }, wait: 1 }] },
      /weight\.0\.wait: is not a known key/,
    ],
    [{ loss: "ctc", target: "phones", weight: "heavy" }, /weight: must be a number or a list, not "heavy"/],
  ])("refuses the objective %j", (objective, message) => {
    const text = stringify({ ...parse(minimal), objectives: { digit: objective } });
    expect(fault(text)).toMatch(message);
  });

  it("blames the override, not the file", () => {
    expect(fault(minimal, ["optimizer.lrr=1"])).toMatch(
      /^override optimizer\.lrr=1: optimizer\.lrr: is not a known key; did you mean `lr`\?$/,
    );
    expect(fault(minimal, ["seed=x"])).toMatch(/^override seed=x: seed: must be a number, not "x"$/);
    expect(fault(minimal, ["seed"])).toBe('override "seed": must have the form key.subkey=value');
    expect(fault(minimal, ["__proto__.seed=3"])).toMatch(/must have the form/);
    expect(fault(minimal, ["corpus.split={by: speakers, test: [0048]}"])).toMatch(
      /: corpus\.split\.test\.0: must be a text, not 48; put it in quotes$/,
    );
    expect(fault(minimal, ["a=["])).toMatch(/^override "a=\[": the value is not YAML/);
  });

  it("needs exactly one of model and config, manifest and synthetic", () => {
    expect(fault(minimal.replace("{ model: models/nano }", "{}"))).toMatch(/:2: upstream: must name either/);
    expect(fault(minimal.replace("{ manifest: manifest.jsonl }", "{}"))).toMatch(
      /:3: corpus: must name either/,
    );
    expect(fault("")).toMatch(/^r\.yaml: name: is missing; it must be a text$/);
    expect(fault("- a")).toMatch(/^r\.yaml: a recipe is a list of/);
  });

  it("puts the contents of a config file into the recipe", () => {
    const folder = mkdtempSync(join(tmpdir(), "recipe-"));
    const path = join(folder, "r.yaml");
    writeFileSync(path, minimal.replace("model: models/nano", "config: ../x.json"));
    expect(() => readRecipe(path)).toThrow(/upstream\.config: .*x\.json does not exist$/);
    writeFileSync(path, minimal.replace("model: models/nano", "config: config.json"));
    writeFileSync(join(folder, "config.json"), '{"model_type": "wav2vec2"');
    expect(() => readRecipe(path)).toThrow(/config\.json: is not JSON/);
    writeFileSync(join(folder, "config.json"), '{"model_type": "wav2vec2"}');
    expect(readRecipe(path).upstream.config).toEqual({ model_type: "wav2vec2" });
    expect(() => readRecipe(join(folder, "none.yaml"))).toThrow(/none\.yaml: does not exist$/);
  });

  const recipes = resolve(import.meta.dirname, "../../recipes");
  it.each(
    readdirSync(recipes, { recursive: true })
      .map(String)
      .filter((f) => f.endsWith(".yaml")),
  )("recipes/%s is valid", (file) => {
    const recipe = readRecipe(join(recipes, file));
    expect(parseRecipe(printRecipe(recipe), file)).toEqual(recipe);
  });

  it("speaks the types of the parts it configures", () => {
    const recipe = parseRecipe(minimal, "r.yaml", ["schedule={name: tri-stage, warmup: 3}", "steps=10"]);
    const given = recipe.corpus.split;
    if (given.by === "list") throw new Error("the minimal recipe splits by field");
    const [split, rates, optimiser]: [SplitSpec, ScheduleSpec, OptimiserSpec] = [
      given,
      recipe.schedule,
      recipe.optimizer,
    ];
    const factor = rates.name === "newbob" ? () => newBobStart(rates).factor : schedule(rates, 10);
    expect([split.by, optimiser.name, factor(3)]).toEqual(["field", "adam", 1]);
  });
});
