import * as ops from "../../src/ops/index.ts";
import { random } from "../../src/random.ts";
import { operations } from "../../src/tensor/define.ts";
import { bindDim } from "../../src/tensor/dims.ts";
import { evaluate, ndarray, sizeOf } from "../../src/tensor/evaluate.ts";
import type { NdArray, Op, Sample, Tensor } from "../../src/tensor/tensor.ts";

// What the generated tests and the mutation script share: inputs drawn for an operation's samples, and the check of
// its gradient rule against central differences of its float64 reference along a random direction.

/** Largest relative error of a directional derivative. */
export const GRADIENT_BAR = 1e-5;
const STEP = 1e-5;

export interface Drawn {
  inputs: Tensor[];
  outputs: readonly Tensor[];
  feeds: Map<string, NdArray>;
}

export function draw(op: Op, sample: Sample, seed: number): Drawn {
  const rng = random(seed, op.name);
  const dims = new Map(Object.entries(sample.dims ?? {}));
  const feeds = new Map<string, NdArray>();
  const inputs = sample.inputs.map(({ shape, dtype = "f32", range, values }, i) => {
    const sizes = shape.map((dim) => bindDim(dim, dims));
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

/** Every operation with each of its samples. */
export const cases = [...operations().values()].flatMap((op) =>
  op.samples.map((sample, i) => ({ name: `${op.name} #${i}`, op, sample })),
);

export function hasRule({ vjp, traits }: Op, input: number): boolean {
  // A surrogate's rule is no slope; test/trajectories/pretraining.test.ts holds it against PyTorch.
  if ("nonDifferentiable" in vjp || traits.surrogate) return false;
  return "each" in vjp || typeof vjp[input] === "function";
}

export const isDifferentiable = (op: Op, { inputs }: Sample): boolean =>
  inputs.some(({ dtype }, i) => (dtype ?? "f32") === "f32" && hasRule(op, i));

/** <first output, random weights> and its gradients for every input that has a rule. */
export function differentiate(op: Op, sample: Sample, seed = 2) {
  const drawn = draw(op, sample, seed);
  const [y] = drawn.outputs;
  const weights = ops.input("weights", y.shape);
  const loss = ops.sumAll(ops.mul(y, weights));
  const wrt = drawn.inputs.filter((t, i) => t.dtype === "f32" && hasRule(op, i));
  const gradients = ops.gradients(loss, wrt).wrt as Tensor[];
  return { ...drawn, weights, loss, wrt, gradients };
}

export interface GradientCheck {
  readonly input: string;
  /** Derivative along the direction by the rule and by central differences. */
  readonly analytic: number;
  readonly numeric: number;
  readonly error: number;
}

/** The check of one sample: one row for each input that has a rule. */
export function gradientChecks(op: Op, sample: Sample, seed = 2): GradientCheck[] {
  const { inputs, outputs, feeds, loss, wrt, gradients } = differentiate(op, sample, seed);
  const rng = random(seed + 1, op.name);
  const [first] = evaluate([outputs[0]], feeds);
  feeds.set("weights", { shape: first.shape, data: first.data.map(() => rng.normal()) });
  // The inputs too: a gradient alone may not contain the axes that its sizes come from.
  const values = evaluate([...gradients, ...inputs], feeds);
  return wrt.map((input, k) => {
    const { name } = input.node.attrs as { name: string };
    const at = feeds.get(name)!;
    if (values[k].shape.join() !== at.shape.join())
      throw new Error(
        `${op.name}: the gradient of ${name} has shape [${values[k].shape}], not [${at.shape}]`,
      );
    const direction = at.data.map(() => rng.normal());
    const along = (step: number) => {
      const data = at.data.map((v, i) => v + step * direction[i]);
      return evaluate([loss], new Map(feeds).set(name, { shape: at.shape, data }))[0].data[0];
    };
    const numeric = (along(STEP) - along(-STEP)) / (2 * STEP);
    const analytic = values[k].data.reduce((sum, g, i) => sum + g * direction[i], 0);
    const error = Math.abs(numeric - analytic) / Math.max(1e-3, Math.abs(numeric));
    return { input: name, analytic, numeric, error };
  });
}
