import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { planSweep } from "../../../src/train/sweep.ts";

const root = resolve(import.meta.dirname, "../../..");
const page = readFileSync(join(root, "docs", "router.md"), "utf8");

/** The sweeps that the page names, each with its recipe, axes and overrides. */
const sweeps = [...page.matchAll(/voxsmith sweep (recipes\/router\/\S+)((?:\s+(?:'[^']+'|\S+=\S+))+)/g)].map(
  ([, recipe, rest]) => ({
    recipe,
    axes: [...rest.matchAll(/'([^']+)'|(\S+=\S+)/g)].map(([, quoted, plain]) => quoted ?? plain),
  }),
);

describe("the paper's tables as sweeps of a recipe", () => {
  it("stand on the page", () => expect(sweeps.length).toBeGreaterThanOrEqual(5));

  it.each(sweeps.map((sweep) => [sweep.axes.join(" "), sweep] as const))("%s", (_, { recipe, axes }) => {
    const { cells } = planSweep(join(root, recipe), axes, 1);
    expect(cells.length).toBeGreaterThan(1);
    // Each cell differs from the others in what it says it varies.
    expect(new Set(cells.map((cell) => JSON.stringify(cell.recipe))).size).toBe(cells.length);
  });
});
