import { mse } from "../src/nn/losses.ts";
import * as ops from "../src/ops/index.ts";
import { compile } from "../src/runtime/cpu.ts";
import { f32 } from "../src/runtime/program.ts";

const [x, y, w] = [ops.input("x", [3, 2]), ops.input("y", [3, 1]), ops.input("w", [1, 2])];
const loss = mse(ops.affine(x, w), y);
const next = ops.sub(w, ops.mul(ops.gradients(loss, [w]).wrt[0]!, 0.3));
const named = (tensors: object) => Object.entries(tensors).map(([name, tensor]) => ({ name, tensor }));
const step = await compile({ inputs: named({ x, y, w }), outputs: named({ loss, next }), late: [] });
const data = { x: f32([3, 2], Float32Array.of(1, 0, 0, 1, 1, 1)), y: f32([3, 1], Float32Array.of(3, -2, 1)) };
let weights = f32([1, 2], Float32Array.of(0, 0));
for (let i = 0; i < 100; i++) weights = (await step.run({ ...data, w: weights })).next;
console.log(...weights.data); // 3 -2, near enough: what maps each row of x to its y
