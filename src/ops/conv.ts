import { defineOp } from "../tensor/define.ts";
import { addDim, type Dim, floorDiv, mulDim, sameDim, subDim } from "../tensor/dims.ts";
import { generate } from "../tensor/evaluate.ts";
import { describe, type NdArray, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { matMul } from "./matmul.ts";
import { concat, pad, reshape, slice, transpose } from "./movement.ts";
import { reduceSum } from "./reduce.ts";

export interface ConvAttrs {
  stride: number;
  /** Zeros before and after the signal. */
  before: number;
  after: number;
  dilation: number;
  groups: number;
}

const names = ["x", "weight", "bias"];

/** Frames that a convolution over `size` elements leaves. */
export function convFrames(size: Dim, kernel: number, { stride, before, after, dilation }: ConvAttrs): Dim {
  const span = dilation * (kernel - 1) + 1;
  return addDim(floorDiv(addDim(size, before + after - span), stride), 1);
}

function checkConv(op: string, inputs: readonly TensorType[], { groups, stride, dilation }: ConvAttrs): void {
  const [x, weight, bias] = inputs;
  const [channels, perGroup] = [x.shape[1], weight.shape[1]];
  const fits =
    x.shape.length === 3 &&
    weight.shape.length === 3 &&
    typeof weight.shape[2] === "number" &&
    sameDim(channels, mulDim(perGroup, groups)) &&
    (weight.shape[0] as number) % groups === 0 &&
    stride >= 1 &&
    dilation >= 1 &&
    (bias === undefined || (bias.shape.length === 1 && sameDim(bias.shape[0], weight.shape[0])));
  if (!fits)
    throw new Error(
      `${describe(op, inputs, names)}: wants [batch, channels, samples], [out, channels / ${groups}, kernel] and [out]`,
    );
}

const convOp = defineOp<ConvAttrs>({
  name: "conv1d",
  doc: "y[b,o,t] = bias[o] + sum_{c,k} weight[o,c,k] x[b, group(o) + c, t stride + k dilation - before].",
  infer: (inputs, attrs) => {
    checkConv("conv1d", inputs, attrs);
    const [x, weight] = inputs;
    const frames = convFrames(x.shape[2], weight.shape[2] as number, attrs);
    return [{ shape: [x.shape[0], weight.shape[0], frames], dtype: "f32" }];
  },
  emit: (e, inputs, { stride, before, after, dilation, groups }, node) => [
    e.node("Conv", inputs, {
      strides: [stride],
      // Explicit pads: WebGPU's Conv reads auto_pad wrongly (microsoft/onnxruntime#26734).
      pads: [before, after],
      dilations: [dilation],
      group: groups,
      kernel_shape: [node.inputs[1].shape[2] as number],
    }),
  ],
  vjp: [
    ({ dy, inputs: [x, weight], attrs }) => convInput(dy, weight, x.shape[2], attrs),
    ({ dy, inputs: [x, weight], attrs }) => convWeight(x, dy, weight.shape[2] as number, attrs),
    ({ dy }) => reduceSum(dy, [0, 2]),
  ],
  traits: { product: true },
  reference: ([x, weight, bias], attrs) => [convReference(x, weight, bias, attrs)],
  samples: [
    { inputs: [{ shape: [2, 3, 11] }, { shape: [4, 3, 3] }, { shape: [4] }], attrs: plain({ stride: 2 }) },
    { inputs: [{ shape: [2, 3, 12] }, { shape: [4, 3, 3] }], attrs: plain({ stride: 5 }) },
    { inputs: [{ shape: [1, 1, 23] }, { shape: [3, 1, 10] }], attrs: plain({ stride: 5 }) },
    {
      inputs: [{ shape: [2, 4, 9] }, { shape: [4, 2, 4] }],
      attrs: plain({ before: 2, after: 2, groups: 2 }),
    },
    {
      inputs: [{ shape: [1, 4, 12] }, { shape: [6, 2, 3] }],
      attrs: plain({ stride: 2, groups: 2, before: 1 }),
    },
    { inputs: [{ shape: [2, 2, 13] }, { shape: [3, 2, 3] }, { shape: [3] }], attrs: plain({ dilation: 2 }) },
    { inputs: [{ shape: [1, 40, 16] }, { shape: [2, 40, 2] }], attrs: plain({ stride: 2 }) },
    { inputs: [{ shape: [2, 1, 7] }, { shape: [2, 1, 65] }], attrs: plain({ before: 32, after: 32 }) },
  ],
});

function plain(some: Partial<ConvAttrs>): ConvAttrs {
  return { stride: 1, before: 0, after: 0, dilation: 1, groups: 1, ...some };
}

function convReference(x: NdArray, weight: NdArray, bias: NdArray | undefined, attrs: ConvAttrs): NdArray {
  const { stride, before, dilation, groups } = attrs;
  const [batch, channels, samples] = x.shape;
  const [out, perGroup, kernel] = weight.shape;
  const frames = convFrames(samples, kernel, attrs) as number;
  return generate([batch, out, frames], ([b, o, t]) => {
    const first = Math.floor(o / (out / groups)) * perGroup;
    let sum = bias?.data[o] ?? 0;
    for (let c = 0; c < perGroup; c++)
      for (let k = 0; k < kernel; k++) {
        const at = t * stride + k * dilation - before;
        if (at < 0 || at >= samples) continue;
        sum +=
          weight.data[(o * perGroup + c) * kernel + k] * x.data[(b * channels + first + c) * samples + at];
      }
    return sum;
  });
}

const convInputOp = defineOp<ConvAttrs & { size: Dim }>({
  name: "conv1dInput",
  doc: "The input gradient of conv1d: dx[b,i,s] = sum over the (o,k,t) with t stride + k dilation - before = s of weight[o,i,k] dy[b,o,t].",
  infer: ([dy, weight], { size, groups }) => [
    { shape: [dy.shape[0], mulDim(weight.shape[1], groups), size], dtype: "f32" },
  ],
  emit: (e, [dy, weight], { stride, before, after, dilation, groups, size }, node) => {
    const [out, perGroup, kernel] = node.inputs[1].shape as number[];
    const span = dilation * (kernel - 1);
    const constant = (values: number[]) => e.constant("i64", [values.length], values);
    // What every stride-th tap from `first` on gives, as a convolution with those taps turned around: the runtime's
    // ConvTranspose takes 2 times as long, with groups 5 times (120 ms of a base step).
    const ofTaps = (first: number, pads: (count: number) => [number, number]) => {
      const count = Math.ceil((kernel - first) / stride);
      const last = first + stride * (count - 1);
      const taps = e.node("Slice", [weight, ...[[last], [-(2 ** 31)], [2], [-stride]].map(constant)]);
      const grouped = e.node("Reshape", [taps, constant([groups, out / groups, perGroup, count])]);
      const turned = e.node("Transpose", [grouped], { perm: [0, 2, 1, 3] });
      const matrix = e.node("Reshape", [turned, constant([groups * perGroup, out / groups, count])]);
      return e.node("Conv", [dy, matrix], {
        ...{ strides: [1], pads: pads(count), dilations: [dilation] },
        ...{ group: groups, kernel_shape: [count] },
      });
    };
    if (stride === 1 && before <= span && after <= span)
      return [ofTaps(0, () => [span - before, span - after])];
    const frames = node.inputs[0].shape[2];
    let full: string;
    let reached: Dim;
    if (stride > 1 && dilation === 1 && kernel >= stride) {
      const most = Math.ceil(kernel / stride);
      // Inputs at first, first + stride, ...: one place of each `stride` in a row.
      const places = Array.from({ length: stride }, (_, first) => {
        const some = ofTaps(first, (count) => [count - 1, most - 1]);
        return e.node("Unsqueeze", [some, constant([3])]);
      });
      full = e.node("Reshape", [e.node("Concat", places, { axis: 3 }), constant([0, 0, -1])]);
      reached = mulDim(addDim(frames, most - 1), stride);
    } else {
      full = e.node("ConvTranspose", [dy, weight], {
        ...{ strides: [stride], dilations: [dilation] },
        ...{ group: groups, kernel_shape: [kernel] },
      });
      reached = addDim(mulDim(addDim(frames, -1), stride), span + 1);
    }
    // Inputs that the last stride did not reach get zeros, those that were padding are cut off.
    const beyond = subDim(addDim(size, before), reached);
    if (before === 0 && beyond === 0) return [full];
    const margins = e.sizes([0, 0, -before, 0, 0, beyond]);
    return [e.node("Pad", [full, margins, e.constant("f32", [], [0])])];
  },
  vjp: [
    ({ dy: ddx, inputs: [, weight], attrs }) => conv1d(ddx, weight, attrs),
    ({ dy: ddx, inputs: [dy, weight], attrs }) => convWeight(ddx, dy, weight.shape[2] as number, attrs),
  ],
  traits: { product: true },
  reference: ([dy, weight], { stride, before, dilation, groups, size }, bind) => {
    const [batch, out, frames] = dy.shape;
    const [, perGroup, kernel] = weight.shape;
    const samples = bind(size);
    const dx = {
      shape: [batch, perGroup * groups, samples],
      data: new Float64Array(batch * perGroup * groups * samples),
    };
    for (let b = 0; b < batch; b++)
      for (let o = 0; o < out; o++) {
        const first = Math.floor(o / (out / groups)) * perGroup;
        for (let t = 0; t < frames; t++)
          for (let c = 0; c < perGroup; c++)
            for (let k = 0; k < kernel; k++) {
              const at = t * stride + k * dilation - before;
              if (at < 0 || at >= samples) continue;
              dx.data[(b * perGroup * groups + first + c) * samples + at] +=
                weight.data[(o * perGroup + c) * kernel + k] * dy.data[(b * out + o) * frames + t];
            }
      }
    return [dx];
  },
  samples: [
    { inputs: [{ shape: [2, 4, 5] }, { shape: [4, 3, 3] }], attrs: { ...plain({ stride: 2 }), size: 12 } },
    { inputs: [{ shape: [1, 3, 3] }, { shape: [3, 1, 10] }], attrs: { ...plain({ stride: 5 }), size: 23 } },
    // Fewer taps than the stride, and taps apart: the runtime's own operation.
    { inputs: [{ shape: [1, 3, 3] }, { shape: [3, 2, 2] }], attrs: { ...plain({ stride: 3 }), size: 9 } },
    {
      inputs: [{ shape: [1, 3, 3] }, { shape: [3, 2, 3] }],
      attrs: { ...plain({ stride: 2, dilation: 2 }), size: 10 },
    },
    {
      inputs: [{ shape: [2, 4, 10] }, { shape: [4, 2, 4] }],
      attrs: { ...plain({ before: 2, after: 2, groups: 2 }), size: 9 },
    },
    {
      inputs: [{ shape: [1, 6, 6] }, { shape: [6, 2, 3] }],
      attrs: { ...plain({ stride: 2, groups: 2, before: 1 }), size: 12 },
    },
  ],
});
const convInput = (dy: Tensor, weight: Tensor, size: Dim, attrs: ConvAttrs): Tensor =>
  convInputOp([dy, weight], { ...attrs, size })[0];

/** Widest window (channels x kernel) that is unfolded into one matrix product; beyond it each tap has its own. */
const UNFOLD_LIMIT = 64;

/** The weight gradient of conv1d: dw[o,c,k] = sum_{b,t} dy[b,o,t] x[b, group(o) + c, t stride + k dilation - before]. */
function convWeight(x: Tensor, dy: Tensor, kernel: number, attrs: ConvAttrs): Tensor {
  const { stride, before, after, dilation, groups } = attrs;
  const [batch, channels] = [x.shape[0], x.shape[1] as number];
  const [, out, frames] = dy.shape as [Dim, number, Dim];
  // A wide kernel has too many taps: attention's window of 201 frames would be 800 nodes in every step of its recurrence.
  if (groups > 1 || (kernel > UNFOLD_LIMIT && stride === 1)) return groupedWeight(x, dy, kernel, attrs);
  const padded = pad(x, 2, before, after);
  const taps = Array.from({ length: kernel }, (_, k) => {
    const start = k * dilation;
    return slice(padded, 2, start, addDim(mulDim(addDim(frames, -1), stride), start + 1), stride);
  });
  if (channels * kernel <= UNFOLD_LIMIT) {
    const windows = reshape(
      concat(
        taps.map((tap) => reshape(tap, [batch, channels, 1, frames])),
        2,
      ),
      [batch, channels * kernel, frames],
    );
    return reshape(reduceSum(matMul(dy, windows, { transB: true }), [0]), [out, channels, kernel]);
  }
  const columns = taps.map((tap) =>
    reshape(reduceSum(matMul(dy, tap, { transB: true }), [0]), [out, channels, 1]),
  );
  return concat(columns, 2);
}

/** The same as one convolution, grouped or wide, with batch and channels in each other's roles. */
function groupedWeight(x: Tensor, dy: Tensor, kernel: number, attrs: ConvAttrs): Tensor {
  const { stride, before, after, dilation, groups } = attrs;
  const [batch, channels, samples] = x.shape as [Dim, number, Dim];
  const [, out] = dy.shape as [Dim, number, Dim];
  const perGroup = channels / groups;
  const split = transpose(reshape(x, [batch, groups, perGroup, samples]), [2, 1, 0, 3]);
  const signal = reshape(split, [perGroup, mulDim(groups, batch), samples]);
  const window = transpose(dy, [1, 0, 2]);
  const full = crossCorrelate(signal, window, kernel, {
    stride: dilation,
    before,
    after,
    dilation: stride,
    groups,
  });
  return transpose(reshape(full, [perGroup, out, kernel]), [1, 0, 2]);
}

const correlateOp = defineOp<ConvAttrs & { kernel: number }>({
  name: "crossCorrelate",
  doc: "The first `kernel` outputs of conv1d with a window whose length is known only when the graph runs.",
  infer: ([x, window], { kernel }) => [{ shape: [x.shape[0], window.shape[0], kernel], dtype: "f32" }],
  emit: (e, inputs, { stride, before, after, dilation, groups, kernel }) => {
    const full = e.node("Conv", inputs, {
      strides: [stride],
      pads: [before, after],
      dilations: [dilation],
      group: groups,
    });
    const ends = [[0], [kernel], [2], [1]].map((values) => e.constant("i64", [1], values));
    return [e.node("Slice", [full, ...ends])];
  },
  vjp: {
    nonDifferentiable: "it stands only in gradients, and second derivatives of convolutions are not needed",
  },
  traits: { product: true },
  reference: ([x, window], { kernel, ...attrs }) => {
    const full = convReference(x, window, undefined, attrs);
    const frames = full.shape[2];
    return [
      generate(
        [full.shape[0], full.shape[1], kernel],
        ([b, o, t]) => full.data[(b * full.shape[1] + o) * frames + t],
      ),
    ];
  },
  samples: [
    {
      inputs: [{ shape: [2, 4, 9] }, { shape: [4, 2, 8] }],
      attrs: { ...plain({ groups: 2, before: 1, after: 1 }), kernel: 4 },
    },
  ],
});
const crossCorrelate = (x: Tensor, window: Tensor, kernel: number, attrs: ConvAttrs): Tensor =>
  correlateOp([x, window], { ...attrs, kernel })[0];

/** One-dimensional convolution of x [batch, channels, samples] with weight [out, channels / groups, kernel]. */
export function conv1d(
  x: Tensor,
  weight: Tensor,
  options: Partial<ConvAttrs> & { bias?: Tensor } = {},
): Tensor {
  const { bias, stride = 1, before = 0, after = 0, dilation = 1, groups = 1 } = options;
  const attrs = { stride, before, after, dilation, groups };
  return convOp(bias === undefined ? [x, weight] : [x, weight, bias], attrs)[0];
}
