import { random } from "../../../random.ts";
import type { Rows } from "./svm.ts";

/**
 * Multi-layer perceptron with a softmax output, trained as scikit-learn's MLPClassifier trains one: Glorot's uniform start,
 * log-loss with an L2 penalty, Adam or SGD with Nesterov momentum, an end where the loss stops falling. In float64.
 */

export const ACTIVATIONS = ["tanh", "relu", "logistic", "identity"] as const;
export type Activation = (typeof ACTIVATIONS)[number];

export interface MlpOptions {
  /** Hidden layers, each of `width` units. */
  layers: number;
  activation: Activation;
  solver: "adam" | "sgd";
  learningRate: number;
  /** Default 100. */
  width?: number;
  /** Factor of the L2 penalty (default 1e-4). */
  alpha?: number;
  /** Default 200. */
  epochs?: number;
  /** Default: 200, or all rows where there are fewer. */
  batch?: number;
  seed: number;
  /** A new order of rows in each epoch (default true). */
  shuffle?: boolean;
  /** Starting values instead of drawn ones, for comparisons. */
  start?: readonly Layer[];
}

/** weights [inputs, outputs] row-major, bias [outputs]. */
export interface Layer {
  inputs: number;
  outputs: number;
  weights: Float64Array;
  bias: Float64Array;
}

/** What a pass over a batch found. */
export interface Pass {
  /** Mean log-loss plus the penalty. */
  loss: number;
  gradients: { weights: Float64Array; bias: Float64Array }[];
}

/** scikit-learn ends where the loss has not fallen by this much in so many epochs. */
const [TOLERANCE, PATIENCE] = [1e-4, 10];

export class Mlp {
  readonly layers: Layer[];
  /** Mean training loss of each epoch. */
  readonly losses: number[] = [];
  private readonly options: MlpOptions;

  constructor(rows: Rows, labels: readonly number[], classes: number, options: MlpOptions) {
    this.options = options;
    this.layers = (options.start ?? startingLayers(rows[0].length, classes, options)).map((layer) => ({
      ...layer,
      weights: layer.weights.slice(),
      bias: layer.bias.slice(),
    }));
    this.train(rows, labels);
  }

  /** Probabilities of the classes: [rows][classes]. */
  probabilities(rows: Rows): Float64Array[] {
    const values = this.forward(rows).at(-1)!;
    const classes = this.layers.at(-1)!.outputs;
    return rows.map((_, i) => softmax(values.subarray(i * classes, (i + 1) * classes)));
  }

  predict(rows: Rows): number[] {
    return this.probabilities(rows).map((p) => p.indexOf(Math.max(...p)));
  }

  private train(rows: Rows, labels: readonly number[]): void {
    const { options } = this;
    const { epochs = 200, shuffle = true, batch = Math.min(200, rows.length) } = options;
    const update = options.solver === "adam" ? this.adam() : this.nesterov();
    let [best, stale] = [Number.POSITIVE_INFINITY, 0];
    const order = rows.map((_, i) => i);
    for (let epoch = 0; epoch < epochs; epoch++) {
      const shown = shuffle ? random(options.seed, "mlp order", epoch).shuffle(order) : order;
      let total = 0;
      for (let at = 0; at < shown.length; at += batch) {
        const part = shown.slice(at, at + batch);
        const { loss, gradients } = this.pass(
          part.map((i) => rows[i]),
          part.map((i) => labels[i]),
        );
        total += loss * part.length;
        update(gradients);
      }
      const loss = total / rows.length;
      this.losses.push(loss);
      if (!Number.isFinite(loss)) return; // a learning rate that is too large; validation will not choose it
      stale = loss > best - TOLERANCE ? stale + 1 : 0;
      best = Math.min(best, loss);
      if (stale > PATIENCE) return;
    }
  }

  /** Loss and gradients of a batch. */
  pass(rows: Rows, labels: readonly number[]): Pass {
    const { alpha = 1e-4, activation } = this.options;
    const n = rows.length;
    const values = this.forward(rows);
    const classes = this.layers.at(-1)!.outputs;
    let loss = 0;
    let delta = new Float64Array(n * classes);
    for (let i = 0; i < n; i++) {
      const p = softmax(values.at(-1)!.subarray(i * classes, (i + 1) * classes));
      // scikit-learn keeps probabilities off 0 by the machine's epsilon.
      loss -= Math.log(Math.min(1 - Number.EPSILON, Math.max(Number.EPSILON, p[labels[i]]))) / n;
      for (let k = 0; k < classes; k++) delta[i * classes + k] = (p[k] - (labels[i] === k ? 1 : 0)) / n;
    }
    const gradients: Pass["gradients"] = [];
    for (let l = this.layers.length - 1; l >= 0; l--) {
      const { inputs, outputs, weights: w } = this.layers[l];
      const x = values[l];
      const weights = new Float64Array(w.length);
      const bias = new Float64Array(outputs);
      const below = new Float64Array(n * inputs);
      for (let i = 0; i < n; i++) {
        const d = delta.subarray(i * outputs, (i + 1) * outputs);
        for (let o = 0; o < outputs; o++) bias[o] += d[o];
        for (let k = 0; k < inputs; k++) {
          const value = x[i * inputs + k];
          const at = k * outputs;
          let sum = 0;
          for (let o = 0; o < outputs; o++) {
            weights[at + o] += value * d[o];
            sum += w[at + o] * d[o];
          }
          below[i * inputs + k] = l > 0 ? sum * slope(activation, value) : 0;
        }
      }
      for (let i = 0; i < w.length; i++) {
        loss += (0.5 * alpha * w[i] * w[i]) / n;
        weights[i] += (alpha * w[i]) / n;
      }
      gradients.unshift({ weights, bias });
      delta = below;
    }
    return { loss, gradients };
  }

  /** The rows and the output of each layer, [n, outputs] each; the last one before its softmax. */
  private forward(rows: Rows): Float64Array[] {
    const n = rows.length;
    const flat = new Float64Array(n * this.layers[0].inputs);
    rows.forEach((row, i) => {
      flat.set(row, i * row.length);
    });
    const values = [flat];
    for (const [l, { inputs, outputs, weights, bias }] of this.layers.entries()) {
      const x = values[l];
      const out = new Float64Array(n * outputs);
      for (let i = 0; i < n; i++) {
        const y = out.subarray(i * outputs, (i + 1) * outputs);
        y.set(bias);
        for (let k = 0; k < inputs; k++) {
          const value = x[i * inputs + k];
          if (value === 0) continue;
          const at = k * outputs;
          for (let o = 0; o < outputs; o++) y[o] += value * weights[at + o];
        }
      }
      if (l < this.layers.length - 1) activate(this.options.activation, out);
      values.push(out);
    }
    return values;
  }

  private adam(): (gradients: Pass["gradients"]) => void {
    const [b1, b2, epsilon] = [0.9, 0.999, 1e-8];
    const moments = this.layers.map(({ weights, bias }) => [weights, bias].map((x) => [zeros(x), zeros(x)]));
    let step = 0;
    return (gradients) => {
      step++;
      const rate = (this.options.learningRate * Math.sqrt(1 - b2 ** step)) / (1 - b1 ** step);
      this.each(gradients, (values, g, l, part) => {
        const [m, v] = moments[l][part];
        for (let i = 0; i < values.length; i++) {
          m[i] = b1 * m[i] + (1 - b1) * g[i];
          v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
          values[i] -= (rate * m[i]) / (Math.sqrt(v[i]) + epsilon);
        }
      });
    };
  }

  private nesterov(): (gradients: Pass["gradients"]) => void {
    const momentum = 0.9;
    const velocities = this.layers.map(({ weights, bias }) => [zeros(weights), zeros(bias)]);
    return (gradients) =>
      this.each(gradients, (values, g, l, part) => {
        const velocity = velocities[l][part];
        for (let i = 0; i < values.length; i++) {
          velocity[i] = momentum * velocity[i] - this.options.learningRate * g[i];
          values[i] += momentum * velocity[i] - this.options.learningRate * g[i];
        }
      });
  }

  private each(
    gradients: Pass["gradients"],
    change: (values: Float64Array, gradient: Float64Array, layer: number, part: 0 | 1) => void,
  ): void {
    for (const [l, { weights, bias }] of gradients.entries()) {
      change(this.layers[l].weights, weights, l, 0);
      change(this.layers[l].bias, bias, l, 1);
    }
  }
}

const zeros = (like: Float64Array) => new Float64Array(like.length);

/** Glorot & Bengio 2010: uniform within sqrt(6 / (in + out)), or sqrt(2 / (in + out)) for logistic units. */
function startingLayers(inputs: number, classes: number, options: MlpOptions): Layer[] {
  const { layers, width = 100, activation, seed } = options;
  const sizes = [inputs, ...Array.from({ length: layers }, () => width), classes];
  return sizes.slice(1).map((outputs, l) => {
    const chance = random(seed, "mlp start", l);
    const bound = Math.sqrt((activation === "logistic" ? 2 : 6) / (sizes[l] + outputs));
    const draw = (size: number) => Float64Array.from({ length: size }, () => bound * (2 * chance.next() - 1));
    return { inputs: sizes[l], outputs, weights: draw(sizes[l] * outputs), bias: draw(outputs) };
  });
}

function activate(kind: Activation, x: Float64Array): void {
  if (kind === "relu") for (let i = 0; i < x.length; i++) x[i] = Math.max(0, x[i]);
  else if (kind === "tanh") for (let i = 0; i < x.length; i++) x[i] = Math.tanh(x[i]);
  else if (kind === "logistic") for (let i = 0; i < x.length; i++) x[i] = 1 / (1 + Math.exp(-x[i]));
}

/** The derivative of an activation by its output. */
function slope(kind: Activation, y: number): number {
  if (kind === "relu") return y > 0 ? 1 : 0;
  if (kind === "tanh") return 1 - y * y;
  return kind === "logistic" ? y * (1 - y) : 1;
}

function softmax(x: Float64Array): Float64Array {
  const top = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const out = x.map((v) => Math.exp(v - top));
  const sum = out.reduce((a, b) => a + b, 0);
  return out.map((v) => v / sum);
}
