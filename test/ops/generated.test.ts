import { describe, expect, test } from "vitest";
import { compile } from "../../src/runtime/cpu.ts";
import type { Value } from "../../src/runtime/program.ts";
import { evaluate } from "../../src/tensor/evaluate.ts";
import type { DType, NdArray } from "../../src/tensor/tensor.ts";
import { floatToHalf } from "../../src/weights/half.ts";
import { cases, draw, GRADIENT_BAR, gradientChecks, isDifferentiable } from "./check.ts";

// Every operation, each of its samples: the emitted graph against the float64 reference, and the gradient rule
// against central differences of that reference along a random direction.

const ARRAYS = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, bool: Uint8Array } as const;
function value(dtype: DType, { shape, data }: NdArray): Value {
  if (dtype === "i64") return { dtype, shape, data: BigInt64Array.from(data, (v) => BigInt(v)) };
  if (dtype === "f16") return { dtype, shape, data: Uint16Array.from(data, floatToHalf) };
  return { dtype, shape, data: ARRAYS[dtype].from(data) };
}

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

describe("gradient equals finite differences", () => {
  test.each(cases.filter(({ op, sample }) => isDifferentiable(op, sample)))("$name", ({ op, sample }) => {
    for (const { input, analytic, numeric, error } of gradientChecks(op, sample))
      expect(error, `input ${input}: ${analytic} for ${numeric}`).toBeLessThan(GRADIENT_BAR);
  });
});
