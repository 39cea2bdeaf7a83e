import { defineOp } from "../tensor/define.ts";
import { product, sameShape } from "../tensor/dims.ts";
import { describe, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { add, mul, sub, tanh } from "./elementwise.ts";
import { matMul } from "./matmul.ts";
import { concat, pad, reshape, slice } from "./movement.ts";

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
      [state, state, float([batch, gates]), { shape: [batch, 1], dtype: "bool" }],
      (b, [h, c, x, isValid]) => {
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
        const [hKept, cKept] = [b.node("Where", [isValid, hNew, h]), b.node("Where", [isValid, cNew, c])];
        return [hKept, cKept, hKept, cKept, b.node("Concat", [si, sf, tg, so], { axis: 1 })];
      },
      [state, state, state, state, float([batch, gates])],
    );
    const way = reverse ? 1 : 0;
    return e
      .nodes(
        "Scan",
        [zero, zero, projected, e.node("Greater", [valid, e.constant("f32", [], [0])])],
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
      { shape: [5, 2, 12] },
      { shape: [12, 3] },
      // A hole too: what a frame that is not valid passes on shows only where valid ones follow.
      { shape: [5, 2, 1], values: [1, 1, 1, 1, 1, 0, 1, 1, 1, 0] },
    ],
    attrs: { reverse },
  })),
});

/** The state before each frame: shifted by one, zero at the start of the walk. */
function shifted(x: Tensor, reverse: boolean): Tensor {
  const frames = x.shape[0];
  return reverse ? pad(slice(x, 0, 1, frames), 0, 0, 1) : slice(pad(x, 0, 1, 0), 0, 0, frames);
}

/**
 * Everything that is known before the walk is computed for all frames at once; a step of the walk is then eight nodes. The
 * time of a small layer goes into starting nodes.
 */
function preactivationGradient(
  dys: readonly (Tensor | undefined)[],
  [, recurrent, valid]: readonly Tensor[],
  [, c, gates]: readonly Tensor[],
  { reverse }: ScanAttrs,
): Tensor {
  if (dys[1] !== undefined || dys[2] !== undefined || dys[0] === undefined)
    throw new Error("lstm: only its hidden states can carry a gradient");
  const hidden = c.shape[2] as number;
  const [i, f, g, o] = [0, 1, 2, 3].map((k) => slice(gates, 2, k * hidden, (k + 1) * hidden));
  const squashed = tanh(c);
  const slope = (gate: Tensor) => mul(gate, sub(1, gate));
  const slopes = [
    mul(g, slope(i)),
    mul(shifted(c, reverse), slope(f)),
    mul(i, sub(1, mul(g, g))),
    mul(squashed, slope(o)),
  ];
  // Where a frame is not valid, c stayed: its tanh is not the one that was computed, but it is multiplied by 0.
  const throughCell = mul(mul(o, sub(1, mul(squashed, squashed))), valid);
  const skipped = sub(1, valid);
  const kept = add(mul(f, valid), skipped);
  return lstmGradOp([dys[0], throughCell, mul(concat(slopes, 2), valid), kept, skipped, recurrent], {
    reverse,
  })[0];
}

const lstmGradOp = defineOp<ScanAttrs>({
  name: "lstmGrad",
  doc: "The gradient of lstm for its projected inputs, walking against its direction: dc = dc' + dh a with dh = dy + dh', d = [dc dc dc dh] slopes; then dc' = dc kept and dh' = d recurrent + dh skipped.",
  infer: ([, , slopes]) => [slopes],
  emit: (e, [dy, throughCell, slopes, kept, skipped, recurrent], { reverse }, node) => {
    const [, batch, hidden] = node.inputs[0].shape;
    const state = float([batch, hidden]);
    const wide = float([batch, node.inputs[2].shape[2]]);
    const zero = e.node("Expand", [e.constant("f32", [1, 1], [0]), e.sizes([batch, hidden])]);
    const body = e.subgraph(
      "lstmGrad",
      [state, state, state, state, wide, state, float([batch, 1])],
      (b, [dhNext, dcNext, out, a, slope, keep, skip]) => {
        const dh = b.node("Add", [out, dhNext]);
        const dc = b.node("Add", [dcNext, b.node("Mul", [dh, a])]);
        const d = b.node("Mul", [b.node("Concat", [dc, dc, dc, dh], { axis: 1 }), slope]);
        const dhBefore = b.node("Gemm", [d, recurrent, b.node("Mul", [dh, skip])]);
        return [dhBefore, b.node("Mul", [dc, keep]), d];
      },
      [state, state, wide],
    );
    const way = reverse ? 0 : 1;
    const directions = { scan_input_directions: [way, way, way, way, way], scan_output_directions: [way] };
    return e
      .nodes(
        "Scan",
        [zero, zero, dy, throughCell, slopes, kept, skipped],
        { body, num_scan_inputs: 5, ...directions },
        { outputs: 3 },
      )
      .slice(2);
  },
  vjp: { nonDifferentiable: "second derivatives of the LSTM are not needed" },
  traits: { product: true },
  reference: ([dy, throughCell, slopes, kept, skipped, recurrent], { reverse }) => {
    const [frames, batch, hidden] = dy.shape;
    const width = 4 * hidden;
    const out = new Float64Array(slopes.data.length);
    const [dhNext, dcNext] = [new Float64Array(batch * hidden), new Float64Array(batch * hidden)];
    for (let step = 0; step < frames; step++) {
      const t = reverse ? step : frames - 1 - step;
      for (let b = 0; b < batch; b++) {
        const row = (t * batch + b) * width;
        for (let j = 0; j < hidden; j++) {
          const [state, place] = [b * hidden + j, (t * batch + b) * hidden + j];
          const dh = dy.data[place] + dhNext[state];
          const dc = dcNext[state] + dh * throughCell.data[place];
          for (const [k, d] of [dc, dc, dc, dh].entries())
            out[row + k * hidden + j] = d * slopes.data[row + k * hidden + j];
          dcNext[state] = dc * kept.data[place];
          dhNext[state] = dh * skipped.data[t * batch + b];
        }
        for (let j = 0; j < hidden; j++)
          for (let k = 0; k < width; k++)
            dhNext[b * hidden + j] += out[row + k] * recurrent.data[k * hidden + j];
      }
    }
    return [{ shape: slopes.shape, data: out }];
  },
  samples: [false, true].map((reverse) => ({
    inputs: [
      { shape: [3, 2, 2] },
      { shape: [3, 2, 2] },
      { shape: [3, 2, 8] },
      { shape: [3, 2, 2], range: [0.1, 0.9] as const },
      { shape: [3, 2, 1], values: [0, 0, 0, 1, 0, 1] },
      { shape: [8, 2] },
    ],
    attrs: { reverse },
  })),
});

/**
 * One direction of an LSTM layer.
 * @param projected [frames, batch, 4 hidden]: input times weight_ih, plus both biases
 * @param recurrent weight_hh [4 hidden, hidden]
 * @param valid [frames, batch, 1], 1 where a frame is speech and 0 where it is padding
 * @returns hidden states [frames, batch, hidden]
 */
export const lstm = (projected: Tensor, recurrent: Tensor, valid: Tensor, reverse: boolean): Tensor =>
  lstmOp([projected, recurrent, valid], { reverse })[0];
