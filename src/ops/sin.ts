import { defineOp } from "../tensor/define.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add, mul } from "./elementwise.ts";

const sinOp = defineOp({
  name: "sin",
  doc: "y = sin x, in radians.",
  infer: ([{ shape, dtype }]) => [{ shape, dtype }],
  emit: (e, [x]) => [e.node("Sin", [x])],
  vjp: [({ dy, inputs: [x] }) => mul(dy, sin(add(x, Math.PI / 2)))],
  traits: { elementwise: true, cheap: true },
  reference: ([{ shape, data }]) => [{ shape, data: data.map(Math.sin) }],
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: {} }],
});
export const sin = (x: Tensor): Tensor => sinOp([x], {})[0];
