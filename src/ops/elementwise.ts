import { defineOp, type OpFunction } from "../tensor/define.ts";
import { broadcast, symbol } from "../tensor/dims.ts";
import { mapBroadcast } from "../tensor/evaluate.ts";
import { type DType, describe, type Sample, type Tensor, type Vjp } from "../tensor/tensor.ts";
import { inBlocks } from "./blocks.ts";
import { lift, type Operand, scalar, scalarValue } from "./source.ts";

type None = Record<string, never>;
const none: None = {};

interface Pointwise {
  name: string;
  onnx: string;
  doc: string;
  fn: (...values: number[]) => number;
  vjp: Vjp<None>;
  samples: readonly Sample<None>[];
  /** dtype of the result; default that of the first input. */
  result?: DType;
  simplify?(inputs: readonly Tensor[]): Tensor | undefined;
}

function pointwise(names: readonly string[], definition: Pointwise): OpFunction<None> {
  const { onnx, fn, result, simplify, ...rest } = definition;
  return defineOp<None>({
    ...rest,
    infer: (inputs) => {
      const shape = inputs
        .map((t) => t.shape)
        .reduce((a, b) => broadcast(a, b) ?? mismatch(rest.name, inputs, names));
      if (inputs.some(({ dtype }) => dtype !== inputs[0].dtype))
        throw new Error(`${describe(rest.name, inputs, names)}: dtypes differ`);
      return [{ shape, dtype: result ?? inputs[0].dtype }];
    },
    emit: (e, inputs) => [e.node(onnx, inputs)],
    traits: { elementwise: true, cheap: true },
    reference: (inputs) => [mapBroadcast(inputs, fn)],
    ...(simplify ? { simplify: (inputs: readonly Tensor[]) => simplify(inputs) } : {}),
  });
}

function mismatch(
  op: string,
  inputs: readonly Tensor[] | readonly { shape: Tensor["shape"]; dtype: DType }[],
  names: readonly string[],
): never {
  throw new Error(`${describe(op, inputs, names)}: the shapes do not broadcast`);
}

const unaryNames = ["x"];
const binaryNames = ["a", "b"];
const unary = (definition: Pointwise) => {
  const op = pointwise(unaryNames, definition);
  return (x: Tensor): Tensor => op([x], none)[0];
};
const binary = (definition: Pointwise) => {
  const op = pointwise(binaryNames, definition);
  return (a: Operand, b: Operand): Tensor => {
    const dtype = typeof a !== "number" ? a.dtype : typeof b !== "number" ? b.dtype : "f32";
    return op([lift(a, dtype), lift(b, dtype)], none)[0];
  };
};

/** Shapes every binary operation is tried with: equal, both ways broadcast, scalar, symbolic. */
const pairs = (range?: readonly [number, number]): Sample<None>[] => [
  {
    inputs: [
      { shape: [2, 3], range },
      { shape: [2, 3], range },
    ],
    attrs: none,
  },
  {
    inputs: [
      { shape: [4, 1, 3], range },
      { shape: [2, 1], range },
    ],
    attrs: none,
  },
  {
    inputs: [
      { shape: [5], range },
      { shape: [], range },
    ],
    attrs: none,
  },
];
const single = (range?: readonly [number, number]): Sample<None>[] => [
  { inputs: [{ shape: [3, 7], range }], attrs: none },
  { inputs: [{ shape: [], range }], attrs: none },
];

export const add = binary({
  name: "add",
  onnx: "Add",
  doc: "y = a + b, broadcast.",
  fn: (a, b) => a + b,
  vjp: [({ dy }) => dy, ({ dy }) => dy],
  samples: pairs(),
  simplify: ([a, b]) => {
    if (scalarValue(b) === 0) return a;
    return scalarValue(a) === 0 ? b : undefined;
  },
});

export const sub = binary({
  name: "sub",
  onnx: "Sub",
  doc: "y = a - b, broadcast.",
  fn: (a, b) => a - b,
  vjp: [({ dy }) => dy, ({ dy }) => neg(dy)],
  samples: pairs(),
});

export const mul = binary({
  name: "mul",
  onnx: "Mul",
  doc: "y = a b, broadcast.",
  fn: (a, b) => a * b,
  vjp: [({ dy, inputs }) => mul(dy, inputs[1]), ({ dy, inputs }) => mul(dy, inputs[0])],
  samples: pairs(),
  simplify: ([a, b]) => {
    if (scalarValue(b) === 1) return a;
    return scalarValue(a) === 1 ? b : undefined;
  },
});

export const div = binary({
  name: "div",
  onnx: "Div",
  doc: "y = a / b, broadcast.",
  fn: (a, b) => a / b,
  vjp: [
    ({ dy, inputs }) => div(dy, inputs[1]),
    ({ dy, inputs, outputs }) => neg(div(mul(dy, outputs[0]), inputs[1])),
  ],
  samples: pairs([0.5, 2]),
  simplify: ([a, b]) => (scalarValue(b) === 1 ? a : undefined),
});

export const maximum = binary({
  name: "maximum",
  onnx: "Max",
  doc: "y = max(a, b), broadcast; at a tie the gradient goes to a.",
  fn: Math.max,
  vjp: [
    ({ dy, inputs: [a, b] }) => where(less(a, b), scalar(0), dy),
    ({ dy, inputs: [a, b] }) => where(less(a, b), dy, scalar(0)),
  ],
  samples: pairs(),
});

export const minimum = binary({
  name: "minimum",
  onnx: "Min",
  doc: "y = min(a, b), broadcast; at a tie the gradient goes to a.",
  fn: Math.min,
  vjp: [
    ({ dy, inputs: [a, b] }) => where(less(b, a), scalar(0), dy),
    ({ dy, inputs: [a, b] }) => where(less(b, a), dy, scalar(0)),
  ],
  samples: pairs(),
});

const truth = "true or false has no slope";
export const less = binary({
  name: "less",
  onnx: "Less",
  doc: "y = a < b, broadcast.",
  fn: (a, b) => (a < b ? 1 : 0),
  result: "bool",
  vjp: { nonDifferentiable: truth },
  samples: pairs(),
});

export const equal = binary({
  name: "equal",
  onnx: "Equal",
  doc: "y = (a == b), broadcast.",
  fn: (a, b) => (a === b ? 1 : 0),
  result: "bool",
  vjp: { nonDifferentiable: truth },
  samples: [
    {
      inputs: [
        { shape: [2, 3], dtype: "i32", range: [0, 2] },
        { shape: [3], dtype: "i32", range: [0, 2] },
      ],
      attrs: none,
    },
  ],
});

export const neg = unary({
  name: "neg",
  onnx: "Neg",
  doc: "y = -x.",
  fn: (x) => -x,
  vjp: [({ dy }) => neg(dy)],
  samples: single(),
});

export const exp = unary({
  name: "exp",
  onnx: "Exp",
  doc: "y = e^x.",
  fn: Math.exp,
  vjp: [({ dy, outputs }) => mul(dy, outputs[0])],
  samples: single(),
});

export const log = unary({
  name: "log",
  onnx: "Log",
  doc: "y = ln x.",
  fn: Math.log,
  vjp: [({ dy, inputs }) => div(dy, inputs[0])],
  samples: single([0.2, 3]),
});

export const sqrt = unary({
  name: "sqrt",
  onnx: "Sqrt",
  doc: "y = sqrt(x).",
  fn: Math.sqrt,
  vjp: [({ dy, outputs }) => div(mul(dy, 0.5), outputs[0])],
  samples: single([0.2, 3]),
});

export const abs = unary({
  name: "abs",
  onnx: "Abs",
  doc: "y = |x|; the gradient at 0 is 0, as PyTorch has it.",
  fn: Math.abs,
  vjp: [({ dy, inputs }) => mul(dy, sign(inputs[0]))],
  samples: single(),
});

export const sign = unary({
  name: "sign",
  onnx: "Sign",
  doc: "y = -1, 0 or 1 with the sign of x.",
  fn: Math.sign,
  vjp: { nonDifferentiable: "it is constant wherever it has a slope" },
  samples: single(),
});

export const tanh = unary({
  name: "tanh",
  onnx: "Tanh",
  doc: "y = tanh(x).",
  fn: Math.tanh,
  vjp: [({ dy, outputs: [y] }) => mul(dy, sub(1, mul(y, y)))],
  samples: single([-3, 3]),
});

export const sigmoid = unary({
  name: "sigmoid",
  onnx: "Sigmoid",
  doc: "y = 1 / (1 + e^-x).",
  fn: (x) => 1 / (1 + Math.exp(-x)),
  vjp: [({ dy, outputs: [y] }) => mul(dy, mul(y, sub(1, y)))],
  samples: single([-4, 4]),
});

export const relu = unary({
  name: "relu",
  onnx: "Relu",
  doc: "y = max(x, 0); the gradient at 0 is 0.",
  fn: (x) => Math.max(x, 0),
  vjp: [({ dy, inputs: [x] }) => where(less(0, x), dy, scalar(0))],
  samples: single(),
});

/** erf by series for small arguments, by continued fraction for large ones: about 15 digits. */
function erfReference(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 100 && Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

const whereOp = defineOp<None>({
  name: "where",
  doc: "y = a where the condition holds, else b, broadcast.",
  infer: (inputs) => {
    const names = ["condition", "a", "b"];
    const [condition, a, b] = inputs;
    const ab = broadcast(a.shape, b.shape) ?? mismatch("where", inputs, names);
    const shape = broadcast(condition.shape, ab) ?? mismatch("where", inputs, names);
    if (condition.dtype !== "bool" || a.dtype !== b.dtype)
      throw new Error(`${describe("where", inputs, names)}: wants a bool condition and equal dtypes`);
    return [{ shape, dtype: a.dtype }];
  },
  emit: (e, inputs) => [e.node("Where", inputs)],
  vjp: [
    { nonDifferentiable: truth },
    ({ dy, inputs }) => where(inputs[0], dy, scalar(0)),
    ({ dy, inputs }) => where(inputs[0], scalar(0), dy),
  ],
  traits: { elementwise: true, cheap: true },
  reference: (inputs) => [mapBroadcast(inputs, (c, a, b) => (c !== 0 ? a : b))],
  samples: [
    { inputs: [{ shape: [2, 1], dtype: "bool" }, { shape: [2, 3] }, { shape: [3] }], attrs: none },
    { inputs: [{ shape: [4], dtype: "bool" }, { shape: [] }, { shape: [4] }], attrs: none },
  ],
});

export const where = (condition: Tensor, a: Operand, b: Operand): Tensor => {
  const dtype = typeof a !== "number" ? a.dtype : typeof b !== "number" ? b.dtype : "f32";
  return whereOp([condition, lift(a, dtype), lift(b, dtype)], none)[0];
};

/** Nothing becomes a half: they only come in. */
type CastTo = Exclude<DType, "f16">;
const ONNX_CAST: Record<CastTo, number> = { f32: 1, i32: 6, i64: 7, bool: 9, u32: 12 };
const castOp = defineOp<{ to: CastTo }>({
  name: "cast",
  doc: "The same numbers as another dtype; a gradient passes only between floats.",
  infer: ([x], { to }) => [{ shape: x.shape, dtype: to }],
  emit: (e, inputs, { to }) => [e.node("Cast", inputs, { to: ONNX_CAST[to] })],
  vjp: [({ dy }) => dy],
  traits: { elementwise: true, cheap: true },
  reference: ([x], { to }) => [
    {
      shape: x.shape,
      data: to === "f32" ? x.data : x.data.map((v) => (to === "bool" ? Number(v !== 0) : Math.trunc(v))),
    },
  ],
  samples: [
    { inputs: [{ shape: [3, 2], dtype: "i32", range: [-5, 5] }], attrs: { to: "f32" } },
    { inputs: [{ shape: [4], dtype: "bool" }], attrs: { to: "f32" } },
    { inputs: [{ shape: [2, 9], dtype: "f16", range: [-2048, 2048] }], attrs: { to: "f32" } },
    // Simplification takes it away, but its gradient rule is still a rule.
    { inputs: [{ shape: [2, 3] }], attrs: { to: "f32" } },
  ],
  simplify: ([x], { to }) => (x.dtype === to ? x : undefined),
});

export const cast = (x: Tensor, to: CastTo): Tensor => castOp([x], { to })[0];

const geluOp = defineOp<None>({
  name: "gelu",
  doc: "y = x Phi(x) with the normal distribution function, exact (Hendrycks and Gimpel 2016).",
  infer: ([x]) => [x],
  emit: (e, inputs) => {
    if (e.target.contrib) return [e.node("Gelu", inputs, {}, { domain: "com.microsoft" })];
    if ((e.target.opset ?? 20) >= 20) return [e.node("Gelu", inputs)];
    const number = (value: number) => e.constant("f32", [], [value]);
    const error = e.node("Erf", [e.node("Mul", [inputs[0], number(Math.SQRT1_2)])]);
    const half = e.node("Mul", [inputs[0], number(0.5)]);
    return [e.node("Mul", [half, e.node("Add", [error, number(1)])])];
  },
  // Its own rule: differentiating x/2 (1 + erf(x / sqrt 2)) step by step keeps three more arrays of this size.
  vjp: [({ dy, inputs: [x] }) => geluGradient(dy, x)],
  traits: { elementwise: true },
  reference: ([x]) => [mapBroadcast([x], (v) => 0.5 * v * (1 + erfReference(v / Math.SQRT2)))],
  samples: [{ inputs: [{ shape: [4, 9], range: [-4, 4] }], attrs: none }],
});

const geluGradientOp = defineOp<None>({
  name: "geluGradient",
  doc: "dx = dy gelu'(x), gelu'(x) = (1 + erf(a)) / 2 + a e^(-a^2) / sqrt(pi) with a = x / sqrt(2).",
  infer: ([, x]) => [x],
  emit: (e, inputs, _, node) => [
    inBlocks(e, inputs, node.outputs[0].shape, (b, [dy, x]) => {
      const number = (value: number) => b.constant("f32", [], [value]);
      const a = b.node("Mul", [x, number(Math.SQRT1_2)]);
      // The factor 1 / sqrt(pi) as a term of the exponent: one pass over the array less.
      const power = b.node("Sub", [number(-0.5 * Math.log(Math.PI)), b.node("Mul", [a, a])]);
      const bell = b.node("Mul", [a, b.node("Exp", [power])]);
      const half = b.node("Mul", [b.node("Add", [b.node("Erf", [a]), number(1)]), number(0.5)]);
      return b.node("Mul", [dy, b.node("Add", [half, bell])]);
    }),
  ],
  vjp: [
    ({ dy: ddx, inputs: [, x] }) => geluGradient(ddx, x),
    { nonDifferentiable: "it stands only in gradients, and second derivatives of GELU are not needed" },
  ],
  // Not "elementwise": a result that comes in blocks cannot be written over an input.
  traits: {},
  reference: (inputs) => [
    mapBroadcast(inputs, (dy, x) => {
      const bell = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
      return dy * (0.5 * (1 + erfReference(x / Math.SQRT2)) + x * bell);
    }),
  ],
  samples: [
    { inputs: [{ shape: [4, 9] }, { shape: [4, 9], range: [-4, 4] }], attrs: none },
    { inputs: [{ shape: [5] }, { shape: [5], range: [-4, 4] }], attrs: none },
    {
      inputs: [{ shape: [symbol("rows"), 8] }, { shape: [symbol("rows"), 8], range: [-4, 4] }],
      attrs: none,
      dims: { rows: 0 },
    },
    // Two blocks.
    { inputs: [{ shape: [3, 131_072] }, { shape: [3, 131_072], range: [-4, 4] }], attrs: none },
  ],
});
const geluGradient = (dy: Tensor, x: Tensor): Tensor => geluGradientOp([dy, x], none)[0];

export const gelu = (x: Tensor): Tensor => geluOp([x], none)[0];
