import { describe, expect, test } from "vitest";
import { MUTATIONS, mutate } from "../../scripts/mutate-gradients.ts";
import { operations } from "../../src/tensor/define.ts";
import type { Op } from "../../src/tensor/tensor.ts";
import { gradientChecks, hasRule } from "./check.ts";

// The gradient check is itself checked: every rule is broken in every way that its shapes allow (`npm run mutate`
// prints the table), and each fault must be noticed.

// A surrogate's rule is not the slope of its value, so there is nothing that the check could hold it against.
const withRules = [...operations().values()].filter(
  ({ vjp, traits }) =>
    !traits.surrogate &&
    !("nonDifferentiable" in vjp) &&
    ("each" in vjp || vjp.some((e) => typeof e === "function")),
);

const used = new Set<string>();

describe("the gradient check notices each broken rule", () => {
  test.each(withRules.map((op) => ({ name: op.name, op })))("$name", ({ op }) => {
    const verdicts = mutate(op);
    for (const { outcome, mutation } of verdicts) if (outcome === "noticed") used.add(mutation);
    expect(verdicts.filter(({ outcome }) => outcome === "SURVIVED")).toEqual([]);
    const rules = "each" in op.vjp ? 1 : op.samples[0].inputs.filter((_, i) => hasRule(op, i)).length;
    // The sign, two scales and zero are faults in any rule.
    expect(verdicts.filter(({ outcome }) => outcome === "noticed").length).toBeGreaterThanOrEqual(4 * rules);
  });

  test("every way of breaking is used, and rules are whole again afterwards", () => {
    expect([...used].sort()).toEqual(MUTATIONS.map(({ name }) => name).sort());
    for (const op of withRules)
      for (const sample of op.samples.filter((s) => s.inputs.some((_, i) => hasRule(op, i))))
        for (const { error } of gradientChecks(op, sample)) expect(error).toBeLessThan(1e-5);
  });

  test("a rule that is never tried counts as a survivor", () => {
    const op = operations().get("exp")!;
    const untested: Op = { ...op, name: op.name, samples: [] };
    expect(mutate(untested).map(({ outcome }) => outcome)).toContain("SURVIVED");
  });
});
