import { join } from "node:path";
import { expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { symbol } from "../../src/tensor/dims.ts";
import { peakBytes } from "../../src/tensor/memory.ts";
import { reportModel } from "../../src/train/inspect.ts";

const checkpoints = join(import.meta.dirname, "../fixtures/weights/checkpoints");
const step = { batch: 2, seconds: 1 };

test("the peak of a graph: what is alive at once, elementwise results in place, given outputs apart", () => {
  const x = ops.input("x", [symbol("n"), 4]);
  const wide = ops.concat([x, x], 1);
  const tensor = ops.reduceSum(ops.exp(ops.reshape(wide, [8, symbol("n")])), [0]);
  const graph = { inputs: [{ name: "x", tensor: x }], outputs: [{ name: "y", tensor }], late: [] };
  // [10, 8] floats, written over by exp, and the ten sums beside them.
  expect(peakBytes(graph, new Map([["n", 10]]))).toBe(4 * (80 + 10));
  expect(peakBytes(graph, new Map([["n", 10]]), new Set(["y"]))).toBe(4 * 80);
});

test("a report says what the file holds, what is frozen, and what each plan takes", () => {
  const report = reportModel(join(checkpoints, "hubert-omegaconf.pt"), { ...step, freeze: ["encoder"] });
  expect(report).toMatchObject({
    family: "hubert",
    layers: 2,
    hiddenSize: 16,
    hiddenStates: 3,
    dtypes: ["F32"],
  });
  expect(report.heads.map(({ name }) => name).sort()).toEqual(["final_proj", "label_embs_concat"]);
  expect(report.pretraining).toMatch(/^can go on/);
  expect(report.frozen).toEqual([{ name: "feature_extractor", parameters: 480 }]);
  const [head, , frozen, all, own] = report.plans;
  expect(own.name).toBe("freeze: [encoder]");
  expect(all.trains - frozen.trains).toBe(480);
  for (const plan of report.plans) expect(plan.bytes.all).toBeLessThanOrEqual(plan.bytes.none);
  // A frozen prefix costs nothing: the less trains, the less is kept.
  const kept = [head, frozen, all].map(({ parts }) => parts.activations);
  expect(kept).toEqual([...kept].sort((a, b) => a - b));
});

test("a fine-tuned model cannot go on; an upstream without weights has a report too", () => {
  const fineTuned = reportModel(join(checkpoints, "wav2vec2-ctc-args.pt"), step);
  expect(fineTuned.pretraining).toMatch(/^cannot go on: lacks quantizer\.codevectors/);
  expect(reportModel("log-mel", step)).toMatchObject({ source: "no weights", parameters: { total: 0 } });
});
