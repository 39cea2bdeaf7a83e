import { bindDim, type Dim } from "./dims.ts";
import { type NdArray, type Tensor, topological } from "./tensor.ts";

/**
 * Runs a graph in float64 through the operations' `reference` loops. Slow and plain: gradient checks and constant
 * folding use it, and the emitted graph is held against it.
 * @param feeds arrays by input name; symbolic axes take their values from the inputs' shapes.
 */
export function evaluate(outputs: readonly Tensor[], feeds: ReadonlyMap<string, NdArray>): NdArray[] {
  const order = topological(outputs);
  const dims = new Map<string, number>();
  for (const node of order) {
    if (!node.op.traits.source) continue;
    const array = feeds.get(inputName(node.attrs));
    if (array === undefined) throw new Error(`evaluate: no value for input '${inputName(node.attrs)}'`);
    for (const [axis, dim] of node.outputs[0].shape.entries())
      if (typeof dim !== "number" && !dim.key.includes("+") && !dim.key.includes("*"))
        dims.set(dim.key, array.shape[axis]);
  }
  const bind = (dim: Dim) => bindDim(dim, dims);
  const values = new Map<Tensor, NdArray>();
  for (const node of order) {
    const inputs = node.inputs.map((input) => values.get(input)!);
    const results = node.op.traits.source
      ? [feeds.get(inputName(node.attrs))!]
      : node.op.reference(inputs, node.attrs, bind);
    for (const [i, output] of node.outputs.entries()) values.set(output, results[i]);
  }
  return outputs.map((output) => values.get(output)!);
}

const inputName = (attrs: object) => (attrs as { name: string }).name;

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function ndarray(shape: readonly number[], data: ArrayLike<number>): NdArray {
  if (data.length !== sizeOf(shape))
    throw new Error(`an array of shape [${shape}] needs ${sizeOf(shape)} values, got ${data.length}`);
  return { shape, data: Float64Array.from(data) };
}

/** Elements between neighbours along each axis; 0 along axes of size 1 where broadcasting to `rank` axes. */
export function strides(shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    out[axis] = step;
    step *= shape[axis];
  }
  return out;
}

/** Calls `visit` with every index of `shape`, last axis fastest. The index array is reused. */
export function forEachIndex(
  shape: readonly number[],
  visit: (index: readonly number[], flat: number) => void,
): void {
  const total = sizeOf(shape);
  const index = new Array<number>(shape.length).fill(0);
  for (let flat = 0; flat < total; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

/** Fills an array element by element. */
export function generate(
  shape: readonly number[],
  value: (index: readonly number[], flat: number) => number,
): NdArray {
  const data = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    data[flat] = value(index, flat);
  });
  return { shape, data };
}

/** The flat place of a broadcast operand's element for an index of the full shape. */
export function broadcastOffset(shape: readonly number[], index: readonly number[]): number {
  let offset = 0;
  for (let axis = 0; axis < shape.length; axis++) {
    const at = index[index.length - shape.length + axis];
    offset = offset * shape[axis] + (shape[axis] === 1 ? 0 : at);
  }
  return offset;
}

/** Applies a function over broadcast operands. */
export function mapBroadcast(arrays: readonly NdArray[], fn: (...values: number[]) => number): NdArray {
  const rank = Math.max(...arrays.map((a) => a.shape.length));
  const shape = Array.from({ length: rank }, (_, axis) => {
    const sizes = arrays.map((a) => a.shape[axis - rank + a.shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
  return generate(shape, (index) => fn(...arrays.map((a) => a.data[broadcastOffset(a.shape, index)])));
}
