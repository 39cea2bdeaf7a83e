import { defineOp, type OpFunction } from "../tensor/define.ts";
import { type Dim, product, type Shape, sameDim, symbol } from "../tensor/dims.ts";
import { broadcastOffset, forEachIndex, sizeOf } from "../tensor/evaluate.ts";
import {
  describe,
  type Emit,
  type NdArray,
  type Sample,
  type Tensor,
  type TensorType,
  type Vjp,
} from "../tensor/tensor.ts";
import { cast, div, equal, mul } from "./elementwise.ts";
import { expand, reshape } from "./movement.ts";

interface ReduceAttrs {
  /** Sorted, not negative. */
  axes: readonly number[];
  keep: boolean;
}

function reduced({ shape, dtype }: TensorType, { axes, keep }: ReduceAttrs): TensorType {
  const out: Dim[] = [];
  for (const [i, dim] of shape.entries())
    if (!axes.includes(i)) out.push(dim);
    else if (keep) out.push(1);
  return { shape: out, dtype };
}

/** dy stretched back over the axes that were reduced away. */
function restore(dy: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  const kept = reshape(
    dy,
    x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)),
  );
  return expand(kept, x.shape);
}

function fold(
  x: NdArray,
  axes: readonly number[],
  keep: boolean,
  start: number,
  step: (sum: number, v: number) => number,
): NdArray {
  const kept = x.shape.map((size, i) => (axes.includes(i) ? 1 : size));
  const data = new Float64Array(sizeOf(kept)).fill(start);
  forEachIndex(x.shape, (index, flat) => {
    const at = broadcastOffset(kept, index);
    data[at] = step(data[at], x.data[flat]);
  });
  return { shape: keep ? kept : kept.filter((_, i) => !axes.includes(i)), data };
}

function reduction(definition: {
  name: string;
  doc: string;
  vjp: Vjp<ReduceAttrs>;
  reference: (x: NdArray, attrs: ReduceAttrs) => NdArray;
  emit: "ReduceSum" | "ReduceMean" | "ReduceMax";
  /** A quicker form of the node, where there is one. */
  quicker?: (e: Emit, x: string, type: TensorType, attrs: ReduceAttrs) => string | undefined;
  samples?: readonly Sample<ReduceAttrs>[];
}): OpFunction<ReduceAttrs> {
  const samples: Sample<ReduceAttrs>[] = [
    { inputs: [{ shape: [2, 3, 4] }], attrs: { axes: [1], keep: false } },
    { inputs: [{ shape: [2, 3, 4] }], attrs: { axes: [0, 2], keep: true } },
    { inputs: [{ shape: [2, 3] }], attrs: { axes: [0, 1], keep: false } },
    ...(definition.samples ?? []),
  ];
  return defineOp<ReduceAttrs>({
    name: definition.name,
    doc: definition.doc,
    infer: ([x], attrs) => {
      if (attrs.axes.length === 0 || attrs.axes.some((axis) => axis < 0 || axis >= x.shape.length))
        throw new Error(`${describe(definition.name, [x], ["x"])}: has no axes [${attrs.axes}]`);
      return [reduced(x, attrs)];
    },
    emit: (e, [x], attrs, node) => [
      definition.quicker?.(e, x, node.inputs[0], attrs) ??
        e.node(definition.emit, [x, e.constant("i64", [attrs.axes.length], attrs.axes)], {
          keepdims: attrs.keep ? 1 : 0,
        }),
    ],
    vjp: definition.vjp,
    traits: {},
    reference: ([x], attrs) => [definition.reference(x, attrs)],
    samples,
  });
}

/** Columns from which on a sum over rows is a product: below, a row of ones costs more than it saves. */
const WIDE = 64;

/** A sum over leading axes (a bias's gradient) as ones times the matrix: the runtime's own sum takes 2 to 7 times as long. */
function onesTimes(e: Emit, x: string, { shape, dtype }: TensorType, attrs: ReduceAttrs): string | undefined {
  const { length } = attrs.axes;
  const columns = product(shape.slice(length));
  const leading = length < shape.length && attrs.axes.every((axis, i) => axis === i);
  if (!leading || dtype !== "f32" || typeof columns !== "number" || columns < WIDE) return undefined;
  const rows = product(shape.slice(0, length));
  const flat = length === 1 && shape.length === 2;
  const matrix = flat ? x : e.node("Reshape", [x, e.sizes([rows, columns])], { allowzero: 1 });
  const ones = e.node("Expand", [e.constant("f32", [1], [1]), e.sizes([rows])]);
  const sums = e.node("MatMul", [ones, matrix]);
  const out = reduced({ shape, dtype }, attrs).shape;
  return out.length === 1 ? sums : e.node("Reshape", [sums, e.sizes(out)]);
}

const reduceSumOp = reduction({
  name: "reduceSum",
  doc: "The sum over the given axes.",
  emit: "ReduceSum",
  quicker: onesTimes,
  samples: [
    { inputs: [{ shape: [5, 3, 64] }], attrs: { axes: [0, 1], keep: false } },
    { inputs: [{ shape: [7, 2, 40] }], attrs: { axes: [0], keep: true } },
    { inputs: [{ shape: [symbol("rows"), 70] }], attrs: { axes: [0], keep: false }, dims: { rows: 9 } },
    { inputs: [{ shape: [symbol("rows"), 70] }], attrs: { axes: [0], keep: false }, dims: { rows: 0 } },
  ],
  vjp: [({ dy, inputs: [x], attrs: { axes } }) => restore(dy, x, axes)],
  reference: (x, { axes, keep }) => fold(x, axes, keep, 0, (sum, v) => sum + v),
});

const reduceMeanOp = reduction({
  name: "reduceMean",
  doc: "The mean over the given axes.",
  emit: "ReduceMean",
  vjp: [({ dy, inputs: [x], attrs: { axes } }) => restore(mul(dy, inverseCount(x, axes)), x, axes)],
  reference: (x, { axes, keep }) => {
    const sum = fold(x, axes, keep, 0, (total, v) => total + v);
    const count = x.data.length / sum.data.length;
    return { shape: sum.shape, data: sum.data.map((v) => v / count) };
  },
});

const reduceMaxOp = reduction({
  name: "reduceMax",
  doc: "The largest value over the given axes; elements that tie share the gradient.",
  emit: "ReduceMax",
  vjp: [
    ({ dy, inputs: [x], outputs: [y], attrs: { axes } }) => {
      const winners = cast(equal(x, restore(y, x, axes)), "f32");
      const count = reduceSum(winners, axes, true);
      return mul(restore(dy, x, axes), div(winners, count));
    },
  ],
  reference: (x, { axes, keep }) => fold(x, axes, keep, Number.NEGATIVE_INFINITY, Math.max),
  samples: [
    {
      inputs: [{ shape: [2, 3], values: [1, 1, 0.5, -1, 2, 2] }],
      attrs: { axes: [1], keep: false },
      why: "ties: central differences give the mean of both slopes, which is what sharing gives",
    },
  ],
});

const sizeTensorOp = defineOp<{ size: Dim }>({
  name: "size",
  doc: "The size of an axis as a float scalar.",
  infer: () => [{ shape: [], dtype: "f32" }],
  emit: (e, _, { size }) => {
    const value = e.node("Reshape", [e.sizes([size]), e.constant("i64", [0], [])]);
    return [e.node("Cast", [value], { to: 1 })];
  },
  vjp: [],
  traits: { cheap: true },
  reference: (_, { size }, bind) => [{ shape: [], data: Float64Array.of(bind(size)) }],
  samples: [{ inputs: [], attrs: { size: 6 } }],
});
/** The size of an axis as a float scalar in the graph. */
export const sizeTensor = (size: Dim): Tensor => sizeTensorOp([], { size })[0];

function inverseCount(x: Tensor, axes: readonly number[]): Tensor | number {
  const sizes = axes.map((axis) => x.shape[axis]);
  if (sizes.every((size) => typeof size === "number"))
    return 1 / sizes.reduce((a, b) => a * (b as number), 1);
  return sizes.map((size) => div(1, sizeTensor(size))).reduce((a, b) => mul(a, b));
}

const normalAxes = (x: Tensor, axes: readonly number[]) =>
  axes.map((axis) => (axis < 0 ? axis + x.shape.length : axis)).sort((a, b) => a - b);

export const reduceSum = (x: Tensor, axes: readonly number[], keep = false): Tensor =>
  reduceSumOp([x], { axes: normalAxes(x, axes), keep })[0];
export const reduceMean = (x: Tensor, axes: readonly number[], keep = false): Tensor =>
  reduceMeanOp([x], { axes: normalAxes(x, axes), keep })[0];
export const reduceMax = (x: Tensor, axes: readonly number[], keep = false): Tensor =>
  reduceMaxOp([x], { axes: normalAxes(x, axes), keep })[0];

/** Sum of all elements, a scalar. */
export const sumAll = (x: Tensor): Tensor =>
  x.shape.length === 0
    ? x
    : reduceSum(
        x,
        x.shape.map((_, i) => i),
      );

/** Sums `x` over the axes in which `shape` was broadcast to it: the transpose of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const offset = x.shape.length - shape.length;
  const axes = x.shape.flatMap((dim, i) =>
    i < offset || (shape[i - offset] === 1 && !sameDim(dim, 1)) ? [i] : [],
  );
  return reshape(axes.length === 0 ? x : reduceSum(x, axes), shape);
}
