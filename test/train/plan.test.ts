import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fitsName, trainingOf } from "../../src/train/groups.ts";
import { objectiveWeights } from "../../src/train/objective-weights.ts";
import { type Objective, parseRecipe } from "../../src/train/recipe.ts";

const recipe = (objectives: object) =>
  parseRecipe(
    JSON.stringify({ name: "r", upstream: { model: "m" }, corpus: { manifest: "m" }, objectives }),
    "r.yaml",
  );
const severity = { loss: "cross-entropy", target: "labels.severity" };
const phones = { loss: "ctc", target: "phones", weight: 0.1 };
const weights = (objectives: object, stepsPerEpoch = 10, totalSteps = 100) =>
  objectiveWeights(recipe(objectives).objectives as Record<string, Objective>, stepsPerEpoch, totalSteps);

describe("objective weights", () => {
  it("follow the severity paper: alpha * CTC for e epochs, then both", () => {
    const w = weights({ severity: { ...severity, from: { epoch: 3 } }, phones });
    expect(w.at(0)).toEqual({ severity: 0, phones: 0.1 });
    expect(w.at(29)).toEqual({ severity: 0, phones: 0.1 });
    expect(w.at(30)).toEqual({ severity: 1, phones: 0.1 });
    expect([0, 29, 30, 99].map(w.stretch)).toEqual([0, 0, 1, 1]);
  });

  it("move between points in straight lines", () => {
    const points = [
      { at: { fraction: 0.1 }, weight: 0.5 },
      { at: { step: 30 }, weight: 1.5 },
      { at: { epoch: 5 }, weight: 0 },
    ];
    const w = weights({ severity, phones: { ...phones, weight: points, until: { step: 90 } } });
    expect([0, 10, 20, 30, 40, 50, 89, 90].map((s) => w.at(s).phones)).toEqual([
      0.5, 0.5, 1, 1.5, 0.75, 0, 0, 0,
    ]);
    expect(new Set([9, 10, 30, 50, 90].map(w.stretch)).size).toBe(5);
  });

  it("refuse steps at which nothing is learned", () => {
    expect(() =>
      weights({ severity: { ...severity, from: { epoch: 3 } }, phones: { ...phones, weight: 0 } }),
    ).toThrow(/every weight is 0 at step 0/);
    expect(() => weights({ severity: { ...severity, until: { step: 7 } } })).toThrow(/at step 7/);
    expect(() =>
      weights({ severity: { ...severity, from: { step: 7 }, until: { step: 7 } }, phones }),
    ).toThrow(/`from` must come before/);
    const backwards = [
      { at: { step: 5 }, weight: 1 },
      { at: { step: 5 }, weight: 2 },
    ];
    expect(() => weights({ severity: { ...severity, weight: backwards } })).toThrow(/order of their steps/);
    const ramp = [
      { at: { step: 0 }, weight: 0 },
      { at: { step: 5 }, weight: 2 },
    ];
    expect(weights({ severity: { ...severity, weight: ramp } }).at(1)).toEqual({ severity: 0.4 });
  });

  it("are the same within a stretch, where all are constant", () => {
    const moment = fc.oneof(
      fc.record({ epoch: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ step: fc.integer({ min: 1, max: 120 }) }),
    );
    fc.assert(
      fc.property(moment, moment, fc.nat(99), fc.nat(99), (a, b, s, t) => {
        const w = weights({ severity, phones: { ...phones, from: a }, other: { ...severity, until: b } });
        if (w.stretch(s) === w.stretch(t)) expect(w.at(s)).toEqual(w.at(t));
      }),
    );
  });
});

describe("plan", () => {
  const names = [
    "feature_extractor.conv.weight",
    "encoder.layers.1.w",
    "encoder.layers.10.w",
    "encoder.norm.bias",
  ];

  it("matches leading parts at dots, and patterns as a whole", () => {
    expect(names.filter((n) => fitsName("encoder.layers.1", n))).toEqual(["encoder.layers.1.w"]);
    expect(names.filter((n) => fitsName("encoder.", n))).toHaveLength(3);
    expect(names.filter((n) => fitsName("*.bias", n))).toEqual(["encoder.norm.bias"]);
    expect(names.filter((n) => fitsName("encoder.layers.*.w", n))).toHaveLength(2);
    expect(fitsName("encoder", "encoders.w")).toBe(false);
  });

  it("gives each parameter its group, the first that fits", () => {
    const { plan, optimizer } = parseRecipe(
      JSON.stringify({
        name: "r",
        upstream: { model: "m" },
        corpus: { manifest: "m" },
        objectives: { severity },
        plan: {
          groups: [
            { match: "*.bias", weightDecay: 0 },
            { match: "encoder", lr: 0.5 },
          ],
        },
        optimizer: { name: "adamw" },
      }),
      "r.yaml",
    );
    const training = trainingOf(names, plan, optimizer);
    expect(training.get(names[0])).toEqual({ frozen: true, lr: 1, weightDecay: 0.01 });
    expect(training.get(names[1])).toEqual({ frozen: false, lr: 0.5, weightDecay: 0.01 });
    expect(training.get(names[3])).toEqual({ frozen: false, lr: 1, weightDecay: 0 });
    // Not every upstream has a convolutional extractor, so the default pattern may fit nothing; others may not.
    expect(trainingOf(names.slice(1), plan, optimizer).size).toBe(3);
    const misspelt = { ...plan, freeze: ["feature_extracter"] };
    expect(() => trainingOf(names, misspelt, optimizer)).toThrow(/plan\.freeze: `feature_extracter` fits no/);
  });
});
