import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crossEntropy } from "../../../src/nn/losses.ts";
import * as ops from "../../../src/ops/index.ts";
import { affine, input, tanh } from "../../../src/ops/index.ts";
import { applyBits, magnitudeMask, packBits, startScores } from "../../../src/params/mask.ts";
import { constantInit, ParameterTable } from "../../../src/params/params.ts";
import {
  argsortMagnitude,
  bitsOf,
  rankedMagnitude,
  scoreGradients,
  TopScores,
  zerosOf,
} from "../../../src/params/select.ts";
import { random } from "../../../src/random.ts";
import { f32, i32 } from "../../../src/runtime/program.ts";
import { countBits } from "../../../src/train/mask-file.ts";
import { type MaskSpec, matricesOf, rankedGroups, WeightMasks } from "../../../src/train/masks.ts";
import { Optimiser } from "../../../src/train/optimiser.ts";
import { compileTraining, gradientName } from "../../../src/train/program.ts";
import { mask as maskSchema } from "../../../src/train/schema-learning.ts";
import { ParameterStore } from "../../../src/train/store.ts";

const normals = (n: number, ...keys: (string | number)[]) => {
  const rng = random(...keys);
  return Float32Array.from({ length: n }, () => rng.normal());
};

/** What the effective weights must be: by sorting magnitudes, equal ones by place. */
function bySorting(scores: readonly Float32Array[], weights: readonly Float32Array[], zeros: number) {
  const places = scores.flatMap((s, a) => Array.from(s, (value, i) => ({ a, i, m: Math.abs(value) })));
  places.sort((x, y) => x.m - y.m);
  const out = weights.map((w) => w.slice());
  for (const { a, i } of places.slice(0, zeros)) out[a][i] = 0;
  return out;
}

function topScores(scores: readonly Float32Array[], weights: readonly Float32Array[], zeros: number) {
  const effective = weights.map((w) => new Float32Array(w.length).fill(9));
  const top = new TopScores(
    scores.map((s, i) => ({
      scores: bitsOf(s),
      weights: bitsOf(weights[i]),
      effective: bitsOf(effective[i]),
    })),
    zeros,
  );
  return { top, effective };
}

describe("the number of zeros", () => {
  it("is that of the released code for the sizes of wav2vec2-base", () => {
    const ffn = 768 * 3072;
    expect([0.1, 0.08, 0.06, 0.04, 0.7].map((s) => zerosOf(s, ffn))).toEqual([
      235_929, 188_743, 141_557, 94_371, 1_651_507,
    ]);
    expect([0.1, 0.7].map((s) => zerosOf(s, 768 * 768))).toEqual([58_982, 412_876]);
    expect(zerosOf(0, ffn)).toBe(0);
    expect(zerosOf(1, ffn)).toBe(ffn);
    // 1 - 0.9 is a little less than 0.1 in double precision.
    expect(zerosOf(0.1, 100)).toBe(9);
  });
});

describe("selection without sorting", () => {
  // Few distinct values, so that there are ties everywhere, and zeros of both signs.
  const value = fc.oneof(fc.constantFrom(0, -0, 0.5, -0.5, 1, 1e-40, 3e38), fc.float({ noNaN: true }));
  it("agrees with sorting, ties by place, over one array and several", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(value, { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 3 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (lists, share) => {
          const scores = lists.map((list) => Float32Array.from(list));
          const weights = scores.map((s, a) => normals(s.length, "w", a));
          const total = lists.reduce((sum, list) => sum + list.length, 0);
          const zeros = Math.floor(share * total);
          const { top, effective } = topScores(scores, weights, zeros);
          top.apply();
          expect(effective).toEqual(bySorting(scores, weights, zeros));
          if (zeros > 0) {
            const sorted = scores.flatMap((s) => [...s].map(Math.abs)).sort((a, b) => a - b);
            const { bits } = rankedMagnitude(scores.map(bitsOf), zeros - 1);
            expect(new Float32Array(Int32Array.of(bits).buffer)[0]).toBe(sorted[zeros - 1]);
          }
        },
      ),
    );
  });

  it("stays exact while scores move, and finds the threshold from the last one", () => {
    const n = 4000;
    const scores = [normals(n, 1), normals(n, 2)];
    const weights = [normals(n, 3), normals(n, 4)];
    const { top, effective } = topScores(scores, weights, zerosOf(0.3, 2 * n));
    const rng = random("moves");
    for (let step = 0; step < 12; step++) {
      top.apply();
      expect(effective).toEqual(bySorting(scores, weights, top.zeros));
      for (const s of scores) for (let i = 0; i < n; i++) s[i] += 1e-4 * rng.normal();
    }
    expect(top.searches).toBeLessThan(5);
    // A jump is noticed, not missed.
    for (const s of scores) for (let i = 0; i < n; i++) s[i] *= 10;
    top.apply();
    expect(effective).toEqual(bySorting(scores, weights, top.zeros));
  });

  it("handles more equal scores than its list holds", () => {
    const n = 70_000;
    const scores = [Float32Array.from({ length: n }, (_, i) => (i % 3 === 0 ? 0 : 1))];
    const weights = [normals(n, "w")];
    for (const zeros of [10_000, 23_334, 50_000, n]) {
      const { top, effective } = topScores(scores, weights, zeros);
      top.apply();
      top.apply();
      expect(effective).toEqual(bySorting(scores, weights, zeros));
    }
  });

  it("sorts places by magnitude, equal ones as they stand", () => {
    fc.assert(
      fc.property(fc.array(value), (list) => {
        const x = Float32Array.from(list);
        const expected = Array.from(x, (_, i) => i).sort((a, b) => Math.abs(x[a]) - Math.abs(x[b]) || a - b);
        expect([...argsortMagnitude(bitsOf(x))]).toEqual(expected);
      }),
    );
  });
});

describe("bits of a mask", () => {
  it("pack and apply", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 70 }), (kept) => {
        const bits = packBits((i) => kept[i], kept.length);
        expect(countBits(bits)).toBe(kept.filter(Boolean).length);
        const weights = normals(kept.length, "w");
        const effective = new Float32Array(kept.length);
        applyBits(bits, weights, effective);
        expect([...effective]).toEqual(kept.map((keep, i) => (keep ? weights[i] : 0)));
      }),
    );
  });
});

describe("starts", () => {
  const shape = [40, 64];
  const size = 40 * 64;
  const weights = normals(size, "weights");
  const start = (init: MaskSpec["init"], scale = 1) => {
    const out = new Float32Array(size);
    startScores("m", shape, weights, out, { init, scale, seed: 3 });
    return out;
  };

  it("random: Kaiming's bound of the fan-in, as in the released code", () => {
    const bound = (fanIn: number) => {
      const out = new Float32Array(4 * fanIn);
      startScores("m", [4, fanIn], out, out, { init: "random", scale: 1, seed: 1 });
      return Math.max(...out.map(Math.abs));
    };
    expect(bound(768)).toBeLessThanOrEqual(0.036084391824 + 1e-9);
    expect(bound(768)).toBeGreaterThan(0.03607);
    expect(bound(3072)).toBeLessThanOrEqual(0.018042195912 + 1e-9);
    expect(bound(3072)).toBeGreaterThan(0.01804);
    expect(start("random")).toEqual(start("random"));
  });

  it("order-preserving: the same numbers, ranked as the weights, their signs with them", () => {
    const [drawn, dealt] = [start("random"), start("order-preserving")];
    expect([...dealt].sort()).toEqual([...drawn].sort());
    expect([...argsortMagnitude(bitsOf(dealt))]).toEqual([...argsortMagnitude(bitsOf(weights))]);
  });

  it.each([0.1, 0.5, 0.9])("order-preserving: the first mask is magnitude pruning (sparsity %s)", (s) => {
    const zeros = zerosOf(s, size);
    const { top, effective } = topScores([start("order-preserving")], [weights], zeros);
    top.apply();
    const { top: magnitude, effective: pruned } = topScores([weights.slice()], [weights], zeros);
    magnitude.apply();
    expect(effective).toEqual(pruned);
    const binary = [new Float32Array(size)];
    magnitudeMask([weights], binary, zeros);
    expect(binary[0]).toEqual(pruned[0].map((w) => (w === 0 ? 0 : 1)));
  });

  it("magnitude: the weights over the scale", () => {
    expect(start("magnitude", 0.5)).toEqual(weights.map((w) => w / 0.5));
  });
});

describe("what is masked", () => {
  const names = [0, 1].flatMap((layer) =>
    ["attention.q_proj", "attention.out_proj", "feed_forward.intermediate_dense", "feed_forward.output_dense"]
      .flatMap((path) => ["weight", "bias"].map((part) => `w.encoder.layers.${layer}.${path}.${part}`))
      .concat(`w.encoder.layers.${layer}.layer_norm.weight`),
  );
  const matched = (modules: MaskSpec["modules"], layers: "all" | number[] = "all") =>
    matricesOf(names, { modules, layers }).map(({ name }) => name.replace("w.encoder.layers.", ""));

  it("is the weights of the chosen modules and layers, never biases or norms", () => {
    expect(matched("ffn", [1])).toEqual([
      "1.feed_forward.intermediate_dense.weight",
      "1.feed_forward.output_dense.weight",
    ]);
    expect(matched("attention")).toHaveLength(4);
    expect(matched("both")).toHaveLength(8);
    expect(() => matched("ffn", [2])).toThrow(/plan.mask.layers: the model has no layer 2; it has 0 to 1/);
    expect(() => matricesOf(["lstm.weight"], { modules: "ffn", layers: "all" })).toThrow(/no transformer/);
  });

  it("is ranked by matrix, layer or all together", () => {
    const matrices = matricesOf(names, { modules: "both", layers: "all" });
    const sizes = (scope: MaskSpec["scope"]) =>
      rankedGroups(matrices, scope, () => 0.1).map((group) => group.matrices.length);
    expect(sizes("matrix")).toEqual(Array(8).fill(1));
    expect(sizes("layer")).toEqual([4, 4]);
    expect(sizes("global")).toEqual([8]);
  });
});

interface Run {
  init: MaskSpec["init"];
  keep: number;
  lr: number;
  x: number[][];
  y: number[];
  weights: number[][][];
  biases: number[][];
  scores: number[][][];
  losses: number[];
  gradients: number[][][];
  zeros: number[][];
  ended: number[][][];
  endedBias: number[];
  threshold: number;
}
const { runs }: { runs: Run[] } = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../fixtures/methods/router-masks.json"), "utf8"),
);
const flat = (rows: readonly (readonly number[])[]) => Float32Array.from(rows.flat());
const NAMES = ["intermediate_dense", "output_dense"].map((part) => `layers.0.feed_forward.${part}`);

describe("ten steps as PyTorch makes them", () => {
  it.each(runs.map((run) => [`${run.init}, keep ${run.keep}`, run] as const))("%s", async (_, run) => {
    const table = new ParameterTable();
    const [x, y] = [input("x", [6, 8]), input("y", [6], "i32")];
    const [hidden, classes] = run.biases.map(({ length }) => length);
    const get = (i: number, part: string, shape: number[]) =>
      table.get(`${NAMES[i]}.${part}`, shape, constantInit(0));
    const h = tanh(affine(x, get(0, "weight", [hidden, 8]), get(0, "bias", [hidden])));
    const scores = affine(h, get(1, "weight", [classes, hidden]), get(1, "bias", [classes]));
    const loss = ops.reduceMean(crossEntropy(scores, y), [0]);

    const trains = [`${NAMES[0]}.weight`, `${NAMES[1]}.weight`, `${NAMES[1]}.bias`];
    const masked = trains.slice(0, 2);
    const trained = (name: string) => trains.includes(name);
    const store = new ParameterStore(table.specs, trained, (name) => masked.includes(name));
    for (const i of [0, 1]) {
      store.array(`${NAMES[i]}.weight`).set(flat(run.weights[i]));
      store.array(`${NAMES[i]}.bias`).set(run.biases[i]);
    }
    const spec = maskSchema.parse({ sparsity: 1 - run.keep, init: run.init, scale: 0.5 });
    const masks = new WeightMasks(spec, matricesOf(masked, spec), store, (name) => name);
    masks.start(1);
    for (const i of [0, 1]) {
      // Draws are ours; starts that draw nothing must agree by themselves.
      if (run.init === "order-preserving") store.scores(masked[i]).set(flat(run.scores[i]));
      else expect([...store.scores(masked[i])]).toEqual([...flat(run.scores[i])]);
    }
    masks.apply();

    const program = await compileTraining(
      table,
      { loss, outputs: {}, inputs: [x, y] },
      { trained, threads: 1 },
    );
    const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store, { threads: 1 });
    const into = Object.fromEntries(
      Object.entries(store.gradientValues).map(([name, value]) => [gradientName(name), value]),
    );
    for (let step = 0; step < run.losses.length; step++) {
      const zeros = masks.bits().map(({ bits, shape }) => shape[0] * shape[1] - countBits(bits));
      expect(zeros).toEqual(run.zeros[step]);
      const feeds = { ...store.values, x: f32([6, 8], flat(run.x)), y: i32([6], run.y) };
      const results = await program.run(feeds, into);
      expect((results.loss.data as Float32Array)[0]).toBeCloseTo(run.losses[step], 5);
      masks.scoreGradients(new Set(masked));
      if (step === 0)
        for (const i of [0, 1]) {
          const gradient = store.gradientValues[masked[i]].data as Float32Array;
          const expected = flat(run.gradients[i]);
          for (const [j, g] of expected.entries()) expect(gradient[j]).toBeCloseTo(g, 6);
          // Straight through: entries that are off have a gradient too.
          const off = store.array(masked[i]).findIndex((w, j) => w === 0 && expected[j] !== 0);
          if (run.init !== "magnitude-mask") expect(off).toBeGreaterThanOrEqual(0);
        }
      const range = { start: 0, end: store.trainedSize, lr: run.lr, weightDecay: 0, step: step + 1 };
      await optimiser.step([range], 1);
      masks.apply();
    }
    for (const i of [0, 1])
      for (const [j, s] of flat(run.ended[i]).entries()) expect(store.scores(masked[i])[j]).toBeCloseTo(s, 4);
    expect([...store.array(trains[2])].map((b) => b.toFixed(4))).toEqual(
      run.endedBias.map((b) => b.toFixed(4)),
    );
    await program.dispose();
    await optimiser.dispose();
  });

  it("the gradient of a score is sign(s) W dL/dW_eff", () => {
    const [s, w] = [Float32Array.of(0.5, -0.5, 0, -0, 2), Float32Array.of(3, 3, 3, 3, -1)];
    const g = Float32Array.of(2, 2, 2, 2, 4);
    scoreGradients(s, w, g);
    expect([...g].map((x) => x + 0)).toEqual([6, -6, 0, 0, -4]);
  });
});
