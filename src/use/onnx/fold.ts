import * as ops from "../../ops/index.ts";
import { compile } from "../../runtime/cpu.ts";
import type { Value } from "../../runtime/program.ts";
import { type Graph, rewrite } from "../../tensor/graph.ts";
import { type Node, type Tensor, topological } from "../../tensor/tensor.ts";

/** A graph whose parameters are what is left to store, and their values. */
export interface Folded {
  readonly graph: Graph;
  readonly values: ReadonlyMap<string, Value>;
}

/**
 * Computes what depends on parameters alone (weight norm, masks, adapters: whatever a plan makes of a weight) once and for
 * all: the results become the parameters. Parameters that nothing needs any more are left out.
 */
export async function foldParameters(
  graph: Graph,
  parameters: Readonly<Record<string, Value>>,
): Promise<Folded> {
  const outputs = graph.outputs.map(({ tensor }) => tensor);
  const nodes = topological(outputs);
  const known = new Set<Node>();
  for (const node of nodes) if (isKnown(node, known, parameters)) known.add(node);
  const frontier = new Set<Tensor>();
  const leave = (tensor: Tensor) => {
    if (known.has(tensor.node) && dependsOnParameter(tensor) && tensor.dtype === "f32") frontier.add(tensor);
  };
  for (const node of nodes) if (!known.has(node)) node.inputs.forEach(leave);
  outputs.forEach(leave);

  const taken = new Set(graph.inputs.map(({ name }) => name));
  const names = new Map([...frontier].map((tensor) => [tensor, nameOf(tensor, taken)]));
  const computed = await compute(graph, names, parameters);
  const inputs = new Map(
    [...names].map(([tensor, name]) => [tensor, ops.input(name, tensor.shape, tensor.dtype)]),
  );
  const replaced = rewrite(outputs, (node) =>
    node.outputs.some((output) => inputs.has(output))
      ? node.outputs.map((output) => inputs.get(output) ?? output)
      : undefined,
  );
  const used = new Set(topological(replaced));
  const kept = [
    ...graph.inputs,
    ...[...inputs.values()].map((tensor, i) => ({ name: [...names.values()][i], tensor })),
  ].filter(({ tensor, name }) => used.has(tensor.node) || !(name in parameters || computed.has(name)));
  const values = new Map<string, Value>();
  for (const { name } of kept) {
    const value = computed.get(name) ?? parameters[name];
    if (value !== undefined) values.set(name, value);
  }
  return {
    graph: {
      inputs: kept,
      outputs: graph.outputs.map(({ name }, i) => ({ name, tensor: replaced[i] })),
      late: graph.late,
    },
    values,
  };
}

/** Whether a node's outputs are the same in every run: made of parameters and constants, with no size left open. */
function isKnown(node: Node, known: ReadonlySet<Node>, parameters: Readonly<Record<string, Value>>): boolean {
  if (node.op.traits.source) return (node.attrs as { name: string }).name in parameters;
  if (node.op.traits.constant) return true;
  if (node.inputs.length === 0 || !node.inputs.every((input) => known.has(input.node))) return false;
  return !hasOpenSize(node.attrs) && node.outputs.every(({ shape }) => !hasOpenSize(shape));
}

/** Whether a symbolic size stands anywhere in some attributes. */
function hasOpenSize(value: unknown): boolean {
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return false;
  return "terms" in value || Object.values(value).some(hasOpenSize);
}

/** Not a parameter as it is, and not a constant. */
function dependsOnParameter({ node }: Tensor): boolean {
  if (node.op.traits.source || node.op.traits.constant) return false;
  return topological(node.inputs).some(({ op }) => op.traits.source);
}

/** The parameters' common path: `...conv.parametrizations.weight.original0` and `1` make `...conv.weight`. */
function nameOf(tensor: Tensor, taken: Set<string>): string {
  const names = topological([tensor])
    .filter(({ op }) => op.traits.source)
    .map(({ attrs }) => (attrs as { name: string }).name.split("."));
  const shared = names[0].filter((part, i) => names.every((name) => name[i] === part)).join(".");
  const base = shared.replace(/(^|\.)parametrizations\./, "$1") || "folded";
  let name = base;
  for (let i = 1; taken.has(name); i++) name = `${base}.${i}`;
  taken.add(name);
  return name;
}

async function compute(
  graph: Graph,
  names: ReadonlyMap<Tensor, string>,
  parameters: Readonly<Record<string, Value>>,
): Promise<Map<string, Value>> {
  if (names.size === 0) return new Map();
  const needed = new Set(topological([...names.keys()]));
  const inputs = graph.inputs.filter(({ tensor }) => needed.has(tensor.node));
  const outputs = [...names].map(([tensor, name]) => ({ name: `folded.${name}`, tensor }));
  const program = await compile({ inputs, outputs, late: [] }, { threads: 1 });
  try {
    const results = await program.run(
      Object.fromEntries(inputs.map(({ name }) => [name, parameters[name]] as const)),
    );
    return new Map([...names.values()].map((name) => [name, results[`folded.${name}`]]));
  } finally {
    await program.dispose();
  }
}
