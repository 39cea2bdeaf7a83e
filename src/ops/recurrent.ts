import { defineOp } from "../tensor/define.ts";
import { product, sameShape } from "../tensor/dims.ts";
import { describe, type Emit, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { matMul } from "./matmul.ts";
import { pad, reshape, slice } from "./movement.ts";

/*
 * The recurrence of an LSTM (Hochreiter and Schmidhuber 1997, with forget gates) over input projections that were
 * computed for all frames at once. ONNX has an LSTM operation but no gradient for it; Scan carries both directions
 * of the walk here. Gates stand in PyTorch's order: input, forget, cell, output.
 */

interface ScanAttrs {
  /** From the last frame to the first. */
  reverse: boolean;
}

const names = ["projected", "recurrent", "valid"];

function typesOf(inputs: readonly TensorType[]): TensorType[] {
  const [projected, recurrent, valid] = inputs;
  const [frames, batch, gates] = projected.shape;
  const hidden = recurrent.shape[1];
  if (
    projected.shape.length !== 3 ||
    typeof hidden !== "number" ||
    !sameShape(recurrent.shape, [4 * hidden, hidden]) ||
    gates !== 4 * hidden ||
    !sameShape(valid.shape, [frames, batch, 1])
  )
    throw new Error(
      `${describe("lstm", inputs, names)}: wants [frames, batch, 4 h], [4 h, h] and [frames, batch, 1]`,
    );
  const state: TensorType = { shape: [frames, batch, hidden], dtype: "f32" };
  return [state, state, { shape: projected.shape, dtype: "f32" }];
}

const float = (shape: TensorType["shape"]): TensorType => ({ shape, dtype: "f32" });

const lstmOp = defineOp<ScanAttrs>({
  name: "lstm",
  doc: "c = f c' + i g, h = o tanh(c) with [i f g o] = act(projected + recurrent h'); frames that are not valid keep the state. Outputs h, c and the gates.",
  infer: (inputs) => typesOf(inputs),
  emit: (e, [projected, recurrent, valid], { reverse }, node) => {
    const [, batch, gates] = node.inputs[0].shape;
    const hidden = (gates as number) / 4;
    const state = float([batch, hidden]);
    const zero = e.node("Expand", [e.constant("f32", [1, 1], [0]), e.sizes([batch, hidden])]);
    const body = e.subgraph(
      "lstm",
      [state, state, float([batch, gates]), float([batch, 1])],
      (b, [h, c, x, keep]) => {
        const sums = b.node("Gemm", [h, recurrent, x], { transB: 1 });
        const [i, f, g, o] = b.nodes("Split", [sums], { axis: 1, num_outputs: 4 }, { outputs: 4 });
        const [si, sf, tg, so] = [
          b.node("Sigmoid", [i]),
          b.node("Sigmoid", [f]),
          b.node("Tanh", [g]),
          b.node("Sigmoid", [o]),
        ];
        const cNew = b.node("Add", [b.node("Mul", [sf, c]), b.node("Mul", [si, tg])]);
        const hNew = b.node("Mul", [so, b.node("Tanh", [cNew])]);
        const hold = (now: string, before: string) =>
          b.node("Add", [before, b.node("Mul", [b.node("Sub", [now, before]), keep])]);
        const [hKept, cKept] = [hold(hNew, h), hold(cNew, c)];
        return [hKept, cKept, hKept, cKept, b.node("Concat", [si, sf, tg, so], { axis: 1 })];
      },
      [state, state, state, state, float([batch, gates])],
    );
    const way = reverse ? 1 : 0;
    return e
      .nodes(
        "Scan",
        [zero, zero, projected, valid],
        {
          body,
          num_scan_inputs: 2,
          scan_input_directions: [way, way],
          scan_output_directions: [way, way, way],
        },
        { outputs: 5 },
      )
      .slice(2);
  },
  vjp: [
    (c) => preactivationGradient(c.dys, c.inputs, c.outputs, c.attrs),
    (c) => {
      const d = preactivationGradient(c.dys, c.inputs, c.outputs, c.attrs);
      const before = shifted(c.outputs[0], c.attrs.reverse);
      const flat = (x: Tensor) => reshape(x, [product(x.shape.slice(0, 2)), x.shape[2]]);
      return matMul(flat(d), flat(before), { transA: true });
    },
    { nonDifferentiable: "it marks frames" },
  ],
  traits: { product: true },
  reference: ([projected, recurrent, valid], { reverse }) => {
    const [frames, batch, gates] = projected.shape;
    const hidden = gates / 4;
    const h = new Float64Array(frames * batch * hidden);
    const c = new Float64Array(frames * batch * hidden);
    const acts = new Float64Array(frames * batch * gates);
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    for (let step = 0; step < frames; step++) {
      const t = reverse ? frames - 1 - step : step;
      const last = reverse ? t + 1 : t - 1;
      for (let b = 0; b < batch; b++) {
        const at = (t * batch + b) * hidden;
        const was = (last * batch + b) * hidden;
        const previous = (x: Float64Array, j: number) => (step === 0 ? 0 : x[was + j]);
        const keep = valid.data[t * batch + b];
        const sum = (row: number) => {
          let total = projected.data[(t * batch + b) * gates + row];
          for (let k = 0; k < hidden; k++) total += recurrent.data[row * hidden + k] * previous(h, k);
          return total;
        };
        for (let j = 0; j < hidden; j++) {
          const [i, f, g, o] = [
            sigmoid(sum(j)),
            sigmoid(sum(hidden + j)),
            Math.tanh(sum(2 * hidden + j)),
            sigmoid(sum(3 * hidden + j)),
          ];
          for (const [k, gate] of [i, f, g, o].entries())
            acts[(t * batch + b) * gates + k * hidden + j] = gate;
          const cNew = f * previous(c, j) + i * g;
          c[at + j] = keep * cNew + (1 - keep) * previous(c, j);
          h[at + j] = keep * o * Math.tanh(cNew) + (1 - keep) * previous(h, j);
        }
      }
    }
    const shape = [frames, batch, hidden];
    return [
      { shape, data: h },
      { shape, data: c },
      { shape: projected.shape, data: acts },
    ];
  },
  samples: [false, true].map((reverse) => ({
    inputs: [
      { shape: [4, 2, 12] },
      { shape: [12, 3] },
      { shape: [4, 2, 1], values: [1, 1, 1, 1, 1, 0, 1, 0] },
    ],
    attrs: { reverse },
  })),
});

/** The state before each frame: shifted by one, zero at the start of the walk. */
function shifted(x: Tensor, reverse: boolean): Tensor {
  const frames = x.shape[0];
  return reverse ? pad(slice(x, 0, 1, frames), 0, 0, 1) : slice(pad(x, 0, 1, 0), 0, 0, frames);
}

function preactivationGradient(
  dys: readonly (Tensor | undefined)[],
  [, recurrent, valid]: readonly Tensor[],
  [, c, gates]: readonly Tensor[],
  { reverse }: ScanAttrs,
): Tensor {
  if (dys[1] !== undefined || dys[2] !== undefined || dys[0] === undefined)
    throw new Error("lstm: only its hidden states can carry a gradient");
  return lstmGradOp([dys[0], gates, c, shifted(c, reverse), recurrent, valid], { reverse })[0];
}

const lstmGradOp = defineOp<ScanAttrs>({
  name: "lstmGrad",
  doc: "The gradient of lstm for its projected inputs, walking against its direction.",
  infer: ([, gates]) => [gates],
  emit: (e, [dh, gates, c, cBefore, recurrent, valid], { reverse }, node) => {
    const [, batch, width] = node.inputs[1].shape;
    const hidden = (width as number) / 4;
    const state = float([batch, hidden]);
    const zero = e.node("Expand", [e.constant("f32", [1, 1], [0]), e.sizes([batch, hidden])]);
    const one = e.constant("f32", [], [1]);
    const body = e.subgraph(
      "lstmGrad",
      [state, state, state, float([batch, width]), state, state, float([batch, 1])],
      (b, [dhNext, dcNext, dhOut, acts, cNow, cLast, keep]) =>
        gradientStep(b, { dhNext, dcNext, dhOut, acts, cNow, cLast, keep, recurrent, one }),
      [state, state, float([batch, width])],
    );
    const way = reverse ? 0 : 1;
    const directions = { scan_input_directions: [way, way, way, way, way], scan_output_directions: [way] };
    return e
      .nodes(
        "Scan",
        [zero, zero, dh, gates, c, cBefore, valid],
        { body, num_scan_inputs: 5, ...directions },
        { outputs: 3 },
      )
      .slice(2);
  },
  vjp: { nonDifferentiable: "second derivatives of the LSTM are not needed" },
  traits: { product: true },
  reference: ([dh, gates, c, cBefore, recurrent, valid], { reverse }) => {
    const [frames, batch, width] = gates.shape;
    const hidden = width / 4;
    const out = new Float64Array(gates.data.length);
    let dhNext = new Float64Array(batch * hidden);
    let dcNext = new Float64Array(batch * hidden);
    for (let step = 0; step < frames; step++) {
      const t = reverse ? step : frames - 1 - step;
      const dhHeld = new Float64Array(batch * hidden);
      const dcHeld = new Float64Array(batch * hidden);
      for (let b = 0; b < batch; b++) {
        const keep = valid.data[t * batch + b];
        const d = (row: number) => out[(t * batch + b) * width + row];
        for (let j = 0; j < hidden; j++) {
          const place = (t * batch + b) * hidden + j;
          const gate = (k: number) => gates.data[(t * batch + b) * width + k * hidden + j];
          const [i, f, g, o] = [gate(0), gate(1), gate(2), gate(3)];
          const squashed = Math.tanh(c.data[place]);
          const dhNow = dh.data[place] + dhNext[b * hidden + j];
          const dhNew = keep * dhNow;
          const dcNew = keep * dcNext[b * hidden + j] + dhNew * o * (1 - squashed * squashed);
          const base = (t * batch + b) * width + j;
          out[base] = dcNew * g * i * (1 - i);
          out[base + hidden] = dcNew * cBefore.data[place] * f * (1 - f);
          out[base + 2 * hidden] = dcNew * i * (1 - g * g);
          out[base + 3 * hidden] = dhNew * squashed * o * (1 - o);
          dhHeld[b * hidden + j] = (1 - keep) * dhNow;
          dcHeld[b * hidden + j] = dcNew * f + (1 - keep) * dcNext[b * hidden + j];
        }
        for (let k = 0; k < hidden; k++)
          for (let row = 0; row < width; row++)
            dhHeld[b * hidden + k] += d(row) * recurrent.data[row * hidden + k];
      }
      [dhNext, dcNext] = [dhHeld, dcHeld];
    }
    return [{ shape: gates.shape, data: out }];
  },
  samples: [false, true].map((reverse) => ({
    inputs: [
      { shape: [3, 2, 2] },
      { shape: [3, 2, 8], range: [0.1, 0.9] as const },
      { shape: [3, 2, 2] },
      { shape: [3, 2, 2] },
      { shape: [8, 2] },
      { shape: [3, 2, 1], values: [1, 1, 1, 0, 1, 0] },
    ],
    attrs: { reverse },
  })),
});

function gradientStep(
  b: Emit,
  v: Record<"dhNext" | "dcNext" | "dhOut" | "acts" | "cNow" | "cLast" | "keep" | "recurrent" | "one", string>,
): string[] {
  const mul = (...xs: string[]) => xs.reduce((x, y) => b.node("Mul", [x, y]));
  const lessOne = (x: string) => b.node("Sub", [v.one, x]);
  const [i, f, g, o] = b.nodes("Split", [v.acts], { axis: 1, num_outputs: 4 }, { outputs: 4 });
  // Where a frame is not valid, c stayed: its tanh is not the one that was computed, but it is multiplied by 0.
  const squashed = b.node("Tanh", [v.cNow]);
  const dh = b.node("Add", [v.dhOut, v.dhNext]);
  const dhNew = mul(dh, v.keep);
  const dcNew = b.node("Add", [mul(v.dcNext, v.keep), mul(dhNew, o, lessOne(mul(squashed, squashed)))]);
  const d = b.node(
    "Concat",
    [
      mul(dcNew, g, i, lessOne(i)),
      mul(dcNew, v.cLast, f, lessOne(f)),
      mul(dcNew, i, lessOne(mul(g, g))),
      mul(dhNew, squashed, o, lessOne(o)),
    ],
    { axis: 1 },
  );
  const skipped = lessOne(v.keep);
  const dhBefore = b.node("Gemm", [d, v.recurrent, mul(dh, skipped)]);
  const dcBefore = b.node("Add", [mul(dcNew, f), mul(v.dcNext, skipped)]);
  return [dhBefore, dcBefore, d];
}

/**
 * One direction of an LSTM layer.
 * @param projected [frames, batch, 4 hidden]: input times weight_ih, plus both biases
 * @param recurrent weight_hh [4 hidden, hidden]
 * @param valid [frames, batch, 1], 1 where a frame is speech and 0 where it is padding
 * @returns hidden states [frames, batch, hidden]
 */
export const lstm = (projected: Tensor, recurrent: Tensor, valid: Tensor, reverse: boolean): Tensor =>
  lstmOp([projected, recurrent, valid], { reverse })[0];
