import { defineOp } from "../tensor/define.ts";
import { addDim, type Dim, mulDim, sameShape } from "../tensor/dims.ts";
import { describe, type NdArray, type Tensor, type TensorType } from "../tensor/tensor.ts";
import { add, cast, equal, exp, less, log, mul, neg, sub, where } from "./elementwise.ts";
import { matMul } from "./matmul.ts";
import { concat, expand, pad, range, reshape, slice, transpose } from "./movement.ts";
import { logSoftmax, softmax } from "./norm.ts";
import { reduceMax, reduceSum } from "./reduce.ts";
import { constant, scalar } from "./source.ts";

/*
 * Connectionist temporal classification (Graves et al. 2006). The label sequence is stretched to states
 * blank, y1, blank, y2, ..., blank; `ctcTrellis` sums over paths through them by a Scan. The gradient is closed form
 * (their eq. 15): softmax minus the probability of being in a state, so the Scan itself is never differentiated.
 */

/** Log probability of what cannot happen: finite, so that differences of it are not NaN. */
const NEVER = -1e30;

const trellisOp = defineOp<Record<string, never>>({
  name: "ctcTrellis",
  doc: "alpha_t = emission_t + logsumexp over k of alpha_(t-1), k states before, plus the penalty [k, states, batch] of that step (k = 0, 1, 2), from the states `first`; beta is the same from the last frame back, k states ahead, with penalties and start of its own. Frames that are not valid keep the state.",
  infer: (inputs) => {
    const [emissions, forwards, backwards, valid, first, last] = inputs;
    const [frames, states, batch] = emissions.shape;
    const fits =
      [forwards, backwards].every(({ shape }) => sameShape(shape, [3, states, batch])) &&
      [first, last].every(({ shape }) => sameShape(shape, [states, batch])) &&
      sameShape(valid.shape, [frames, 1, batch]);
    if (!fits)
      throw new Error(
        `${describe("ctcTrellis", inputs, ["emissions", "forwards", "backwards", "valid", "first", "last"])}: wants [frames, states, batch], twice [3, states, batch], [frames, 1, batch] and twice [states, batch]`,
      );
    return [emissions, emissions];
  },
  emit: (e, [emissions, forwards, backwards, valid, first, last], _, node) => {
    const [, states, batch] = node.inputs[0].shape;
    const both = mulDim(batch, 2);
    const state: TensorType = { shape: [states, both], dtype: "f32" };
    const list = (...values: number[]) => e.constant("i64", [values.length], values);
    const whole = (value: number) => e.constant("i64", [], [value]);
    const flipped = (x: string, ...axes: number[]) => {
      const all = (value: number) => list(...axes.map(() => value));
      return e.node("Slice", [x, all(-1), all(-(2 ** 31)), list(...axes), all(-1)]);
    };
    // Backwards is forwards on what is turned around in time and in states: one walk for twice as many utterances, since the
    // time goes into starting the nodes of each frame.
    const joined = (axis: number, ahead: string, back: string) => e.node("Concat", [ahead, back], { axis });
    // Which state is looked at: one gather a frame instead of three slices, of rows that hold the whole batch. What lies
    // outside is forbidden by its penalty.
    const places = e.node("Range", [whole(0), e.node("Squeeze", [e.sizes([states])]), whole(1)]);
    const looked = [0, 1, 2].map((k) => {
      const place = e.node("Max", [e.node("Sub", [places, whole(k)]), whole(0)]);
      return e.node("Unsqueeze", [place, list(0)]);
    });
    const indices = e.node("Concat", looked, { axis: 0 });
    const penalties = joined(2, forwards, flipped(backwards, 1));
    const body = e.subgraph(
      "ctc",
      [state, state, { shape: [1, both], dtype: "bool" }],
      (b, [before, emission, isValid]) => {
        const steps = b.constant("i64", [1], [0]);
        const paths = b.node("Add", [b.node("Gather", [before, indices], { axis: 0 }), penalties]);
        // Written out: the runtime's ReduceLogSumExp takes one number at a time, these nodes whole vectors.
        const top = b.node("ReduceMax", [paths, steps], { keepdims: 0 });
        const shares = b.node("Exp", [b.node("Sub", [paths, top])]);
        const sum = b.node("Log", [b.node("ReduceSum", [shares, steps], { keepdims: 0 })]);
        const now = b.node("Where", [isValid, b.node("Sum", [emission, top, sum]), before]);
        // An output may not be two outputs at once.
        return [now, b.node("Identity", [now])];
      },
      [state, state],
    );
    const walked = e.nodes(
      "Scan",
      [
        joined(1, first, flipped(last, 0)),
        joined(2, emissions, flipped(emissions, 0, 1)),
        joined(2, valid, flipped(valid, 0)),
      ],
      { body, num_scan_inputs: 2 },
      { outputs: 2 },
    )[1];
    const [alpha, beta] = e.nodes("Split", [walked], { axis: 2, num_outputs: 2 }, { outputs: 2 });
    return [alpha, flipped(beta, 0, 1)];
  },
  vjp: { nonDifferentiable: "ctcLoss has its gradient in closed form" },
  traits: {},
  reference: ([emissions, forwards, backwards, valid, first, last]) => {
    const [frames, states, batch] = emissions.shape;
    const walk = (penalties: NdArray, start: NdArray, towards: 1 | -1): NdArray => {
      const data = new Float64Array(emissions.data.length);
      for (let step = 0; step < frames; step++) {
        const t = towards === 1 ? frames - 1 - step : step;
        for (let b = 0; b < batch; b++) {
          const before = (s: number) => {
            const inside = Math.min(states - 1, Math.max(0, s));
            return step === 0
              ? start.data[inside * batch + b]
              : data[((t + towards) * states + inside) * batch + b];
          };
          for (let s = 0; s < states; s++) {
            const at = (t * states + s) * batch + b;
            const paths = [0, 1, 2].map(
              (k) => before(s + k * towards) + penalties.data[(k * states + s) * batch + b],
            );
            const top = Math.max(...paths);
            const sum = top + Math.log(paths.reduce((total, p) => total + Math.exp(p - top), 0));
            data[at] = valid.data[t * batch + b] ? emissions.data[at] + sum : before(s);
          }
        }
      }
      return { shape: emissions.shape, data };
    };
    return [walk(forwards, first, -1), walk(backwards, last, 1)];
  },
  samples: [
    {
      inputs: [
        { shape: [4, 5, 2], range: [-3, 0] as const },
        ...[false, true].map((back) => ({
          shape: [3, 5, 2],
          values: [0, 1, 2].flatMap((k) =>
            [0, 1, 2, 3, 4].flatMap((s) => {
              if (k < 2) return k === 1 && s === (back ? 4 : 0) ? [NEVER, NEVER] : [0, 0];
              return [s === (back ? 1 : 3) ? 0 : NEVER, NEVER];
            }),
          ),
        })),
        { shape: [4, 1, 2], dtype: "bool" as const, values: [1, 1, 1, 1, 1, 1, 1, 0] },
        { shape: [5, 2], values: [0, 0, ...Array<number>(8).fill(NEVER)] },
        { shape: [5, 2], values: [0, 1, 2, 3, 4].flatMap((s) => [s === 4 ? 0 : NEVER, s === 2 ? 0 : NEVER]) },
      ],
      attrs: {},
    },
  ],
});

interface CtcAttrs {
  blank: number;
  /** An impossible alignment costs 0 instead of infinity. Its gradient is 0 either way, never NaN. */
  zeroInfinity: boolean;
}

interface Lattice {
  /** [batch, states, vocabulary], 1 where a state emits a symbol. */
  symbols: Tensor;
  /** What a step costs by the states it leaps, [3, states, batch]: 0 where it is allowed; forwards and backwards. */
  forwards: Tensor;
  backwards: Tensor;
  valid: Tensor;
  start: Tensor;
  last: Tensor;
  emissions: Tensor;
}

/** [frames, ., batch] from [batch, frames, .], and back: a frame's rows are as long as the batch. */
const batchLast = (x: Tensor): Tensor => transpose(x, [1, 2, 0]);
const batchFirst = (x: Tensor): Tensor => transpose(x, [2, 0, 1]);

function lattice([logits, labels, frames, targets]: readonly Tensor[], blank: number): Lattice {
  const [batch, time, vocabulary] = logits.shape;
  const longest = labels.shape[1];
  const states = addDim(mulDim(longest, 2), 1);
  const blanks = (width: Dim) => expand(constant([1, 1], [blank], "i32"), [batch, width]);
  const pairs = concat(
    [reshape(blanks(longest), [batch, longest, 1]), reshape(labels, [batch, longest, 1])],
    2,
  );
  const sequence = concat([reshape(pairs, [batch, mulDim(longest, 2)]), blanks(1)], 1);
  const symbols = cast(equal(reshape(sequence, [batch, states, 1]), range(vocabulary)), "f32");

  // A state may be entered past a blank where it is a label and differs from the label before.
  const [now, before] = [slice(sequence, 1, 2, states), slice(sequence, 1, 0, addDim(states, -2))];
  const open = where(equal(now, before), 0, where(equal(now, scalar(blank, "i32")), 0, scalar(1)));
  const skip = transpose(open, [1, 0]);
  const penalties = (...allowed: Tensor[]) =>
    concat(
      allowed.map((each) => {
        const penalty = mul(sub(1, each), NEVER);
        return reshape(expand(penalty, [states, batch]), [1, states, batch]);
      }),
      0,
    );
  const stay = scalar(1);
  const inner = expand(constant([1, 1], [1]), [addDim(states, -1), 1]);
  const first = zeroAt(equal(placeOf(states), scalar(0, "i32")));
  return {
    symbols,
    forwards: penalties(stay, pad(inner, 0, 1, 0), pad(skip, 0, 2, 0)),
    backwards: penalties(stay, pad(inner, 0, 0, 1), pad(skip, 0, 0, 2)),
    valid: less(reshape(range(time), [time, 1, 1]), reshape(frames, [1, 1, batch])),
    start: expand(first, [states, batch]),
    last: zeroAt(equal(placeOf(states), endOf(targets))),
    emissions: batchLast(matMul(logSoftmax(logits), symbols, { transB: true })),
  };
}

const zeroAt = (condition: Tensor): Tensor => where(condition, scalar(0), scalar(NEVER));
const placeOf = (states: Dim): Tensor => reshape(range(states), [states, 1]);
/** The state after the last label, [1, batch]. */
const endOf = (targets: Tensor): Tensor => reshape(add(targets, targets), [1, targets.shape[0]]);

/** Over the states, [states, batch] to [1, batch]. */
function logSumExp(x: Tensor): Tensor {
  const top = reduceMax(x, [0], true);
  return add(top, log(reduceSum(exp(sub(x, top)), [0], true)));
}

/** Log probabilities of the paths to each state and from it, both with the state's own emission: [frames, states, batch]. */
const trellis = (l: Lattice): readonly Tensor[] =>
  trellisOp([l.emissions, l.forwards, l.backwards, l.valid, l.start, l.last], {});

/** ln P(labels | logits), [1, batch]; about -1e30 where there is no alignment. */
function logLikelihood(l: Lattice, targets: Tensor): Tensor {
  const [alpha] = trellis(l);
  const [time, states, batch] = alpha.shape;
  const final = reshape(slice(alpha, 0, addDim(time, -1), time), [states, batch]);
  const [place, end] = [placeOf(states), endOf(targets)];
  const beforeEnd = sub(end, scalar(1, "i32"));
  const accepting = where(equal(place, end), 0, where(equal(place, beforeEnd), 0, scalar(NEVER)));
  return logSumExp(add(final, accepting));
}

const possible = (likelihood: Tensor): Tensor => less(NEVER / 2, likelihood);

const ctcOp = defineOp<CtcAttrs>({
  name: "ctcLoss",
  doc: "-ln of the summed probability of every alignment of the labels with the frames, per utterance (Graves et al. 2006, eq. 8).",
  infer: (inputs) => {
    const [logits, labels, frames, targets] = inputs;
    const [batch] = logits.shape;
    const fits =
      logits.shape.length === 3 &&
      labels.shape.length === 2 &&
      sameShape([labels.shape[0]], [batch]) &&
      sameShape(frames.shape, [batch]) &&
      sameShape(targets.shape, [batch]) &&
      [labels, frames, targets].every(({ dtype }) => dtype === "i32");
    if (!fits)
      throw new Error(
        `${describe("ctcLoss", inputs, ["logits", "labels", "frames", "targets"])}: wants [batch, frames, vocabulary], i32 [batch, labels], i32 [batch] and i32 [batch]`,
      );
    return [{ shape: [batch], dtype: "f32" }];
  },
  emit: {
    lower: (inputs, { blank, zeroInfinity }) => {
      const likelihood = logLikelihood(lattice(inputs, blank), inputs[3]);
      const impossible = zeroInfinity ? 0 : Number.POSITIVE_INFINITY;
      return [reshape(where(possible(likelihood), neg(likelihood), impossible), [inputs[0].shape[0]])];
    },
  },
  vjp: [
    ({ dy, inputs, attrs: { blank } }) => {
      const [logits, , , targets] = inputs;
      const l = lattice(inputs, blank);
      const likelihood = logLikelihood(l, targets);
      const [alpha, beta] = trellis(l);
      const [batch] = logits.shape;
      const path = sub(sub(add(alpha, beta), l.emissions), reshape(likelihood, [1, 1, batch]));
      const inState = where(l.valid, exp(path), scalar(0));
      const occupied = matMul(batchFirst(inState), l.symbols);
      // Padding and impossible alignments: zero by choice, not by product, since 0 times infinity is NaN.
      const slope = where(batchFirst(l.valid), sub(softmax(logits), occupied), scalar(0));
      return mul(
        where(reshape(possible(likelihood), [batch, 1, 1]), slope, scalar(0)),
        reshape(dy, [batch, 1, 1]),
      );
    },
    { nonDifferentiable: "labels are integers" },
    { nonDifferentiable: "lengths are integers" },
    { nonDifferentiable: "lengths are integers" },
  ],
  traits: {},
  reference: ([logits, labels, frames, targets], { blank, zeroInfinity }) => {
    const [batch, time, vocabulary] = logits.shape;
    const longest = labels.shape[1];
    const loss = new Float64Array(batch);
    for (let b = 0; b < batch; b++) {
      const logp = (t: number, v: number) => {
        const row = logits.data.subarray((b * time + t) * vocabulary, (b * time + t + 1) * vocabulary);
        const top = row.reduce((x, y) => Math.max(x, y));
        return row[v] - top - Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
      };
      const y = Array.from(labels.data.subarray(b * longest, b * longest + targets.data[b]));
      const states = [blank, ...y.flatMap((symbol) => [symbol, blank])];
      // Probabilities, not logarithms: the plainest form, good for the short sequences of tests.
      let p: number[] = states.map((_, s) => (s === 0 ? 1 : 0));
      for (let t = 0; t < frames.data[b]; t++)
        p = states.map((symbol, s) => {
          const skips = s >= 2 && symbol !== blank && symbol !== states[s - 2] ? p[s - 2] : 0;
          return Math.exp(logp(t, symbol)) * (p[s] + (p[s - 1] ?? 0) + skips);
        });
      const total = p[p.length - 1] + (p[p.length - 2] ?? 0);
      loss[b] = total > 0 ? -Math.log(total) : zeroInfinity ? 0 : Number.POSITIVE_INFINITY;
    }
    return [{ shape: [batch], data: loss } satisfies NdArray];
  },
  samples: [
    {
      inputs: [
        { shape: [3, 6, 5], range: [-2, 2] },
        { shape: [3, 3], dtype: "i32", values: [1, 2, 2, 3, 3, 0, 4, 0, 0] },
        { shape: [3], dtype: "i32", values: [6, 5, 4] },
        { shape: [3], dtype: "i32", values: [3, 2, 1] },
      ],
      attrs: { blank: 0, zeroInfinity: false },
    },
    {
      inputs: [
        { shape: [3, 2, 4], range: [-2, 2] },
        { shape: [3, 2], dtype: "i32", values: [1, 1, 0, 0, 2, 0] },
        { shape: [3], dtype: "i32", values: [2, 2, 1] },
        { shape: [3], dtype: "i32", values: [2, 0, 1] },
      ],
      attrs: { blank: 3, zeroInfinity: true },
      why: "an impossible repetition in two frames, an empty target, a single frame, another blank",
    },
  ],
});

/**
 * CTC loss of each utterance, [batch].
 * @param logits [batch, frames, vocabulary], before any softmax
 * @param labels i32 [batch, labels], padded with any symbol of the vocabulary
 * @param frames i32 [batch], valid frames of each utterance
 * @param targets i32 [batch], labels of each utterance
 */
export const ctcLoss = (
  logits: Tensor,
  labels: Tensor,
  frames: Tensor,
  targets: Tensor,
  attrs: CtcAttrs,
): Tensor => ctcOp([logits, labels, frames, targets], attrs)[0];
