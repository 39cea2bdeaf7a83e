import { defineOp } from "../tensor/define.ts";
import { describe, type Tensor } from "../tensor/tensor.ts";
import { cast, div, less, mul, sub } from "./elementwise.ts";
import { reduceSum } from "./reduce.ts";
import { scalar } from "./source.ts";

/**
 * The point of the probability simplex nearest to `x` (Martins and Astudillo 2016, algorithm 1): max(x - tau, 0) with tau
 * such that the sum is 1.
 */
export function sparsemaxOf(x: ArrayLike<number>): Float64Array {
  const sorted = Float64Array.from(x).sort().reverse();
  let [sum, tau] = [0, 0];
  for (const [i, value] of sorted.entries()) {
    sum += value;
    if (1 + (i + 1) * value > sum) tau = (sum - 1) / (i + 1);
  }
  return Float64Array.from(x, (value) => Math.max(0, value - tau));
}

const sparsemaxOp = defineOp<Record<string, never>>({
  name: "sparsemax",
  doc: "y = argmin over p >= 0 with sum 1 of |p - x|^2 along the last axis: softmax with true zeros (Martins and Astudillo 2016).",
  infer: (inputs) => {
    const [x] = inputs;
    if (typeof x.shape[x.shape.length - 1] !== "number")
      throw new Error(`${describe("sparsemax", inputs, ["x"])}: the last axis must have a known size`);
    return [{ shape: x.shape, dtype: "f32" }];
  },
  emit: (e, [x], _, node) => {
    const { shape } = node.inputs[0];
    const size = shape[shape.length - 1] as number;
    const last = e.constant("i64", [1], [-1]);
    const one = e.constant("f32", [], [1]);
    const [sorted] = e.nodes("TopK", [x, e.constant("i64", [1], [size])], { axis: -1 }, { outputs: 2 });
    const sums = e.node("CumSum", [sorted, e.constant("i64", [], [-1])]);
    const places = e.constant(
      "f32",
      [size],
      Array.from({ length: size }, (_, i) => i + 1),
    );
    // The support is a leading part of the sorted values; tau follows from their sum.
    const inside = e.node("Less", [sums, e.node("Add", [e.node("Mul", [sorted, places]), one])]);
    const mask = e.node("Cast", [inside], { to: 1 });
    const count = e.node("ReduceSum", [mask, last], { keepdims: 1 });
    const total = e.node("ReduceSum", [e.node("Mul", [sorted, mask]), last], { keepdims: 1 });
    const tau = e.node("Div", [e.node("Sub", [total, one]), count]);
    return [e.node("Relu", [e.node("Sub", [x, tau])])];
  },
  vjp: [
    ({ dy, outputs: [y] }) => {
      const support = cast(less(scalar(0), y), "f32");
      const mean = div(reduceSum(mul(dy, support), [-1], true), reduceSum(support, [-1], true));
      return mul(sub(dy, mean), support);
    },
  ],
  traits: {},
  reference: ([x]) => {
    const size = x.shape[x.shape.length - 1];
    const data = new Float64Array(x.data.length);
    for (let row = 0; row < data.length; row += size)
      data.set(sparsemaxOf(x.data.subarray(row, row + size)), row);
    return [{ shape: x.shape, data }];
  },
  samples: [
    { inputs: [{ shape: [3, 5] }], attrs: {} },
    { inputs: [{ shape: [2, 7], range: [-0.3, 0.3] }], attrs: {} },
  ],
});

/** Sparsemax over the last axis. */
export const sparsemax = (x: Tensor): Tensor => sparsemaxOp([x], {})[0];
