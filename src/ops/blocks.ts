import { product, type Shape, symbol } from "../tensor/dims.ts";
import type { Emit } from "../tensor/tensor.ts";

/** Elements of a block: half a megabyte, so that the few arrays between two nodes stay in a core's cache. */
const BLOCK = 131_072;

/**
 * A chain of elementwise nodes over arrays of one shape, block by block (a Scan over the array cut into equal parts): node by
 * node, a large array passes through memory once for every node of the chain. How many parts is computed when the graph runs:
 * the power of two that makes blocks of one or two times BLOCK, as far as the known sizes of the axes allow it.
 */
export function inBlocks(
  e: Emit,
  inputs: readonly string[],
  shape: Shape,
  chain: (e: Emit, inputs: readonly string[]) => string,
): string {
  const most = twosIn(shape);
  if (most === 1) return chain(e, inputs);
  const integers = (values: readonly number[]) => e.constant("i64", [values.length], values);
  const doublings = Array.from({ length: Math.log2(most) }, (_, i) => 2 ** i);
  const reached = e.node("GreaterOrEqual", [
    e.sizes([product(shape)]),
    integers(doublings.map((parts) => 2 * parts * BLOCK)),
  ]);
  const added = e.node("Mul", [e.node("Cast", [reached], { to: 7 }), integers(doublings)]);
  const parts = e.node("Add", [e.node("ReduceSum", [added], { keepdims: 1 }), integers([1])]);
  const cut = e.node("Concat", [parts, integers([-1])], { axis: 0 });
  const pieces = inputs.map((input) => e.node("Reshape", [input, cut]));
  const block = { shape: [symbol("block")], dtype: "f32" as const };
  const body = e.subgraph(
    "blocks",
    inputs.map(() => block),
    (b, names) => [chain(b, names)],
    [block],
  );
  const joined = e.node("Scan", pieces, { body, num_scan_inputs: inputs.length });
  return e.node("Reshape", [joined, e.sizes(shape)], { allowzero: 1 });
}

/** The largest power of two that divides the number of elements whatever the unknown sizes are. */
function twosIn(shape: Shape): number {
  let size = 1;
  for (const dim of shape) if (typeof dim === "number") size *= dim;
  let twos = 1;
  while (size > 0 && size % (2 * twos) === 0) twos *= 2;
  return twos;
}
