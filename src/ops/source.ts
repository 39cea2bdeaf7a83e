import { defineOp } from "../tensor/define.ts";
import type { Shape } from "../tensor/dims.ts";
import { sizeOf } from "../tensor/evaluate.ts";
import type { DType, Tensor } from "../tensor/tensor.ts";

export const inputOp = defineOp<{ name: string; shape: Shape; dtype: DType }>({
  name: "input",
  doc: "A value given when the graph runs: weights, batches, hyper-parameters.",
  infer: (_, { shape, dtype }) => [{ shape, dtype }],
  emit: () => {
    throw new Error("input: declared by the graph, never emitted");
  },
  vjp: [],
  traits: { source: true },
  reference: () => {
    throw new Error("input: its value is fed");
  },
  samples: [],
});

export const constantOp = defineOp<{ shape: readonly number[]; dtype: DType; values: ArrayLike<number> }>({
  name: "constant",
  doc: "A value known while compiling.",
  infer: (_, { shape, dtype, values }) => {
    if (values.length !== sizeOf(shape))
      throw new Error(`constant: shape [${shape}] needs ${sizeOf(shape)} values, got ${values.length}`);
    return [{ shape, dtype }];
  },
  emit: (e, _, { shape, dtype, values }) => [e.constant(dtype, shape, values)],
  vjp: [],
  traits: { constant: true, cheap: true },
  reference: (_, { shape, values }) => [{ shape, data: Float64Array.from(values) }],
  samples: [
    { inputs: [], attrs: { shape: [2, 2], dtype: "f32", values: [1, -2, 0.5, 3] } },
    { inputs: [], attrs: { shape: [], dtype: "f32", values: [7] } },
  ],
});

/** A named graph input. */
export const input = (name: string, shape: Shape, dtype: DType = "f32"): Tensor =>
  inputOp([], { name, shape, dtype })[0];

/** A constant array. */
export const constant = (shape: readonly number[], values: ArrayLike<number>, dtype: DType = "f32"): Tensor =>
  constantOp([], { shape, dtype, values })[0];

export const scalar = (value: number, dtype: DType = "f32"): Tensor => constant([], [value], dtype);

/** Tensors, or numbers that stand for scalar constants. */
export type Operand = Tensor | number;
export const lift = (x: Operand, dtype: DType = "f32"): Tensor =>
  typeof x === "number" ? scalar(x, dtype) : x;

/** The value of a scalar constant, or undefined: what simplifications ask. */
export function scalarValue(x: Tensor): number | undefined {
  if (!x.node.op.traits.constant || x.shape.length !== 0) return undefined;
  return (x.node.attrs as { values: ArrayLike<number> }).values[0];
}
