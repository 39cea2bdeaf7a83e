import { describe, expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import type { Value } from "../../src/runtime/program.ts";
import { operations } from "../../src/tensor/define.ts";
import { bindDim, type Shape } from "../../src/tensor/dims.ts";
import { evaluate, ndarray, sizeOf } from "../../src/tensor/evaluate.ts";
import type { DType, NdArray, Op, Sample, Tensor } from "../../src/tensor/tensor.ts";

// Every operation, each of its samples: the emitted graph against the float64 reference, and the gradient rule
// against central differences of that reference along a random direction.

interface Drawn {
  inputs: Tensor[];
  outputs: readonly Tensor[];
  feeds: Map<string, NdArray>;
}

function draw(op: Op, sample: Sample, seed: number): Drawn {
  const rng = random(seed, op.name);
  const dims = new Map(Object.entries(sample.dims ?? {}));
  const feeds = new Map<string, NdArray>();
  const inputs = sample.inputs.map(({ shape, dtype = "f32", range, values }, i) => {
    const sizes = bind(shape, dims);
    const [low, high] = range ?? (dtype === "bool" ? [0, 1] : dtype === "f32" ? [-1, 1] : [0, 9]);
    const next = () =>
      dtype === "f32" ? Math.fround(low + (high - low) * rng.next()) : low + rng.int(high - low + 1);
    feeds.set(`x${i}`, ndarray(sizes, values ?? Array.from({ length: sizeOf(sizes) }, next)));
    return ops.input(`x${i}`, shape, dtype);
  });
  const outputs = (op as unknown as (inputs: Tensor[], attrs: object) => readonly Tensor[])(
    inputs,
    sample.attrs,
  );
  return { inputs, outputs, feeds };
}

const bind = (shape: Shape, dims: ReadonlyMap<string, number>) => shape.map((dim) => bindDim(dim, dims));

const ARRAYS = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, bool: Uint8Array } as const;
function value(dtype: DType, { shape, data }: NdArray): Value {
  if (dtype === "i64") return { dtype, shape, data: BigInt64Array.from(data, (v) => BigInt(v)) };
  return { dtype, shape, data: ARRAYS[dtype].from(data) };
}

const cases = [...operations().values()].flatMap((op) =>
  op.samples.map((sample, i) => ({ name: `${op.name} #${i}`, op, sample })),
);

describe("emitted graph equals reference", () => {
  for (const contrib of [true, false])
    test.each(cases)(`$name ${contrib ? "" : "(standard operator set)"}`, async ({ op, sample }) => {
      const { inputs, outputs, feeds } = draw(op, sample, 1);
      const expected = evaluate(outputs, feeds);
      const graph = {
        inputs: inputs.map((tensor, i) => ({ name: `x${i}`, tensor })),
        outputs: outputs.map((tensor, i) => ({ name: `y${i}`, tensor })),
        late: [],
      };
      const program = await compile(graph, { threads: 1, contrib });
      const feed = Object.fromEntries(inputs.map((t, i) => [`x${i}`, value(t.dtype, feeds.get(`x${i}`)!)]));
      const results = await program.run(feed);
      await program.dispose();
      for (const [i, { shape, data }] of expected.entries()) {
        const result = results[`y${i}`];
        expect([...result.shape]).toEqual(shape);
        expect(result.dtype).toBe(outputs[i].dtype);
        const tolerance = sample.tolerance ?? 1e-5;
        for (const [k, want] of data.entries()) {
          const got = Number(result.data[k]);
          if (got === want) continue;
          expect(
            Math.abs(got - want) / (1 + Math.abs(want)),
            `element ${k}: ${got} for ${want}`,
          ).toBeLessThan(tolerance);
        }
      }
    });
});

const differentiable = cases.filter(({ op, sample }) => {
  const { vjp } = op;
  if ("nonDifferentiable" in vjp || sample.inputs.length === 0) return false;
  return sample.inputs.some(({ dtype }, i) => (dtype ?? "f32") === "f32" && hasRule(op, i));
});

function hasRule({ vjp }: Op, input: number): boolean {
  if ("nonDifferentiable" in vjp) return false;
  return "each" in vjp || typeof vjp[input] === "function";
}

describe("gradient equals finite differences", () => {
  test.each(differentiable)("$name", ({ op, sample }) => {
    checkGradient(op, sample);
  });
});

/** Directional derivative of <first output, w> against its gradient, in float64. */
function checkGradient(op: Op, sample: Sample): void {
  const { inputs, outputs, feeds } = draw(op, sample, 2);
  const [y] = outputs;
  const rng = random(3, op.name);
  const [first] = evaluate([y], feeds);
  feeds.set(
    "weights",
    ndarray(
      first.shape,
      Array.from(first.data, () => rng.normal()),
    ),
  );
  const loss = ops.sumAll(ops.mul(y, ops.input("weights", y.shape)));
  const wrt = inputs.filter((t, i) => t.dtype === "f32" && hasRule(op, i));
  const grads = ops.gradients(loss, wrt).wrt;
  // The inputs too: a gradient alone may not contain the axes that its sizes come from.
  const values = evaluate([...(grads as Tensor[]), ...inputs], feeds);
  for (const [k, input] of wrt.entries()) {
    const { name } = input.node.attrs as { name: string };
    const at = feeds.get(name)!;
    expect(values[k].shape).toEqual(at.shape);
    const direction = at.data.map(() => rng.normal());
    const along = (step: number) => {
      const moved = new Map(feeds).set(name, {
        shape: at.shape,
        data: at.data.map((v, i) => v + step * direction[i]),
      });
      return evaluate([loss], moved)[0].data[0];
    };
    const h = 1e-5;
    const numeric = (along(h) - along(-h)) / (2 * h);
    const analytic = values[k].data.reduce((sum, g, i) => sum + g * direction[i], 0);
    const error = Math.abs(numeric - analytic) / Math.max(1e-3, Math.abs(numeric));
    expect(error, `input ${name}: ${analytic} for ${numeric}`).toBeLessThan(1e-5);
  }
}
