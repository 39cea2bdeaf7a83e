/**
 * Breaks every gradient rule on purpose, one way at a time, and demands that the gradient check notices:
 *
 *     npm run mutate             # all operations
 *     npm run mutate -- conv     # those whose name contains "conv"
 *
 * Prints one row per rule; exits with 1 where a broken rule passes the check. Nothing on disk is changed.
 */
import { pathToFileURL } from "node:url";
import * as ops from "../src/ops/index.ts";
import { optimise } from "../src/tensor/compile.ts";
import { operations } from "../src/tensor/define.ts";
import { sameShape } from "../src/tensor/dims.ts";
import { print, rewrite } from "../src/tensor/graph.ts";
import {
  type Op,
  type Sample,
  type Tensor,
  topological,
  type Vjp,
  type VjpContext,
} from "../src/tensor/tensor.ts";
import { differentiate, GRADIENT_BAR, gradientChecks, isDifferentiable } from "../test/ops/check.ts";

type Rule = (context: VjpContext) => Tensor;

/** A way to break a rule, or several of a kind; none where the rule at hand gives no way. */
interface Mutation {
  readonly name: string;
  broken(rule: Rule, place: Place): readonly Rule[];
}
interface Place {
  readonly op: Op;
  /** Rules of the operation's other inputs. */
  readonly others: readonly Rule[];
  /** The largest value that `measure` has over the operation's samples. */
  readonly probe: (measure: (context: VjpContext) => number) => number;
}

/** Steps without which a rule is as right as before. */
const EQUIVALENT = [
  {
    op: "ctcLoss",
    step: "logSoftmax(input)",
    why: "a constant added to all emissions of a frame leaves the probability of each state as it is",
  },
  {
    op: "ctcLoss",
    step: "where(less, exp, constant)",
    why: "frames of padding are masked once more at the end; this one keeps infinities out of the product",
  },
];

/** One draw may hide a fault: a negative scalar says nothing of relu's slope. */
const SEEDS = [2, 3, 4, 5, 6];

export const MUTATIONS: readonly Mutation[] = [
  { name: "sign", broken: (rule) => [(context) => ops.neg(rule(context))] },
  { name: "scale 1.1", broken: (rule) => [(context) => ops.mul(rule(context), 1.1)] },
  { name: "scale 0.999", broken: (rule) => [(context) => ops.mul(rule(context), 0.999)] },
  { name: "zero", broken: (rule) => [(context) => ops.mul(rule(context), 0)] },
  { name: "dy added", broken: (rule) => [(context) => withDy(rule(context), context)] },
  {
    name: "inputs swapped",
    broken: (rule) => [
      (context) => {
        const [a, b, ...rest] = context.inputs;
        if (b === undefined || !alike(a, b)) return rule(context);
        return rule({ ...context, inputs: [b, a, ...rest] });
      },
    ],
  },
  {
    name: "another input's rule",
    broken: (rule, { others }) =>
      others.map((other) => (context) => {
        const [dx, wrong] = [rule(context), other(context)];
        return alike(dx, wrong) ? wrong : dx;
      }),
  },
  {
    // Each step inside the rule in turn gives way to one of its own inputs: a term or a factor is forgotten.
    name: "step left out",
    broken: (rule, { op, probe }) => {
      const count = probe((context) => omissions(op, rule, context).steps.length);
      return Array.from({ length: count }, (_, k) => (context) => {
        const { dx, steps } = omissions(op, rule, context);
        const step = steps[k];
        if (step === undefined) return dx;
        return rewrite([dx], ({ id }, inputs) => (id === step.node ? [inputs[step.input]] : undefined))[0];
      });
    },
  },
];

const alike = (a: Tensor, b: Tensor) => a.dtype === b.dtype && sameShape(a.shape, b.shape);

/** Steps that a rule builds and the inputs that could stand in for them. */
function omissions({ name }: Op, rule: Rule, context: VjpContext) {
  const before = ops.scalar(0).id;
  const dx = rule(context);
  const steps: { node: number; input: number }[] = [];
  for (const { id, op, inputs, outputs } of topological([dx])) {
    const text = `${op.name}(${inputs.map(({ node }) => node.op.name).join(", ")})`;
    if (id > before && !EQUIVALENT.some((known) => known.op === name && known.step === text))
      for (const [input, tensor] of inputs.entries())
        if (outputs.length === 1 && tensor.dtype === "f32" && alike(tensor, outputs[0]))
          steps.push({ node: id, input });
  }
  return { dx, steps };
}
/** A hundredth of the incoming gradient too much, where its shape is that of the result. */
const withDy = (dx: Tensor, { dy }: VjpContext): Tensor =>
  alike(dx, dy) ? ops.add(dx, ops.mul(dy, 0.01)) : dx;

export interface Verdict {
  readonly op: string;
  readonly input: number;
  readonly mutation: string;
  /** "same" where this way of breaking changes nothing: a + b has one rule for both inputs. */
  readonly outcome: "noticed" | "SURVIVED" | "same";
}

/** Breaks each rule of an operation in each way. */
export function mutate(op: Op): Verdict[] {
  const { vjp } = op;
  const samples = op.samples.filter((sample) => isDifferentiable(op, sample));
  if ("nonDifferentiable" in vjp) return [];
  const inputs = "each" in vjp ? Math.max(0, ...samples.map((s) => s.inputs.length)) : vjp.length;
  const verdicts: Verdict[] = [];
  for (let input = 0; input < inputs; input++) {
    const rule = ruleOf(vjp, input);
    if (rule === undefined) continue;
    const others = Array.from({ length: inputs }, (_, i) =>
      i === input ? undefined : ruleOf(vjp, i),
    ).filter((other) => other !== undefined);
    const probe: Place["probe"] = (measure) => {
      let most = 0;
      const measured: Rule = (context) => {
        most = Math.max(most, measure(context));
        return rule(context);
      };
      for (const sample of samples) as(op, replaced(vjp, input, measured), () => differentiate(op, sample));
      return most;
    };
    for (const { name, broken } of MUTATIONS)
      for (const wrong of broken(rule, { op, others, probe })) {
        const outcome = judge(op, samples, replaced(vjp, input, wrong));
        verdicts.push({ op: op.name, input, mutation: name, outcome });
      }
  }
  return verdicts;
}

function ruleOf(vjp: Vjp, input: number): Rule | undefined {
  if ("nonDifferentiable" in vjp) return undefined;
  if ("each" in vjp) return (context) => vjp.each(context, input);
  const entry = vjp[input];
  return typeof entry === "function" ? entry : undefined;
}

function replaced(vjp: Vjp, input: number, broken: Rule): Vjp {
  if ("nonDifferentiable" in vjp) return vjp;
  if ("each" in vjp)
    return { each: (context, index) => (index === input ? broken(context) : vjp.each(context, index)) };
  return vjp.map((entry, i) => (i === input ? broken : entry));
}

/** Runs `body` while an operation has other rules. */
function as<T>(op: Op, rules: Vjp, body: () => T): T {
  const original = op.vjp;
  (op as { vjp: Vjp }).vjp = rules;
  try {
    return body();
  } finally {
    (op as { vjp: Vjp }).vjp = original;
  }
}

function judge(op: Op, samples: readonly Sample[], vjp: Vjp): Verdict["outcome"] {
  // Equal by construction, not by value: a rule that is wrong but agrees on the samples must not hide here.
  const changed = samples.filter(
    (sample) => as(op, vjp, () => gradientText(op, sample)) !== gradientText(op, sample),
  );
  if (changed.length === 0 && samples.length > 0) return "same";
  const noticed = changed.some((sample) =>
    SEEDS.some((seed) =>
      as(op, vjp, () => {
        try {
          return gradientChecks(op, sample, seed).some(({ error }) => !(error < GRADIENT_BAR));
        } catch {
          // A rule that no longer fits the shapes is noticed too.
          return true;
        }
      }),
    ),
  );
  return noticed ? "noticed" : "SURVIVED";
}

function gradientText(op: Op, sample: Sample): string {
  try {
    const { gradients, inputs, weights } = differentiate(op, sample);
    const graph = {
      inputs: [...inputs, weights].map((tensor, i) => ({ name: `x${i}`, tensor })),
      outputs: gradients.map((tensor, i) => ({ name: `dx${i}`, tensor })),
      late: [],
    };
    // Simplified: leaving out a reshape to the same shape is no fault.
    return print(optimise(graph, ops.constant));
  } catch (error) {
    return String(error);
  }
}

/** A rule a row, a mutation a column. */
export function table(verdicts: readonly Verdict[]): string {
  const rows = new Map<string, Map<string, Verdict["outcome"][]>>();
  for (const { op, input, mutation, outcome } of verdicts) {
    const key = `${op}, input ${input}`;
    const row = rows.get(key) ?? new Map<string, Verdict["outcome"][]>();
    row.set(mutation, [...(row.get(mutation) ?? []), outcome]);
    rows.set(key, row);
  }
  const columns = MUTATIONS.map(({ name }) => name);
  const wide = Math.max(...[...rows.keys()].map((key) => key.length), 4);
  const line = (first: string, cells: readonly string[]) =>
    [first.padEnd(wide), ...cells.map((cell, i) => cell.padEnd(Math.max(columns[i].length, 10)))]
      .join("  ")
      .trimEnd();
  const body = [...rows].map(([key, cells]) =>
    line(
      key,
      columns.map((column) => cell(cells.get(column) ?? [])),
    ),
  );
  return [line("rule", columns), ...body].join("\n");
}

function cell(outcomes: readonly Verdict["outcome"][]): string {
  const real = outcomes.filter((outcome) => outcome !== "same");
  const noticed = real.filter((outcome) => outcome === "noticed").length;
  if (noticed < real.length) return `SURVIVED ${real.length - noticed} of ${real.length}`;
  return real.length === 0 ? "-" : real.length === 1 ? "noticed" : `noticed ${noticed}`;
}

function main([part = ""]: string[]): number {
  const chosen = [...operations().values()].filter(({ name }) => name.includes(part));
  const verdicts = chosen.flatMap(mutate);
  console.log(table(verdicts));
  const count = (outcome: Verdict["outcome"]) => verdicts.filter((v) => v.outcome === outcome).length;
  const survivors = verdicts.filter((v) => v.outcome === "SURVIVED");
  console.log(
    `\n${count("noticed")} broken rules noticed, ${survivors.length} survived, ${count("same")} changed nothing`,
  );
  for (const { op, input, mutation } of survivors)
    console.log(`survived: ${op}, input ${input}, ${mutation}`);
  return survivors.length > 0 || verdicts.length === 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  process.exitCode = main(process.argv.slice(2));
