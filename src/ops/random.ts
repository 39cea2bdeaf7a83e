import { defineOp } from "../tensor/define.ts";
import { type Dim, product, type Shape, showShape } from "../tensor/dims.ts";
import type { Emit, Tensor } from "../tensor/tensor.ts";
import { cast, log, mul, neg } from "./elementwise.ts";

/*
 * Random bits as a function of (seed, site, place): the runtime's own Dropout keeps a state that no checkpoint can
 * restore. A row hash times a column hash, wrapped to 32 bits, costs one integer product per element, a quarter of
 * drawing each element (design, section 2). The row and column hashes themselves are thorough: they are few.
 */
const SALT_ROW = 0x2c1b3c6d;
const SALT_COLUMN = 0x297a2d39;
const FACTORS = [-0x7a143589, -0x3d4d51cb, -0x61c88647] as const;
const SHIFTS = [65536, 8192, 65536] as const;

/** The hash as TypeScript; the emitted one is the same in int32 arithmetic, whose division truncates. */
function hash(index: number, seed: number): number {
  let h = (Math.imul(index, FACTORS[2]) + seed) | 0;
  h = Math.imul(h ^ Math.trunc(h / SHIFTS[0]), FACTORS[0]);
  h = Math.imul(h ^ Math.trunc(h / SHIFTS[1]), FACTORS[1]);
  return h ^ Math.trunc(h / SHIFTS[2]);
}

function emitHash(e: Emit, count: string, seed: string): string {
  const int = (value: number) => e.constant("i32", [], [value | 0]);
  const scalarCount = e.node("Cast", [e.node("Reshape", [count, e.constant("i64", [0], [])])], { to: 6 });
  const index = e.node("Range", [int(0), scalarCount, int(1)]);
  let h = e.node("Add", [e.node("Mul", [index, int(FACTORS[2])]), seed]);
  for (const [i, shift] of SHIFTS.entries()) {
    h = e.node("BitwiseXor", [h, e.node("Div", [h, int(shift)])]);
    if (i < 2) h = e.node("Mul", [h, int(FACTORS[i])]);
  }
  return h;
}

interface KeepAttrs {
  shape: Shape;
  /** Which of a model's random places this is: equal sites with equal seeds draw equal masks. */
  site: number;
  /** Probability that an element is dropped. */
  rate: number;
}

const threshold = (rate: number) => Math.round(rate * 2 ** 32 - 2 ** 31);

/** [rows, columns]: the last axis against all others. */
const rowsAndColumns = (shape: Shape): [Dim, Dim] => [product(shape.slice(0, -1)), shape[shape.length - 1]];

const keepMaskOp = defineOp<KeepAttrs>({
  name: "keepMask",
  doc: "true with probability 1 - rate, independent of everything but (seed, site, place).",
  infer: ([seed], { shape, rate }) => {
    if (seed.dtype !== "i32" || seed.shape.length !== 0)
      throw new Error(`keepMask: the seed must be an i32 scalar, got ${showShape(seed.shape)} ${seed.dtype}`);
    if (!(rate > 0 && rate < 1)) throw new Error(`keepMask: the rate must lie between 0 and 1, got ${rate}`);
    return [{ shape, dtype: "bool" }];
  },
  emit: (e, [seed], { shape, site, rate }, node) => {
    const [rows, columns] = rowsAndColumns(shape);
    const salted = (salt: number) =>
      e.node("Add", [
        e.node("Mul", [seed, e.constant("i32", [], [FACTORS[0]])]),
        e.constant("i32", [], [Math.imul(site + 1, salt)]),
      ]);
    const row = e.node("Reshape", [
      emitHash(e, e.sizes([rows]), salted(SALT_ROW)),
      e.constant("i64", [2], [-1, 1]),
    ]);
    const column = emitHash(e, e.sizes([columns]), salted(SALT_COLUMN));
    const odd = e.node("BitwiseOr", [column, e.constant("i32", [], [1])]);
    const bits = e.node("Mul", [row, odd]);
    const keep = e.node("GreaterOrEqual", [bits, e.constant("i32", [], [threshold(rate)])]);
    return [shape.length === 2 ? keep : e.node("Reshape", [keep, e.sizes(node.outputs[0].shape)])];
  },
  vjp: { nonDifferentiable: "a draw has no slope" },
  traits: { cheap: true },
  reference: ([seed], { shape, site, rate }, bind) => {
    const [rows, columns] = rowsAndColumns(shape).map(bind);
    const base = Math.imul(seed.data[0], FACTORS[0]);
    const row = (i: number) => hash(i, (base + Math.imul(site + 1, SALT_ROW)) | 0);
    const column = (j: number) => hash(j, (base + Math.imul(site + 1, SALT_COLUMN)) | 0) | 1;
    const data = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        data[i * columns + j] = Math.imul(row(i), column(j)) >= threshold(rate) ? 1 : 0;
    return [{ shape: shape.map(bind), data }];
  },
  samples: [
    {
      inputs: [{ shape: [], dtype: "i32", values: [12345] }],
      attrs: { shape: [40, 30], site: 3, rate: 0.1 },
    },
    { inputs: [{ shape: [], dtype: "i32", values: [-7] }], attrs: { shape: [2, 5, 16], site: 0, rate: 0.5 } },
  ],
});

/** A mask that keeps each element with probability 1 - rate. */
export const keepMask = (seed: Tensor, shape: Shape, site: number, rate: number): Tensor =>
  keepMaskOp([seed], { shape, site, rate })[0];

/** Zeroes elements with probability `rate` and scales the rest by 1 / (1 - rate) (Srivastava et al. 2014). */
export function dropout(x: Tensor, seed: Tensor, site: number, rate: number): Tensor {
  if (rate === 0) return x;
  const mask = keepMask(seed, x.shape.length === 1 ? [1, ...x.shape] : x.shape, site, rate);
  // Not `where`: the runtime's takes twice the time of these two nodes.
  return mul(x, mul(cast(mask, "f32"), 1 / (1 - rate)));
}

/** 32 bits less those that float32 has no room for. */
const STEP = 1024;
const MIDDLE = 2 ** 21 + 0.5;

const uniformOp = defineOp<{ shape: Shape; site: number }>({
  name: "uniform",
  doc: "Evenly distributed in (0, 1), a multiple of 2^-22 plus 2^-23, independent of everything but (seed, site, place).",
  infer: ([seed], { shape }) => {
    if (seed.dtype !== "i32" || seed.shape.length !== 0)
      throw new Error(`uniform: the seed must be an i32 scalar, got ${showShape(seed.shape)} ${seed.dtype}`);
    return [{ shape, dtype: "f32" }];
  },
  // Each element is hashed: these draws are few, and added up where a mask's are not.
  emit: (e, [seed], { shape, site }, node) => {
    const salted = e.node("Add", [
      e.node("Mul", [seed, e.constant("i32", [], [FACTORS[0]])]),
      e.constant("i32", [], [Math.imul(site + 1, SALT_ROW)]),
    ]);
    const bits = e.node("Div", [
      emitHash(e, e.sizes([product(shape)]), salted),
      e.constant("i32", [], [STEP]),
    ]);
    const shifted = e.node("Add", [e.node("Cast", [bits], { to: 1 }), e.constant("f32", [], [MIDDLE])]);
    const scaled = e.node("Mul", [shifted, e.constant("f32", [], [STEP / 2 ** 32])]);
    return [e.node("Reshape", [scaled, e.sizes(node.outputs[0].shape)])];
  },
  vjp: { nonDifferentiable: "a draw has no slope" },
  traits: { cheap: true },
  reference: ([seed], { shape, site }, bind) => {
    const sizes = shape.map(bind);
    const base = (Math.imul(seed.data[0], FACTORS[0]) + Math.imul(site + 1, SALT_ROW)) | 0;
    const count = sizes.reduce((a, b) => a * b, 1);
    const data = Float64Array.from(
      { length: count },
      (_, i) => (Math.trunc(hash(i, base) / STEP) + MIDDLE) * (STEP / 2 ** 32),
    );
    return [{ shape: sizes, data }];
  },
  samples: [{ inputs: [{ shape: [], dtype: "i32", values: [77] }], attrs: { shape: [3, 40, 8], site: 5 } }],
});
/** Draws from (0, 1), never 0 or 1. */
export const uniform = (seed: Tensor, shape: Shape, site: number): Tensor =>
  uniformOp([seed], { shape, site })[0];

/** Draws from the standard Gumbel distribution: the arg max of logits plus these is a draw from their softmax. */
export const gumbel = (seed: Tensor, shape: Shape, site: number): Tensor =>
  neg(log(neg(log(uniform(seed, shape, site)))));
