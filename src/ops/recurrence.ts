import { optimise } from "../tensor/compile.ts";
import { defineOp } from "../tensor/define.ts";
import { addDim, sameShape, showShape } from "../tensor/dims.ts";
import { evaluate, sizeOf } from "../tensor/evaluate.ts";
import type { Graph } from "../tensor/graph.ts";
import {
  attrsKey,
  describe,
  type Emit,
  type NdArray,
  type Tensor,
  type TensorType,
  topological,
  type VjpContext,
} from "../tensor/tensor.ts";
import { add, mul, sigmoid, tanh } from "./elementwise.ts";
import { gradients } from "./gradients.ts";
import { affine } from "./matmul.ts";
import { concat, expand, reshape, slice } from "./movement.ts";
import { sumAll } from "./reduce.ts";
import { constant, input, scalar } from "./source.ts";

/*
 * A recurrence whose step is written with other operations: attention that looks at where it looked before, cells that no
 * operation of their own has. The step is traced once and becomes the body of a Scan. Its gradient is a recurrence too, from
 * the last step to the first: the step is computed again from the states before it and differentiated there, so that only
 * states are kept, and gradients of what all steps share are added up as it goes.
 */

/** A step as a graph: sources for what it is given, and what it makes of them. */
interface Step {
  readonly states: readonly Tensor[];
  readonly scanned: readonly Tensor[];
  readonly fixed: readonly Tensor[];
  /** The states after the step. */
  readonly next: readonly Tensor[];
  /** What is collected of each step. */
  readonly out: readonly Tensor[];
  /** What it does, as text: steps that are spelt alike are one step. */
  toJSON(): string;
}

interface RecurrenceAttrs {
  step: Step;
  /** From the last entry to the first. */
  reverse: boolean;
}

const stepOf = (parts: Omit<Step, "toJSON">): Step => {
  let text: string | undefined;
  return { ...parts, toJSON: () => (text ??= spelt(parts)) };
};

/** A step spelt out, without names that tracing it once more would change. */
function spelt({ states, scanned, fixed, next, out }: Omit<Step, "toJSON">): string {
  const sources = [...states, ...scanned, ...fixed];
  const names = new Map(sources.map((tensor, i) => [tensor, `in${i}`]));
  const named = (tensors: readonly Tensor[]) => tensors.map((tensor) => names.get(tensor)).join();
  const lines: string[] = [];
  for (const { op, inputs, outputs, attrs } of topological([...next, ...out])) {
    if (op.traits.source) continue;
    for (const [k, output] of outputs.entries()) names.set(output, `${lines.length}.${k}`);
    lines.push(`${op.name}(${named(inputs)})${attrsKey(attrs)}`);
  }
  const types = sources.map(({ shape, dtype }) => `${showShape(shape)}${dtype}`);
  return [types.join(), states.length, scanned.length, ...lines, named(next), named(out)].join(";");
}

let sources = 0;
/** A source of a step, with a name of its own. */
const source = ({ shape, dtype }: TensorType): Tensor => input(`step.${sources++}`, shape, dtype);
/** One entry of what a recurrence walks along. */
const entryOf = ({ shape, dtype }: TensorType): TensorType => ({ shape: shape.slice(1), dtype });

const sourcesOf = (step: Step): readonly Tensor[] => [...step.states, ...step.scanned, ...step.fixed];

/** A recurrence's inputs by what they are to it. */
function parts<T>(
  step: Step,
  all: readonly T[],
): { initial: readonly T[]; scanned: readonly T[]; fixed: readonly T[] } {
  const first = step.states.length;
  const last = first + step.scanned.length;
  return { initial: all.slice(0, first), scanned: all.slice(first, last), fixed: all.slice(last) };
}

const recurrenceOp = defineOp<RecurrenceAttrs>({
  name: "recurrence",
  doc: "(h[t], y[t]) = step(h[t-1], x[t], fixed) along the first axis of the x, from the initial h; with `reverse`, from the last entry to the first. Outputs the last h and all y.",
  infer: (inputs, { step }) => {
    const { initial, scanned, fixed } = parts(step, inputs);
    const [length] = scanned[0].shape;
    const same = (a: TensorType, b: TensorType) => a.dtype === b.dtype && sameShape(a.shape, b.shape);
    const fits =
      inputs.length === sourcesOf(step).length &&
      initial.every((each, i) => same(each, step.states[i]) && same(step.next[i], each)) &&
      scanned.every(
        (each, i) => sameShape([each.shape[0]], [length]) && same(entryOf(each), step.scanned[i]),
      ) &&
      fixed.every((each, i) => same(each, step.fixed[i]));
    if (!fits)
      throw new Error(
        `${describe("recurrence", inputs, [])}: its step was traced with ${describe("step", sourcesOf(step), [])} and makes ${describe("states", step.next, [])}`,
      );
    return [
      ...initial.map(({ shape, dtype }) => ({ shape, dtype })),
      ...step.out.map(({ shape, dtype }) => ({ shape: [length, ...shape], dtype })),
    ];
  },
  emit: (e, names, { step, reverse }) => {
    const { initial, scanned, fixed } = parts(step, names);
    const [way, count] = [reverse ? 1 : 0, scanned.length];
    const body = e.subgraph(
      "recurrence",
      [...step.states, ...step.scanned],
      (b, given) => writeStep(b, step, [...given, ...fixed]),
      [...step.next, ...step.out],
    );
    return e.nodes(
      "Scan",
      [...initial, ...scanned],
      {
        body,
        num_scan_inputs: count,
        scan_input_directions: scanned.map(() => way),
        ...(step.out.length > 0 && { scan_output_directions: step.out.map(() => way) }),
      },
      { outputs: initial.length + step.out.length },
    );
  },
  vjp: { each: (c, i) => backward(c)[i] },
  traits: { product: true },
  reference: (inputs, { step, reverse }) => {
    const { initial, scanned, fixed } = parts(step, inputs);
    const [length] = scanned[0].shape;
    const name = ({ node }: Tensor) => (node.attrs as { name: string }).name;
    let states = initial;
    const rows: NdArray[][] = [];
    for (let at = 0; at < length; at++) {
      const t = reverse ? length - 1 - at : at;
      const entries = scanned.map(({ shape: [, ...shape], data }) => {
        const size = sizeOf(shape);
        return { shape, data: data.slice(t * size, (t + 1) * size) };
      });
      const values = [...states, ...entries, ...fixed];
      const feeds = new Map(sourcesOf(step).map((tensor, i) => [name(tensor), values[i]]));
      // The sources as outputs too: a part of a step may not contain the axes that its sizes come from.
      const made = evaluate([...step.next, ...step.out, ...sourcesOf(step)], feeds);
      states = made.slice(0, step.next.length);
      rows[t] = made.slice(step.next.length, step.next.length + step.out.length);
    }
    const stacked = step.out.map((_, k): NdArray => {
      const size = rows[0][k].data.length;
      const data = new Float64Array(length * size);
      for (const [t, row] of rows.entries()) data.set(row[k].data, t * size);
      return { shape: [length, ...rows[0][k].shape], data };
    });
    return [...states, ...stacked];
  },
  samples: [false, true].map((reverse) => {
    const [h, s, x, y, w] = [
      [2, 3],
      [2, 2],
      [2, 3],
      [2, 2],
      [5, 5],
    ].map((shape) => source({ shape, dtype: "f32" }));
    const mixed = affine(concat([tanh(add(h, x)), mul(s, y)], 1), w);
    const next = [tanh(slice(mixed, 1, 0, 3)), sigmoid(add(slice(mixed, 1, 3, 5), s))];
    return {
      inputs: [
        [2, 3],
        [2, 2],
        [4, 2, 3],
        [4, 2, 2],
        [5, 5],
      ].map((shape) => ({ shape })),
      attrs: { step: stepOf({ states: [h, s], scanned: [x, y], fixed: [w], next, out: next }), reverse },
    };
  }),
});

const written = new WeakMap<Step, Graph>();

/** Writes a step's nodes; returns the names of the states after it and of what is collected. */
function writeStep(e: Emit, step: Step, given: readonly string[]): string[] {
  let graph = written.get(step);
  if (graph === undefined) {
    graph = optimise(
      {
        inputs: sourcesOf(step).map((tensor, i) => ({ name: `in.${i}`, tensor })),
        outputs: [...step.next, ...step.out].map((tensor, i) => ({ name: `out.${i}`, tensor })),
        late: [],
      },
      constant,
    );
    written.set(step, graph);
  }
  const names = new Map(sourcesOf(step).map((tensor, i) => [tensor, given[i]]));
  for (const node of topological(graph.outputs.map(({ tensor }) => tensor))) {
    if (node.op.traits.source) continue;
    if (typeof node.op.emit !== "function") throw new Error(`${node.op.name} was not lowered before writing`);
    const outputs = node.op.emit(
      e,
      node.inputs.map((each) => names.get(each)!),
      node.attrs,
      node,
    );
    for (const [i, output] of node.outputs.entries()) names.set(output, outputs[i]);
  }
  return graph.outputs.map(({ tensor }) => names.get(tensor)!);
}

const zeros = ({ shape }: TensorType): Tensor => expand(scalar(0), shape);
const isFloat = ({ dtype }: TensorType): boolean => dtype === "f32";

/** One walk makes the gradients of all inputs; each is asked for by itself. */
const walked = new WeakMap<object, readonly Tensor[]>();

/** The gradient of each input, zero where the outputs do not depend on it. */
function backward(c: VjpContext<RecurrenceAttrs>): readonly Tensor[] {
  const known = walked.get(c);
  if (known !== undefined) return known;
  const { inputs, outputs, dys, attrs } = c;
  const { step, reverse } = attrs;
  const { initial, scanned, fixed } = parts(step, inputs);
  const count = step.states.length;

  const [dStates, ...dOut] = [step.next.map(source), ...step.out.map((out) => [source(out)])];
  const collected = step.out.flatMap((out, k) =>
    dys[count + k] === undefined ? [] : [{ out, seed: dOut[k][0], dy: dys[count + k]! }],
  );
  const loss = [
    ...step.next.map((next, i) => sumAll(mul(next, dStates[i]))),
    ...collected.map(({ out, seed }) => sumAll(mul(out, seed))),
  ].reduce((a, b) => add(a, b));
  const given = sourcesOf(step);
  const wrt = given.filter(isFloat);
  const found = gradients(loss, wrt).wrt;
  const slope = new Map(wrt.map((tensor, i) => [tensor, found[i]]));

  const shared = step.fixed.filter((each) => slope.get(each) !== undefined);
  const sums = shared.map(source);
  const passed = step.scanned.filter((each) => slope.get(each) !== undefined);
  const back = stepOf({
    states: [...dStates, ...sums],
    scanned: [...step.states, ...step.scanned, ...collected.map(({ seed }) => seed)],
    fixed: step.fixed,
    next: [
      ...step.states.map((state) => slope.get(state) ?? zeros(state)),
      ...shared.map((each, j) => add(sums[j], slope.get(each)!)),
    ],
    out: passed.map((each) => slope.get(each)!),
  });
  const begin = step.states.map((state, i) => dys[i] ?? zeros(state));
  const before = initial.map((first, i) => shifted(first, outputs[count + i], reverse));
  const results = recurrenceOp(
    [...begin, ...shared.map(zeros), ...before, ...scanned, ...collected.map(({ dy }) => dy), ...fixed],
    { step: back, reverse: !reverse },
  );
  const gradientOf = new Map<Tensor, Tensor>([
    ...step.states.map((state, i) => [state, results[i]] as const),
    ...shared.map((each, j) => [each, results[count + j]] as const),
    ...passed.map((each, k) => [each, results[count + shared.length + k]] as const),
  ]);
  const all = given.map((each, i) => gradientOf.get(each) ?? zeros(inputs[i]));
  walked.set(c, all);
  return all;
}

/** The state before each step, from the states after it (`all`, the first of what is collected). */
function shifted(first: Tensor, all: Tensor, reverse: boolean): Tensor {
  const [length] = all.shape;
  const start = reshape(first, [1, ...first.shape]);
  return reverse
    ? concat([slice(all, 0, 1, length), start], 0)
    : concat([start, slice(all, 0, 0, addDim(length, -1))], 0);
}

export interface Recurrence {
  /** f32, the states before the first step. */
  readonly initial: readonly Tensor[];
  /** What differs between steps, along the first axis. */
  readonly scanned: readonly Tensor[];
  /** What all steps share. */
  readonly fixed: readonly Tensor[];
}

/**
 * The states after each step, stacked along a new first axis. A step sees nothing but what it is given: weights and all
 * else that it reads stand in `fixed`.
 */
export function recurrence(
  { initial, scanned, fixed }: Recurrence,
  step: (
    states: readonly Tensor[],
    entries: readonly Tensor[],
    fixed: readonly Tensor[],
  ) => readonly Tensor[],
): readonly Tensor[] {
  const own = {
    states: initial.map(source),
    scanned: scanned.map((each) => source(entryOf(each))),
    fixed: fixed.map(source),
  };
  const next = step(own.states, own.scanned, own.fixed);
  return recurrenceOp([...initial, ...scanned, ...fixed], {
    step: stepOf({ ...own, next, out: next }),
    reverse: false,
  }).slice(initial.length);
}
