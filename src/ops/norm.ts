import { defineOp } from "../tensor/define.ts";
import { sameDim, sameShape } from "../tensor/dims.ts";
import { generate } from "../tensor/evaluate.ts";
import { describe, type NdArray, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { add, div, exp, mul, sqrt, sub } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { reduceMean, reduceSum } from "./reduce.ts";

const names = ["x", "weight", "bias"];

const layerNormOp = defineOp<{ epsilon: number }>({
  name: "layerNorm",
  doc: "y = (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis; also mean and 1 / sqrt(...) (Ba et al. 2016).",
  infer: (inputs) => {
    const [x, weight, bias] = inputs;
    const dim = x.shape[x.shape.length - 1];
    if (![weight, bias].every(({ shape }) => shape.length === 1 && sameDim(shape[0], dim)))
      throw new Error(`${describe("layerNorm", inputs, names)}: weight and bias must be [${dim}]`);
    const statistic: TensorType = { shape: [...x.shape.slice(0, -1), 1], dtype: "f32" };
    return [{ shape: x.shape, dtype: "f32" }, statistic, statistic];
  },
  emit: (e, inputs, { epsilon }) =>
    e.nodes("LayerNormalization", inputs, { axis: -1, epsilon: { float: epsilon } }, { outputs: 3 }),
  // Its own rule: the statistics come from the forward node instead of being reduced again.
  vjp: [
    ({ dy, inputs: [x, weight], outputs: [, mean, inverse] }) => {
      const normal = mul(sub(x, mean), inverse);
      const scaled = mul(dy, weight);
      const along = reduceMean(mul(scaled, normal), [-1], true);
      return mul(sub(sub(scaled, reduceMean(scaled, [-1], true)), mul(normal, along)), inverse);
    },
    ({ dy, inputs: [x], outputs: [, mean, inverse] }) => mul(dy, mul(sub(x, mean), inverse)),
    ({ dy }) => dy,
  ],
  traits: {},
  reference: ([x, weight, bias], { epsilon }) => {
    const dim = x.shape[x.shape.length - 1];
    const { mean, inverse } = moments(x.data, dim, epsilon);
    const statistic = [...x.shape.slice(0, -1), 1];
    const y = generate(x.shape, (_, flat) => {
      const row = Math.floor(flat / dim);
      const column = flat % dim;
      return (x.data[flat] - mean[row]) * inverse[row] * weight.data[column] + bias.data[column];
    });
    return [y, { shape: statistic, data: mean }, { shape: statistic, data: inverse }];
  },
  samples: [
    { inputs: [{ shape: [2, 3, 8] }, { shape: [8] }, { shape: [8] }], attrs: { epsilon: 1e-5 } },
    { inputs: [{ shape: [5, 4] }, { shape: [4] }, { shape: [4] }], attrs: { epsilon: 1e-3 } },
  ],
});

function moments(data: Float64Array, dim: number, epsilon: number) {
  const rows = data.length / dim;
  const mean = new Float64Array(rows);
  const inverse = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const values = data.subarray(row * dim, (row + 1) * dim);
    mean[row] = values.reduce((a, b) => a + b, 0) / dim;
    const variance = values.reduce((sum, v) => sum + (v - mean[row]) ** 2, 0) / dim;
    inverse[row] = 1 / Math.sqrt(variance + epsilon);
  }
  return { mean, inverse };
}

/** Layer normalisation over the last axis. */
export const layerNorm = (x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor =>
  layerNormOp([x, weight, bias], { epsilon })[0];

const instanceNormOp = defineOp<{ epsilon: number }>({
  name: "instanceNorm",
  doc: "y = (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis of [batch, channels, samples], per channel: group norm with one channel a group.",
  infer: (inputs) => {
    const [x, weight, bias] = inputs;
    if (x.shape.length !== 3 || ![weight, bias].every(({ shape }) => sameShape(shape, [x.shape[1]])))
      throw new Error(
        `${describe("instanceNorm", inputs, names)}: wants [batch, channels, samples] and [channels]`,
      );
    return [x];
  },
  emit: (e, inputs, { epsilon }) => [
    e.node("InstanceNormalization", inputs, { epsilon: { float: epsilon } }),
  ],
  vjp: [
    ({ dy, inputs: [x, weight], attrs }) => {
      const { normal, inverse } = standardised(x, attrs.epsilon);
      const scaled = mul(dy, reshape(weight, [weight.shape[0], 1]));
      const along = reduceMean(mul(scaled, normal), [-1], true);
      return mul(sub(sub(scaled, reduceMean(scaled, [-1], true)), mul(normal, along)), inverse);
    },
    ({ dy, inputs: [x], attrs }) => reduceSum(mul(dy, standardised(x, attrs.epsilon).normal), [0, 2]),
    ({ dy }) => reduceSum(dy, [0, 2]),
  ],
  traits: {},
  reference: ([x, weight, bias], { epsilon }) => {
    const [, channels, samples] = x.shape;
    const { mean, inverse } = moments(x.data, samples, epsilon);
    return [
      generate(x.shape, ([b, c], flat) => {
        const row = b * channels + c;
        return (x.data[flat] - mean[row]) * inverse[row] * weight.data[c] + bias.data[c];
      }),
    ];
  },
  samples: [{ inputs: [{ shape: [2, 3, 9] }, { shape: [3] }, { shape: [3] }], attrs: { epsilon: 1e-5 } }],
});

function standardised(x: Tensor, epsilon: number): { normal: Tensor; inverse: Tensor } {
  const centred = sub(x, reduceMean(x, [-1], true));
  const inverse = div(1, sqrt(add(reduceMean(mul(centred, centred), [-1], true), epsilon)));
  return { normal: mul(centred, inverse), inverse };
}

/** Normalisation over time, channel by channel, of x [batch, channels, samples]. */
export const instanceNorm = (x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor =>
  instanceNormOp([x, weight, bias], { epsilon })[0];

function overLastAxis(x: NdArray, row: (values: Float64Array) => Float64Array): NdArray {
  const dim = x.shape[x.shape.length - 1];
  const data = new Float64Array(x.data.length);
  for (let at = 0; at < data.length; at += dim) data.set(row(x.data.subarray(at, at + dim)), at);
  return { shape: x.shape, data };
}

const logSumExp = (values: Float64Array) => {
  const top = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return top + Math.log(values.reduce((sum, v) => sum + Math.exp(v - top), 0));
};

const softmaxOp = defineOp<Record<string, never>>({
  name: "softmax",
  doc: "y_i = e^x_i / sum_j e^x_j over the last axis.",
  infer: ([x]) => [x],
  emit: (e, inputs) => [e.node("Softmax", inputs, { axis: -1 })],
  vjp: [
    ({ dy, outputs: [y] }) => {
      const weighted = mul(dy, y);
      return sub(weighted, mul(y, reduceSum(weighted, [-1], true)));
    },
  ],
  traits: {},
  reference: ([x]) => [overLastAxis(x, (values) => values.map((v) => Math.exp(v - logSumExp(values))))],
  samples: [{ inputs: [{ shape: [2, 3, 5], range: [-4, 4] }], attrs: {} }],
});
export const softmax = (x: Tensor): Tensor => softmaxOp([x], {})[0];

const logSoftmaxOp = defineOp<Record<string, never>>({
  name: "logSoftmax",
  doc: "y_i = x_i - ln sum_j e^x_j over the last axis.",
  infer: ([x]) => [x],
  emit: (e, inputs) => [e.node("LogSoftmax", inputs, { axis: -1 })],
  vjp: [({ dy, outputs: [y] }) => sub(dy, mul(exp(y), reduceSum(dy, [-1], true)))],
  traits: {},
  reference: ([x]) => [overLastAxis(x, (values) => values.map((v) => v - logSumExp(values)))],
  samples: [{ inputs: [{ shape: [2, 3, 5], range: [-4, 4] }], attrs: {} }],
});
export const logSoftmax = (x: Tensor): Tensor => logSoftmaxOp([x], {})[0];
