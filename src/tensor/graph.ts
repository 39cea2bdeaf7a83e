import { dimKey, sameShape, showShape } from "./dims.ts";
import { makeNode, type Node, type Tensor, topological } from "./tensor.ts";

/** What is compiled: named inputs and outputs; everything between is reached from the outputs. */
export interface Graph {
  readonly inputs: readonly { readonly name: string; readonly tensor: Tensor }[];
  readonly outputs: readonly { readonly name: string; readonly tensor: Tensor }[];
  /**
   * Outputs in the order in which they should be computed, after all others. The runtime visits leaves from the end
   * of the file, so they are written last, in reverse: this decides when a parameter's gradient is computed and with
   * it how long activations live.
   */
  readonly late: readonly string[];
}

/** Maps a graph node by node, inputs first; `replace` may return other outputs for a node. */
export function rewrite(
  outputs: readonly Tensor[],
  replace: (node: Node, inputs: readonly Tensor[]) => readonly Tensor[] | undefined,
): Tensor[] {
  const image = new Map<Tensor, Tensor>();
  for (const node of topological(outputs)) {
    const inputs = node.inputs.map((input) => image.get(input)!);
    const replaced =
      replace(node, inputs) ??
      (inputs.every((input, i) => input === node.inputs[i])
        ? node.outputs
        : makeNode(node.op, inputs, node.attrs, node.region).outputs);
    for (const [i, output] of node.outputs.entries()) image.set(output, replaced[i]);
  }
  return outputs.map((output) => image.get(output)!);
}

/** The same graph with other tensors behind its output names. */
export function withOutputs(graph: Graph, tensors: readonly Tensor[]): Graph {
  return { ...graph, outputs: graph.outputs.map(({ name }, i) => ({ name, tensor: tensors[i] })) };
}

/**
 * Checks that a graph is legal: every node infers to the types it carries, sources are the declared inputs, names are
 * unique, late outputs exist. Runs between passes; a fault here is ours, never the user's.
 */
export function verify(graph: Graph, after: string): Graph {
  const fault = (what: string): never => {
    throw new Error(`after ${after}: ${what}`);
  };
  const names = [...graph.inputs, ...graph.outputs].map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) fault(`the name '${twice}' stands twice`);
  const sources = new Set(graph.inputs.map(({ tensor }) => tensor.node));
  for (const name of graph.late)
    if (!graph.outputs.some((output) => output.name === name)) fault(`late output '${name}' does not exist`);
  const available = new Set<Tensor>();
  for (const node of topological(graph.outputs.map(({ tensor }) => tensor))) {
    if (node.op.traits.source && !sources.has(node))
      fault(`input '${(node.attrs as { name?: string }).name}' is not declared`);
    for (const input of node.inputs)
      if (!available.has(input)) fault(`${node.op.name} uses a tensor its producer does not list`);
    const types = node.op.infer(node.inputs, node.attrs);
    if (types.length !== node.outputs.length) fault(`${node.op.name} has ${node.outputs.length} outputs`);
    for (const [i, { shape, dtype }] of types.entries()) {
      const output = node.outputs[i];
      if (!sameShape(shape, output.shape) || dtype !== output.dtype)
        fault(
          `${node.op.name} infers ${showShape(shape)} ${dtype} but carries ${showShape(output.shape)} ${output.dtype}`,
        );
      available.add(output);
    }
  }
  return graph;
}

/** A listing of a graph, one node a line: `%7 = matMul(%3, layers.0.weight) [batch, frames, 768] f32 {...}`. */
export function print(graph: Graph): string {
  const names = new Map(graph.inputs.map(({ name, tensor }) => [tensor, name]));
  const lines = graph.inputs.map(
    ({ name, tensor }) => `input ${name} ${showShape(tensor.shape)} ${tensor.dtype}`,
  );
  let count = 0;
  for (const node of topological(graph.outputs.map(({ tensor }) => tensor))) {
    if (node.op.traits.source) continue;
    for (const output of node.outputs) names.set(output, `%${count++}`);
    const attrs = JSON.stringify(node.attrs, (_, value) => {
      if (value !== null && typeof value === "object" && "terms" in value) return dimKey(value);
      if (!ArrayBuffer.isView(value)) return value;
      const items = value as unknown as ArrayLike<number> & { length: number };
      return items.length > 4 ? `${items.length} values` : Array.from(items);
    });
    const types = node.outputs.map(({ shape, dtype }) => `${showShape(shape)} ${dtype}`).join(", ");
    const where = node.region ? ` in ${node.region.name}` : "";
    lines.push(
      `${node.outputs.map((output) => names.get(output)).join(", ")} = ${node.op.name}` +
        `(${node.inputs.map((input) => names.get(input)).join(", ")}) ${types}${attrs === "{}" ? "" : ` ${attrs}`}${where}`,
    );
  }
  for (const { name, tensor } of graph.outputs) lines.push(`output ${name} = ${names.get(tensor)}`);
  return lines.join("\n");
}
