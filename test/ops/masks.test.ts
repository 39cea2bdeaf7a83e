import { describe, expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { optimise } from "../../src/tensor/compile.ts";
import { evaluate } from "../../src/tensor/evaluate.ts";
import { topological } from "../../src/tensor/tensor.ts";

// The runtime's masks equal these exactly (generated.test.ts), so what holds of the reference holds of training.

const ROWS = 400;
const COLUMNS = 256;
const SEED = ops.input("seed", [], "i32");
const DROPPED = 0.1;

function mask(seed: number, site: number, rate = DROPPED): Float64Array {
  const kept = ops.keepMask(SEED, [ROWS, COLUMNS], site, rate);
  return evaluate([kept], new Map([["seed", { shape: [], data: Float64Array.of(seed) }]]))[0].data;
}

const mean = (x: ArrayLike<number>) =>
  (Array.prototype.reduce.call(x, (a, b) => (a as number) + (b as number), 0) as number) / x.length;
function correlation(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) ** 2;
    yy += (y[i] - my) ** 2;
  }
  return xy / Math.sqrt(xx * yy);
}
const row = (m: Float64Array, i: number) => m.subarray(i * COLUMNS, (i + 1) * COLUMNS);
const column = (m: Float64Array, j: number) =>
  Float64Array.from({ length: ROWS }, (_, i) => m[i * COLUMNS + j]);
/** Four standard deviations of a correlation of n independent pairs, and more for hundreds of pairs. */
const bar = (n: number) => 5.5 / Math.sqrt(n);

describe("dropout masks", () => {
  test.each([0.05, 0.1, 0.5, 0.9])("drop %f of all elements, for any seed", (rate) => {
    for (const seed of [0, 1, -1, 7919, 2 ** 31 - 1, -(2 ** 31)]) {
      const dropped = 1 - mean(mask(seed, 0, rate));
      // Elements share their row and column hashes, so the spread is wider than that of independent draws.
      expect(Math.abs(dropped - rate)).toBeLessThan(0.015);
    }
  });

  test("the same seed and site give the same mask, others another", () => {
    const first = mask(5, 3);
    expect(mask(5, 3)).toEqual(first);
    for (const [seed, site] of [
      [6, 3],
      [5, 4],
      [-5, 3],
      [3, 5],
      [5 + 65536, 3],
    ])
      expect(Math.abs(correlation(first, mask(seed, site))), `seed ${seed}, site ${site}`).toBeLessThan(0.03);
  });

  test("neighbouring steps and sites are independent of each other", () => {
    const worst: number[] = [];
    for (let i = 0; i < 8; i++)
      worst.push(
        Math.abs(correlation(mask(100 + i, 2), mask(101 + i, 2))),
        Math.abs(correlation(mask(9, i), mask(9, i + 1))),
      );
    expect(Math.max(...worst)).toBeLessThan(0.03);
  });

  test("rows are independent of rows, columns of columns", () => {
    const m = mask(11, 1, 0.5);
    const rows: number[] = [];
    const columns: number[] = [];
    for (let i = 0; i < 100; i++) {
      rows.push(
        Math.abs(correlation(row(m, i), row(m, i + 1))),
        Math.abs(correlation(row(m, i), row(m, 399 - i))),
      );
      columns.push(Math.abs(correlation(column(m, i), column(m, i + 1))));
    }
    // A product of hashes is not perfect: a few pairs may agree more than chance would have it, the many must not.
    const share = (values: number[], limit: number) => values.filter((v) => v > limit).length / values.length;
    expect(share(rows, bar(COLUMNS))).toBeLessThan(0.05);
    expect(share(columns, bar(ROWS))).toBeLessThan(0.05);
    expect(mean(rows)).toBeLessThan(2 / Math.sqrt(COLUMNS));
    expect(mean(columns)).toBeLessThan(2 / Math.sqrt(ROWS));
  });
});

test("dropout keeps the mean: what is kept is scaled up", () => {
  const x = ops.constant([ROWS, COLUMNS], new Float64Array(ROWS * COLUMNS).fill(1));
  const y = ops.dropout(x, SEED, 0, 0.25);
  const { data } = evaluate([y], new Map([["seed", { shape: [], data: Float64Array.of(1) }]]))[0];
  expect([...new Set(data)].sort()).toEqual([0, 1 / 0.75]);
  expect(mean(data)).toBeCloseTo(1, 1);
});

test("the hashes of all masks of one size are one node, and the masks what they are alone", () => {
  const shape = [ROWS, COLUMNS];
  const masks = [3, 0, 7].map((site) => ops.keepMask(SEED, shape, site, DROPPED));
  const graph = optimise(
    {
      inputs: [{ name: "seed", tensor: SEED }],
      outputs: masks.map((tensor, i) => ({ name: `mask${i}`, tensor })),
      late: [],
    },
    ops.constant,
  );
  const together = graph.outputs.map(({ tensor }) => tensor);
  const hashing = topological(together).filter(({ op }) => op.name === "hashes");
  expect(hashing.map(({ outputs }) => outputs.length)).toEqual([3, 3]);
  const feeds = new Map([["seed", { shape: [], data: Float64Array.of(5) }]]);
  expect(evaluate(together, feeds).map(({ data }) => data)).toEqual([3, 0, 7].map((site) => mask(5, site)));
});

test("masks of fronts are the fronts of the whole batch's masks, from the same hashes", () => {
  const whole = 10;
  const fronts = [4, 0, whole];
  const masks = fronts.map((batch) => ops.keepMask(SEED, [batch, 7, 16], 3, DROPPED, whole));
  const hashing = topological(masks).filter(({ op }) => op.name === "hashes");
  expect(new Set(hashing.map(({ outputs }) => outputs[0].shape[0]))).toEqual(new Set([whole * 7, 16]));
  const feeds = new Map([["seed", { shape: [], data: Float64Array.of(9) }]]);
  const all = evaluate([ops.keepMask(SEED, [whole, 7, 16], 3, DROPPED)], feeds)[0].data;
  for (const [i, { data }] of evaluate(masks, feeds).entries())
    expect(data).toEqual(all.subarray(0, fronts[i] * 7 * 16));
});
