import { defineOp } from "../tensor/define.ts";
import { sameShape } from "../tensor/dims.ts";
import { describe, type Tensor } from "../tensor/tensor.ts";
import { mul } from "./elementwise.ts";
import { pad, slice } from "./movement.ts";

interface ScanAttrs {
  /** From the last frame to the first. */
  reverse: boolean;
}

/** What a recurrence without products needs: the pooling of quasi-recurrent networks (Bradbury et al. 2017). */
const linearScanOp = defineOp<ScanAttrs>({
  name: "linearScan",
  doc: "h[t] = decay[t] h[t-1] + x[t] over the first axis, from h = 0; with `reverse`, h[t] = decay[t] h[t+1] + x[t].",
  infer: (inputs) => {
    const [decay, x] = inputs;
    if (x.shape.length !== 3 || !sameShape(decay.shape, x.shape))
      throw new Error(`${describe("linearScan", inputs, ["decay", "x"])}: wants [frames, batch, dim] twice`);
    return [{ shape: x.shape, dtype: "f32" }];
  },
  emit: (e, [decay, x], { reverse }, node) => {
    const [, batch, dim] = node.inputs[1].shape;
    const state = { shape: [batch, dim], dtype: "f32" as const };
    const zero = e.node("Expand", [e.constant("f32", [1, 1], [0]), e.sizes([batch, dim])]);
    const body = e.subgraph(
      "linearScan",
      [state, state, state],
      (b, [h, a, y]) => {
        const now = b.node("Add", [b.node("Mul", [a, h]), y]);
        // An output may not be two outputs at once.
        return [now, b.node("Identity", [now])];
      },
      [state, state],
    );
    const way = reverse ? 1 : 0;
    const directions = { scan_input_directions: [way, way], scan_output_directions: [way] };
    return e
      .nodes("Scan", [zero, decay, x], { body, num_scan_inputs: 2, ...directions }, { outputs: 2 })
      .slice(1);
  },
  vjp: [
    ({ dy, inputs: [decay], outputs: [h], attrs: { reverse } }) =>
      mul(passedBack(decay, dy, reverse), before(h, reverse)),
    ({ dy, inputs: [decay], attrs: { reverse } }) => passedBack(decay, dy, reverse),
  ],
  traits: {},
  reference: ([decay, x], { reverse }) => {
    const [frames, batch, dim] = x.shape;
    const out = new Float64Array(x.data.length);
    const row = batch * dim;
    for (let step = 0; step < frames; step++) {
      const t = reverse ? frames - 1 - step : step;
      const last = reverse ? t + 1 : t - 1;
      for (let i = 0; i < row; i++)
        out[t * row + i] =
          x.data[t * row + i] + (step > 0 ? decay.data[t * row + i] * out[last * row + i] : 0);
    }
    return [{ shape: x.shape, data: out }];
  },
  samples: [false, true].map((reverse) => ({
    inputs: [{ shape: [4, 2, 3] }, { shape: [4, 2, 3] }],
    attrs: { reverse },
  })),
});

/** h of the frame that was walked before each, zero at the start. */
const before = (h: Tensor, reverse: boolean): Tensor => {
  const frames = h.shape[0];
  return reverse ? pad(slice(h, 0, 1, frames), 0, 0, 1) : slice(pad(h, 0, 1, 0), 0, 0, frames);
};

/** The gradient of h[t] in all: its own and what the next frame passes back, decayed by that frame's factor. */
const passedBack = (decay: Tensor, dy: Tensor, reverse: boolean): Tensor =>
  linearScan(before(decay, !reverse), dy, !reverse);

/** h[t] = decay[t] h[t-1] + x[t] along the first of the axes [frames, batch, dim]. */
export const linearScan = (decay: Tensor, x: Tensor, reverse = false): Tensor =>
  linearScanOp([decay, x], { reverse })[0];
