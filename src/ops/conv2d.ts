import { defineOp } from "../tensor/define.ts";
import { addDim, type Dim, mulDim, sameDim } from "../tensor/dims.ts";
import { generate } from "../tensor/evaluate.ts";
import { describe, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { matMul } from "./matmul.ts";
import { concat, flip, pad, reshape, slice, transpose } from "./movement.ts";
import { reduceSum } from "./reduce.ts";

/** Zeros around the picture. */
interface Conv2dAttrs {
  above: number;
  below: number;
  left: number;
  right: number;
}

const names = ["x", "weight", "bias"];

function typeOf(inputs: readonly TensorType[], { above, below, left, right }: Conv2dAttrs): TensorType {
  const [x, weight, bias] = inputs;
  const [out, channels, rows, columns] = weight.shape;
  const fits =
    x.shape.length === 4 &&
    weight.shape.length === 4 &&
    typeof rows === "number" &&
    typeof columns === "number" &&
    sameDim(x.shape[1], channels) &&
    (bias === undefined || (bias.shape.length === 1 && sameDim(bias.shape[0], out)));
  if (!fits)
    throw new Error(
      `${describe("conv2d", inputs, names)}: wants [batch, channels, height, width], [out, channels, rows, columns] and [out]`,
    );
  const height = addDim(x.shape[2], above + below + 1 - rows);
  const width = addDim(x.shape[3], left + right + 1 - columns);
  return { shape: [x.shape[0], out, height, width], dtype: "f32" };
}

const convOp = defineOp<Conv2dAttrs>({
  name: "conv2d",
  doc: "y[b,o,t,f] = bias[o] + sum_{c,i,j} weight[o,c,i,j] x[b, c, t + i - above, f + j - left].",
  infer: (inputs, attrs) => [typeOf(inputs, attrs)],
  emit: (e, inputs, { above, below, left, right }, node) => [
    e.node("Conv", inputs, {
      strides: [1, 1],
      // Explicit pads: WebGPU's Conv reads auto_pad wrongly (microsoft/onnxruntime#26734).
      pads: [above, left, below, right],
      dilations: [1, 1],
      group: 1,
      kernel_shape: node.inputs[1].shape.slice(2) as number[],
    }),
  ],
  vjp: [
    ({ dy, inputs: [, weight], attrs }) => inputGradient(dy, weight, attrs),
    ({ dy, inputs: [x, weight], attrs }) => weightGradient(x, dy, weight.shape as number[], attrs),
    ({ dy }) => reduceSum(dy, [0, 2, 3]),
  ],
  traits: { product: true },
  reference: ([x, weight, bias], { above, below, left, right }) => {
    const [batch, channels, height, width] = x.shape;
    const [out, , rows, columns] = weight.shape;
    const size = [batch, out, height + above + below + 1 - rows, width + left + right + 1 - columns];
    return [
      generate(size, ([b, o, t, f]) => {
        let sum = bias?.data[o] ?? 0;
        for (let c = 0; c < channels; c++)
          for (let i = 0; i < rows; i++)
            for (let j = 0; j < columns; j++) {
              const [row, column] = [t + i - above, f + j - left];
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              sum +=
                weight.data[((o * channels + c) * rows + i) * columns + j] *
                x.data[((b * channels + c) * height + row) * width + column];
            }
        return sum;
      }),
    ];
  },
  samples: [
    {
      inputs: [{ shape: [2, 3, 5, 4] }, { shape: [2, 3, 3, 3] }, { shape: [2] }],
      attrs: { above: 1, below: 1, left: 1, right: 1 },
    },
    {
      inputs: [{ shape: [1, 2, 4, 5] }, { shape: [3, 2, 2, 3] }],
      attrs: { above: 1, below: 0, left: 0, right: 2 },
    },
  ],
});

/** The same convolution with the kernel turned around and its channels in each other's roles. */
function inputGradient(dy: Tensor, weight: Tensor, { above, below, left, right }: Conv2dAttrs): Tensor {
  const [, , rows, columns] = weight.shape as number[];
  return convOp([dy, transpose(flip(flip(weight, 2), 3), [1, 0, 2, 3])], {
    above: rows - 1 - above,
    below: rows - 1 - below,
    left: columns - 1 - left,
    right: columns - 1 - right,
  })[0];
}

/** dw[o,c,i,j] = sum_{b,t,f} dy[b,o,t,f] x[b, c, t + i - above, f + j - left]: a product for each place of the kernel. */
function weightGradient(x: Tensor, dy: Tensor, shape: readonly number[], attrs: Conv2dAttrs): Tensor {
  const [out, channels, rows, columns] = shape;
  const [batch, , height, width] = dy.shape;
  const area = mulDim(height, width);
  const padded = pad(pad(x, 2, attrs.above, attrs.below), 3, attrs.left, attrs.right);
  const errors = reshape(dy, [batch, out, area]);
  const cut = (y: Tensor, axis: number, from: number, size: Dim) => slice(y, axis, from, addDim(size, from));
  // Columns first: cutting rows then copies whole pictures, not line by line.
  const shifted = Array.from({ length: columns }, (_, j) => cut(padded, 3, j, width));
  const taps = Array.from({ length: rows * columns }, (_, k) => {
    const seen = cut(shifted[k % columns], 2, Math.floor(k / columns), height);
    const product = matMul(errors, reshape(seen, [batch, channels, area]), { transB: true });
    return reshape(reduceSum(product, [0]), [out, channels, 1]);
  });
  return reshape(concat(taps, 2), [out, channels, rows, columns]);
}

/**
 * Two-dimensional convolution of x [batch, channels, height, width] with weight [out, channels, rows, columns], one step at
 * a time; with `same` padding (odd kernels) the picture keeps its size.
 */
export function conv2d(x: Tensor, weight: Tensor, options: { same?: boolean; bias?: Tensor } = {}): Tensor {
  const [, , rows, columns] = weight.shape as number[];
  const [v, h] = options.same ? [(rows - 1) / 2, (columns - 1) / 2] : [0, 0];
  const attrs = { above: v, below: v, left: h, right: h };
  return convOp(options.bias === undefined ? [x, weight] : [x, weight, options.bias], attrs)[0];
}
