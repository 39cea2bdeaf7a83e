import { defineOp } from "../tensor/define.ts";
import {
  addDim,
  type Dim,
  floorDiv,
  mulDim,
  product,
  type Shape,
  sameDim,
  showShape,
  subDim,
  symbol,
} from "../tensor/dims.ts";
import { broadcastOffset, generate, strides } from "../tensor/evaluate.ts";
import { reshapeSizes } from "../tensor/onnx/write.ts";
import { describe, type Tensor } from "../tensor/tensor.ts";
import { scalar } from "./source.ts";

const bindAll = (shape: Shape, bind: (dim: Dim) => number) => shape.map(bind);

const reshapeOp = defineOp<{ shape: Shape }>({
  name: "reshape",
  doc: "The same elements in the same order under another shape.",
  infer: ([x], { shape }) => {
    if (!sameDim(product(x.shape), product(shape)))
      throw new Error(
        `${describe("reshape", [x], ["x"])}: does not hold as many elements as ${showShape(shape)}`,
      );
    return [{ shape, dtype: x.dtype }];
  },
  emit: (e, [x], { shape }, node) => [e.node("Reshape", [x, reshapeSizes(e, node.inputs[0].shape, shape)])],
  vjp: [({ dy, inputs: [x] }) => reshape(dy, x.shape)],
  traits: { movement: true, cheap: true, view: true },
  reference: ([x], { shape }, bind) => [{ shape: bindAll(shape, bind), data: x.data }],
  samples: [
    { inputs: [{ shape: [2, 6] }], attrs: { shape: [3, 4] } },
    {
      inputs: [{ shape: [symbol("batch"), symbol("frames"), 4] }],
      attrs: { shape: [mulDim(symbol("batch"), symbol("frames")), 2, 2] },
      dims: { batch: 2, frames: 3 },
    },
  ],
  simplify: ([x], { shape }) => {
    if (x.shape.length === shape.length && shape.every((dim, i) => sameDim(dim, x.shape[i]))) return x;
    const { node } = x;
    return node.op.name === "reshape" ? reshape(node.inputs[0], shape) : undefined;
  },
});
export const reshape = (x: Tensor, shape: Shape): Tensor => reshapeOp([x], { shape })[0];

const transposeOp = defineOp<{ perm: readonly number[] }>({
  name: "transpose",
  doc: "Axis i of the result is axis perm[i] of x.",
  infer: ([x], { perm }) => {
    if (perm.length !== x.shape.length || [...perm].sort((a, b) => a - b).some((axis, i) => axis !== i))
      throw new Error(`${describe("transpose", [x], ["x"])}: perm [${perm}] is not an order of its axes`);
    return [{ shape: perm.map((axis) => x.shape[axis]), dtype: x.dtype }];
  },
  emit: (e, [x], { perm }) => [e.node("Transpose", [x], { perm })],
  vjp: [
    ({ dy, attrs: { perm } }) =>
      transpose(
        dy,
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
  ],
  traits: { movement: true, cheap: true },
  reference: ([x], { perm }) => {
    const step = strides(x.shape);
    return [
      generate(
        perm.map((axis) => x.shape[axis]),
        (index) => x.data[perm.reduce((sum, axis, i) => sum + index[i] * step[axis], 0)],
      ),
    ];
  },
  samples: [
    { inputs: [{ shape: [2, 3, 4] }], attrs: { perm: [2, 0, 1] } },
    { inputs: [{ shape: [3, 2] }], attrs: { perm: [1, 0] } },
  ],
  simplify: ([x], { perm }) => {
    if (perm.every((axis, i) => axis === i)) return x;
    const { node } = x;
    if (node.op.name !== "transpose") return undefined;
    const inner = (node.attrs as { perm: readonly number[] }).perm;
    return transpose(
      node.inputs[0],
      perm.map((axis) => inner[axis]),
    );
  },
});
export const transpose = (x: Tensor, perm: readonly number[]): Tensor => transposeOp([x], { perm })[0];

/** The permutation that swaps the last two axes. */
export function swapLast(x: Tensor): Tensor {
  const perm = x.shape.map((_, axis) => axis);
  [perm[perm.length - 1], perm[perm.length - 2]] = [perm.length - 2, perm.length - 1];
  return transpose(x, perm);
}

const expandOp = defineOp<{ shape: Shape }>({
  name: "expand",
  doc: "x repeated along the axes in which `shape` is larger (NumPy broadcasting).",
  infer: ([x], { shape }) => {
    const offset = shape.length - x.shape.length;
    const fits = offset >= 0 && x.shape.every((dim, i) => dim === 1 || sameDim(dim, shape[i + offset]));
    if (!fits)
      throw new Error(`${describe("expand", [x], ["x"])}: does not broadcast to ${showShape(shape)}`);
    return [{ shape, dtype: x.dtype }];
  },
  emit: (e, [x], { shape }) => [e.node("Expand", [x, e.sizes(shape)])],
  vjp: [({ dy }) => dy],
  traits: { movement: true, cheap: true },
  reference: ([x], { shape }, bind) => [
    generate(bindAll(shape, bind), (index) => x.data[broadcastOffset(x.shape, index)]),
  ],
  samples: [{ inputs: [{ shape: [3, 1] }], attrs: { shape: [2, 3, 4] } }],
  simplify: ([x], { shape }) =>
    x.shape.length === shape.length && shape.every((dim, i) => sameDim(dim, x.shape[i])) ? x : undefined,
});
export const expand = (x: Tensor, shape: Shape): Tensor => expandOp([x], { shape })[0];

interface SliceAttrs {
  axis: number;
  start: Dim;
  /** Past the last element taken, before stepping. */
  end: Dim;
  step: number;
}

const sliceOp = defineOp<SliceAttrs>({
  name: "slice",
  doc: "Elements start, start + step, ... before end of one axis.",
  infer: ([x], { axis, start, end, step }) => {
    const size = floorDiv(addDim(subDim(end, start), step - 1), step);
    if (axis >= x.shape.length || step < 1 || (typeof size === "number" && size < 0))
      throw new Error(
        `${describe("slice", [x], ["x"])}: no elements ${start}..${end} step ${step} of axis ${axis}`,
      );
    return [{ shape: x.shape.map((dim, i) => (i === axis ? size : dim)), dtype: x.dtype }];
  },
  emit: (e, [x], { axis, start, end, step }) => [
    e.node("Slice", [
      x,
      e.sizes([start]),
      e.sizes([end]),
      e.constant("i64", [1], [axis]),
      e.constant("i64", [1], [step]),
    ]),
  ],
  vjp: [
    ({ dy, inputs: [x], attrs: { axis, start, step } }) => {
      const spread = step === 1 ? dy : interleaveZeros(dy, axis, step);
      const rest = subDim(subDim(x.shape[axis], start), spread.shape[axis]);
      // Spreading leaves step - 1 zeros behind the last element, which may stand beyond the axis' end.
      const fits = step === 1 || (typeof rest === "number" && rest >= 0);
      const body = fits ? spread : slice(spread, axis, 0, addDim(spread.shape[axis], 1 - step));
      return pad(body, axis, start, subDim(subDim(x.shape[axis], start), body.shape[axis]));
    },
  ],
  traits: { movement: true, cheap: true },
  reference: ([x], { axis, start, end, step }, bind) => {
    const from = bind(start);
    const count = Math.floor((bind(end) - from + step - 1) / step);
    const stride = strides(x.shape);
    return [
      generate(
        x.shape.map((size, i) => (i === axis ? count : size)),
        (index) =>
          x.data[index.reduce((sum, at, i) => sum + (i === axis ? from + at * step : at) * stride[i], 0)],
      ),
    ];
  },
  samples: [
    { inputs: [{ shape: [2, 7] }], attrs: { axis: 1, start: 1, end: 6, step: 1 } },
    { inputs: [{ shape: [2, 7] }], attrs: { axis: 1, start: 1, end: 6, step: 2 } },
    { inputs: [{ shape: [2, 7] }], attrs: { axis: 1, start: 0, end: 7, step: 3 } },
    {
      inputs: [{ shape: [3, symbol("frames")] }],
      attrs: { axis: 1, start: 2, end: symbol("frames"), step: 1 },
      dims: { frames: 5 },
    },
  ],
  simplify: ([x], { axis, start, end, step }) =>
    start === 0 && step === 1 && sameDim(end, x.shape[axis]) ? x : undefined,
});
export const slice = (x: Tensor, axis: number, start: Dim, end: Dim, step = 1): Tensor =>
  sliceOp([x], { axis: axis < 0 ? axis + x.shape.length : axis, start, end, step })[0];

const flipOp = defineOp<{ axis: number }>({
  name: "flip",
  doc: "One axis read from its end.",
  infer: ([x], { axis }) => {
    if (axis >= x.shape.length) throw new Error(`${describe("flip", [x], ["x"])}: has no axis ${axis}`);
    return [x];
  },
  emit: (e, [x], { axis }) => [
    e.node("Slice", [
      x,
      e.constant("i64", [1], [-1]),
      // Any end before the first element: ONNX clamps it.
      e.constant("i64", [1], [-(2 ** 31)]),
      e.constant("i64", [1], [axis]),
      e.constant("i64", [1], [-1]),
    ]),
  ],
  vjp: [({ dy, attrs: { axis } }) => flip(dy, axis)],
  traits: { movement: true, cheap: true },
  reference: ([x], { axis }) => {
    const stride = strides(x.shape);
    return [
      generate(
        x.shape,
        (index) =>
          x.data[index.reduce((sum, at, i) => sum + (i === axis ? x.shape[i] - 1 - at : at) * stride[i], 0)],
      ),
    ];
  },
  samples: [{ inputs: [{ shape: [2, 5] }], attrs: { axis: 1 } }],
});
export const flip = (x: Tensor, axis: number): Tensor => flipOp([x], { axis })[0];

interface PadAttrs {
  axis: number;
  before: Dim;
  after: Dim;
}

const padOp = defineOp<PadAttrs>({
  name: "pad",
  doc: "Zeros before and after the elements of one axis.",
  infer: ([x], { axis, before, after }) => {
    if (axis >= x.shape.length || [before, after].some((n) => typeof n === "number" && n < 0))
      throw new Error(`${describe("pad", [x], ["x"])}: cannot pad axis ${axis} by ${before} and ${after}`);
    return [
      {
        shape: x.shape.map((dim, i) => (i === axis ? addDim(addDim(dim, before), after) : dim)),
        dtype: x.dtype,
      },
    ];
  },
  emit: (e, [x], { axis, before, after }, node) => {
    const { dtype, shape } = node.inputs[0];
    // Every axis, not Pad's `axes`: ONNX Runtime 1.30 misreads those where it moves a transposition past a Pad.
    const sides = [before, after].flatMap((n) => shape.map((_, i) => (i === axis ? n : 0)));
    return [e.node("Pad", [x, e.sizes(sides), e.constant(dtype, [], [0])])];
  },
  vjp: [
    ({ dy, inputs: [x], attrs: { axis, before } }) => slice(dy, axis, before, addDim(before, x.shape[axis])),
  ],
  traits: { movement: true, cheap: true },
  reference: ([x], { axis, before, after }, bind) => {
    const first = bind(before);
    const stride = strides(x.shape);
    return [
      generate(
        x.shape.map((size, i) => (i === axis ? size + first + bind(after) : size)),
        (index) => {
          const at = index[axis] - first;
          if (at < 0 || at >= x.shape[axis]) return 0;
          return x.data[index.reduce((sum, place, i) => sum + (i === axis ? at : place) * stride[i], 0)];
        },
      ),
    ];
  },
  samples: [
    { inputs: [{ shape: [2, 3] }], attrs: { axis: 1, before: 2, after: 1 } },
    {
      inputs: [{ shape: [2, symbol("frames")] }],
      attrs: { axis: 1, before: 0, after: symbol("frames") },
      dims: { frames: 3 },
    },
  ],
  simplify: ([x], { before, after }) => (before === 0 && after === 0 ? x : undefined),
});
export const pad = (x: Tensor, axis: number, before: Dim, after: Dim): Tensor =>
  padOp([x], { axis: axis < 0 ? axis + x.shape.length : axis, before, after })[0];

/** Each element of an axis followed by step - 1 zeros. */
export function interleaveZeros(x: Tensor, axis: number, step: number): Tensor {
  const apart = reshape(x, [...x.shape.slice(0, axis + 1), 1, ...x.shape.slice(axis + 1)]);
  const padded = pad(apart, axis + 1, 0, step - 1);
  return reshape(
    padded,
    x.shape.map((dim, i) => (i === axis ? mulDim(dim, step) : dim)),
  );
}

const concatOp = defineOp<{ axis: number }>({
  name: "concat",
  doc: "The inputs one after another along one axis.",
  infer: (inputs, { axis }) => {
    const [first] = inputs;
    const fits = inputs.every(
      ({ shape, dtype }) =>
        dtype === first.dtype &&
        shape.length === first.shape.length &&
        shape.every((dim, i) => i === axis || sameDim(dim, first.shape[i])),
    );
    if (!fits) throw new Error(`${describe("concat", inputs, [])}: shapes differ outside axis ${axis}`);
    const total = inputs.map(({ shape }) => shape[axis]).reduce(addDim);
    return [{ shape: first.shape.map((dim, i) => (i === axis ? total : dim)), dtype: first.dtype }];
  },
  emit: (e, inputs, { axis }) => [e.node("Concat", inputs, { axis })],
  vjp: {
    each: ({ dy, inputs, attrs: { axis } }, index) => {
      const start = inputs.slice(0, index).reduce<Dim>((sum, { shape }) => addDim(sum, shape[axis]), 0);
      return slice(dy, axis, start, addDim(start, inputs[index].shape[axis]));
    },
  },
  traits: { movement: true, cheap: true },
  reference: (inputs, { axis }) => {
    const [first] = inputs;
    const total = inputs.reduce((sum, { shape }) => sum + shape[axis], 0);
    const parts = inputs.map((x) => ({ x, stride: strides(x.shape) }));
    return [
      generate(
        first.shape.map((size, i) => (i === axis ? total : size)),
        (index) => {
          let at = index[axis];
          const part = parts.find(({ x }) => {
            if (at < x.shape[axis]) return true;
            at -= x.shape[axis];
            return false;
          })!;
          return part.x.data[
            index.reduce((sum, place, i) => sum + (i === axis ? at : place) * part.stride[i], 0)
          ];
        },
      ),
    ];
  },
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 1] }, { shape: [2, 4] }], attrs: { axis: 1 } },
    { inputs: [{ shape: [1, 3] }, { shape: [2, 3] }], attrs: { axis: 0 } },
  ],
  simplify: (inputs) => (inputs.length === 1 ? inputs[0] : undefined),
});
export const concat = (inputs: readonly Tensor[], axis: number): Tensor =>
  concatOp(inputs, { axis: axis < 0 ? axis + inputs[0].shape.length : axis })[0];

interface SplitAttrs {
  axis: number;
  sizes: readonly Dim[];
}

const splitOp = defineOp<SplitAttrs>({
  name: "split",
  doc: "One axis cut into stretches of the given sizes.",
  infer: ([x], { axis, sizes }) => {
    if (axis >= x.shape.length || !sameDim(sizes.reduce(addDim), x.shape[axis]))
      throw new Error(
        `${describe("split", [x], ["x"])}: sizes ${showShape(sizes)} do not add up to axis ${axis}`,
      );
    return sizes.map((size) => ({
      shape: x.shape.map((dim, i) => (i === axis ? size : dim)),
      dtype: x.dtype,
    }));
  },
  emit: (e, [x], { axis, sizes }) =>
    e.nodes("Split", [x, e.sizes(sizes)], { axis }, { outputs: sizes.length }),
  vjp: [
    ({ dys, outputs, attrs: { axis } }) =>
      concat(
        outputs.map(({ shape }, i) => dys[i] ?? expand(scalar(0), shape)),
        axis,
      ),
  ],
  traits: { movement: true, cheap: true },
  reference: ([x], { axis, sizes }, bind) => {
    const stride = strides(x.shape);
    let end = 0;
    return sizes.map((size) => {
      const start = end;
      end += bind(size);
      return generate(
        x.shape.map((dim, i) => (i === axis ? bind(size) : dim)),
        (index) => x.data[index.reduce((sum, at, i) => sum + (i === axis ? start + at : at) * stride[i], 0)],
      );
    });
  },
  samples: [
    { inputs: [{ shape: [2, 7, 2] }], attrs: { axis: 1, sizes: [1, 4, 2] } },
    {
      inputs: [{ shape: [symbol("batch"), 3] }, { shape: [symbol("front")], dtype: "bool" }],
      attrs: { axis: 0, sizes: [symbol("front"), subDim(symbol("batch"), symbol("front"))] },
      dims: { batch: 5, front: 2 },
    },
  ],
});
export const split = (x: Tensor, axis: number, sizes: readonly Dim[]): readonly Tensor[] =>
  splitOp([x], { axis: axis < 0 ? axis + x.shape.length : axis, sizes });

const rangeOp = defineOp<{ size: Dim }>({
  name: "range",
  doc: "0, 1, ... size - 1 as int32.",
  infer: (_, { size }) => [{ shape: [size], dtype: "i32" }],
  emit: (e, _, { size }) => {
    const limit = e.node("Reshape", [e.sizes([size]), e.constant("i64", [0], [])]);
    const ends = [e.constant("i32", [], [0]), e.node("Cast", [limit], { to: 6 }), e.constant("i32", [], [1])];
    return [e.node("Range", ends)];
  },
  vjp: { nonDifferentiable: "it is made of integers" },
  traits: { cheap: true },
  reference: (_, { size }, bind) => [generate([bind(size)], (_, flat) => flat)],
  samples: [{ inputs: [], attrs: { size: 5 } }],
});
export const range = (size: Dim): Tensor => rangeOp([], { size })[0];

const afterOp = defineOp<Record<string, never>>({
  name: "after",
  doc: "x, but not before `other` is there: keeps a recomputed value from being merged with its original.",
  infer: ([x]) => [x],
  emit: (e, [x, other], _, node) => {
    const rank = node.inputs[0].shape.length;
    const size = e.node("ReduceProd", [e.node("Shape", [other])]);
    // A size of 0 says "as it was", and these zeros are not known before `other` is.
    const zeros = e.constant("i64", [rank], new Array<number>(rank).fill(0));
    return [e.node("Reshape", [x, e.node("Mul", [size, zeros])])];
  },
  vjp: [({ dy }) => dy, { nonDifferentiable: "only its presence counts" }],
  traits: { movement: true, cheap: true },
  reference: ([x]) => [x],
  samples: [{ inputs: [{ shape: [2, 3] }, { shape: [4] }], attrs: {} }],
});
export const after = (x: Tensor, other: Tensor): Tensor => afterOp([x, other], {})[0];
