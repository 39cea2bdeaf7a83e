import { defineOp } from "../tensor/define.ts";
import { type Dim, product, type Shape, sameShape, showShape } from "../tensor/dims.ts";
import {
  type Emit,
  outsideRegions,
  type SampleInput,
  type Tensor,
  type TensorType,
} from "../tensor/tensor.ts";
import { cast, log, mul, neg } from "./elementwise.ts";
import { slice } from "./movement.ts";

/*
 * Random bits as a function of (seed, site, place): the runtime's own Dropout keeps a state that no checkpoint can
 * restore. A row hash times a column hash, wrapped to 32 bits, costs one integer product per element, a quarter of
 * drawing each element (design, section 2). The row and column hashes themselves are thorough: they are few.
 */
const SALTS = { rows: 0x2c1b3c6d, columns: 0x297a2d39 } as const;
const FACTORS = [-0x7a143589, -0x3d4d51cb, -0x61c88647] as const;
const SHIFTS = [65536, 8192, 65536] as const;

/** The hash as TypeScript; the emitted one is the same in int32 arithmetic, whose division truncates. */
function hash(index: number, seed: number): number {
  let h = (Math.imul(index, FACTORS[2]) + seed) | 0;
  h = Math.imul(h ^ Math.trunc(h / SHIFTS[0]), FACTORS[0]);
  h = Math.imul(h ^ Math.trunc(h / SHIFTS[1]), FACTORS[1]);
  return h ^ Math.trunc(h / SHIFTS[2]);
}

/** Hashes of the places 0 to `count`, for each of the starts: [count] for a scalar, [starts, count] for a column of them. */
function emitHash(e: Emit, count: string, starts: string): string {
  const int = (value: number) => e.constant("i32", [], [value | 0]);
  const scalarCount = e.node("Cast", [e.node("Reshape", [count, e.constant("i64", [0], [])])], { to: 6 });
  const index = e.node("Range", [int(0), scalarCount, int(1)]);
  let h = e.node("Add", [e.node("Mul", [index, int(FACTORS[2])]), starts]);
  for (const [i, shift] of SHIFTS.entries()) {
    h = e.node("BitwiseXor", [h, e.node("Div", [h, int(shift)])]);
    if (i < 2) h = e.node("Mul", [h, int(FACTORS[i])]);
  }
  return h;
}

/** Where hashing starts for (seed, site). */
const startOf = (seed: number, site: number, salt: number) =>
  (Math.imul(seed, FACTORS[0]) + Math.imul(site + 1, salt)) | 0;

function emitStarts(e: Emit, seed: string, sites: readonly number[], salt: number): string {
  const shape = sites.length === 1 ? [] : [sites.length, 1];
  return e.node("Add", [
    e.node("Mul", [seed, e.constant("i32", [], [FACTORS[0]])]),
    e.constant(
      "i32",
      shape,
      sites.map((site) => Math.imul(site + 1, salt)),
    ),
  ]);
}

function checkSeed(op: string, { shape, dtype }: TensorType): void {
  if (dtype !== "i32" || shape.length !== 0)
    throw new Error(`${op}: the seed must be an i32 scalar, got ${showShape(shape)} ${dtype}`);
}

interface HashAttrs {
  count: Dim;
  /** A mask's rows and columns are hashed differently; hashes of columns are odd, or products would favour even numbers. */
  of: keyof typeof SALTS;
  /** Which of a model's random places: equal sites with equal seeds hash alike. One output for each. */
  sites: readonly number[];
}

const hashesOp = defineOp<HashAttrs>({
  name: "hashes",
  doc: "For each site the hashes of the places 0 to count, of (seed, site, place) alone: rows as a column [count, 1], columns as [count].",
  infer: ([seed], { count, of, sites }) => {
    checkSeed("hashes", seed);
    return sites.map(() => ({ shape: of === "rows" ? [count, 1] : [count], dtype: "i32" }));
  },
  emit: (e, [seed], { count, of, sites }) => {
    const hashed = emitHash(e, e.sizes([count]), emitStarts(e, seed, sites, SALTS[of]));
    const upright = sites.length === 1 ? [-1, 1] : [sites.length, -1, 1];
    const all =
      of === "rows"
        ? e.node("Reshape", [hashed, e.constant("i64", [upright.length], upright)])
        : e.node("BitwiseOr", [hashed, e.constant("i32", [], [1])]);
    if (sites.length === 1) return [all];
    return sites.map((_, i) => e.node("Gather", [all, e.constant("i64", [], [i])], { axis: 0 }));
  },
  vjp: { nonDifferentiable: "a draw has no slope" },
  traits: { cheap: true },
  // The runtime plans a session in time that grows with the square of the nodes, and hashing takes a dozen.
  perOutput: "sites",
  reference: ([seed], { count, of, sites }, bind) =>
    sites.map((site) => {
      const start = startOf(seed.data[0], site, SALTS[of]);
      const odd = of === "rows" ? 0 : 1;
      const data = Float64Array.from({ length: bind(count) }, (_, i) => hash(i, start) | odd);
      return { shape: of === "rows" ? [bind(count), 1] : [bind(count)], data };
    }),
  samples: [
    {
      inputs: [{ shape: [], dtype: "i32", values: [12345] }],
      attrs: { count: 40, of: "rows", sites: [3] },
    },
    {
      inputs: [{ shape: [], dtype: "i32", values: [-7] }],
      attrs: { count: 9, of: "columns", sites: [0, 5, 1] },
    },
  ],
});

const hashes = (seed: Tensor, count: Dim, of: HashAttrs["of"], site: number): Tensor =>
  hashesOp([seed], { count, of, sites: [site] })[0];

const hashed = (...shape: number[]): SampleInput => ({ shape, dtype: "i32", range: [-2e9, 2e9] });

interface KeepAttrs {
  shape: Shape;
  /** Probability that an element is dropped. */
  rate: number;
}

const threshold = (rate: number) => Math.round(rate * 2 ** 32 - 2 ** 31);

/** [rows, columns]: the last axis against all others. */
const rowsAndColumns = (shape: Shape): [Dim, Dim] => [product(shape.slice(0, -1)), shape[shape.length - 1]];

const keepMaskOp = defineOp<KeepAttrs>({
  name: "keepMask",
  doc: "true with probability 1 - rate, where the hashes of rows (all axes but the last) and of columns are random.",
  infer: ([row, column], { shape, rate }) => {
    const [rows, columns] = rowsAndColumns(shape);
    const fits = (each: TensorType, shape: Shape) => each.dtype === "i32" && sameShape(each.shape, shape);
    if (!fits(row, [rows, 1]) || !fits(column, [columns]))
      throw new Error(
        `keepMask: hashes of ${showShape(row.shape)} and ${showShape(column.shape)} do not fit ${showShape(shape)}`,
      );
    if (!(rate > 0 && rate < 1)) throw new Error(`keepMask: the rate must lie between 0 and 1, got ${rate}`);
    return [{ shape, dtype: "bool" }];
  },
  emit: (e, [row, column], { shape, rate }, node) => {
    const bits = e.node("Mul", [row, column]);
    const keep = e.node("GreaterOrEqual", [bits, e.constant("i32", [], [threshold(rate)])]);
    return [shape.length === 2 ? keep : e.node("Reshape", [keep, e.sizes(node.outputs[0].shape)])];
  },
  vjp: { nonDifferentiable: "a draw has no slope" },
  traits: { cheap: true },
  reference: ([{ data: row }, { data: column }], { shape, rate }, bind) => {
    const data = new Float64Array(row.length * column.length);
    for (let i = 0; i < row.length; i++)
      for (let j = 0; j < column.length; j++)
        data[i * column.length + j] = Math.imul(row[i], column[j]) >= threshold(rate) ? 1 : 0;
    return [{ shape: shape.map(bind), data }];
  },
  samples: [
    { inputs: [hashed(40, 1), hashed(30)], attrs: { shape: [40, 30], rate: 0.1 } },
    { inputs: [hashed(10, 1), hashed(16)], attrs: { shape: [2, 5, 16], rate: 0.5 } },
  ],
});

/**
 * A mask that keeps each element with probability 1 - rate, independent of everything but (seed, site, place). Where the
 * first axis is the front of one of size `whole`, so is the mask: masks of all fronts share the hashes of the whole.
 */
export function keepMask(seed: Tensor, shape: Shape, site: number, rate: number, whole = shape[0]): Tensor {
  const [rows, columns] = rowsAndColumns(shape);
  const [all] = rowsAndColumns([whole, ...shape.slice(1)]);
  // Recomputation keeps the hashes, which are small: all masks of a size are hashed together.
  const inputs = outsideRegions(() => [
    slice(hashes(seed, all, "rows", site), 0, 0, rows),
    hashes(seed, columns, "columns", site),
  ]);
  return keepMaskOp(inputs, { shape, rate })[0];
}

/** Zeroes elements with probability `rate` and scales the rest by 1 / (1 - rate) (Srivastava et al. 2014); `whole` as in `keepMask`. */
export function dropout(x: Tensor, seed: Tensor, site: number, rate: number, whole?: Dim): Tensor {
  if (rate === 0) return x;
  const mask = keepMask(seed, x.shape.length === 1 ? [1, ...x.shape] : x.shape, site, rate, whole);
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
    checkSeed("uniform", seed);
    return [{ shape, dtype: "f32" }];
  },
  // Each element is hashed: these draws are few, and added up where a mask's are not.
  emit: (e, [seed], { shape, site }, node) => {
    const bits = e.node("Div", [
      emitHash(e, e.sizes([product(shape)]), emitStarts(e, seed, [site], SALTS.rows)),
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
    const base = startOf(seed.data[0], site, SALTS.rows);
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
