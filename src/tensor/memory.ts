import { bindDim } from "./dims.ts";
import type { Graph } from "./graph.ts";
import { type Node, type Tensor, topological } from "./tensor.ts";

const BYTES = { f32: 4, f16: 2, i32: 4, u32: 4, i64: 8, bool: 1 } as const;

/**
 * Bytes that the values of a graph hold at the worst moment of a run, without its inputs, constants and the outputs that
 * are written in place: what a runtime needs beside the weights. The order is ONNX Runtime's (from the file's last leaf
 * backwards, the inputs that were written last first); a value is freed after its last use; an elementwise node writes over
 * an input that dies there, and a change of shape is no copy.
 * @param sizes the symbolic axes, by name
 * @param inPlace outputs that have a place already, by name
 */
export function peakBytes(
  graph: Graph,
  sizes: ReadonlyMap<string, number>,
  inPlace: ReadonlySet<string> = new Set(),
): number {
  const order = runtimeOrder(graph);
  const bytesOf = ({ shape, dtype }: Tensor) =>
    shape.reduce<number>((total, dim) => total * bindDim(dim, sizes), BYTES[dtype]);
  const home = new Map<Tensor, Tensor>();
  const homeOf = (tensor: Tensor): Tensor => home.get(tensor) ?? tensor;
  for (const { op, inputs, outputs } of order) if (op.traits.view) home.set(outputs[0], homeOf(inputs[0]));

  const given = new Set(graph.outputs.filter(({ name }) => inPlace.has(name)).map(({ tensor }) => tensor));
  const uses = new Map<Tensor, number>();
  const use = (tensor: Tensor) => uses.set(homeOf(tensor), (uses.get(homeOf(tensor)) ?? 0) + 1);
  for (const { inputs } of order) for (const input of inputs) use(input);
  for (const { tensor } of graph.outputs) use(tensor);

  const held = new Map<Tensor, number>();
  let [now, most] = [0, 0];
  for (const { op, inputs, outputs } of order) {
    if (op.traits.source || op.traits.constant) continue;
    const dying = inputs.filter((input) => uses.get(homeOf(input)) === 1 && held.has(homeOf(input)));
    for (const output of outputs) {
      if (homeOf(output) !== output || given.has(output)) continue;
      const size = bytesOf(output);
      const over = op.traits.elementwise
        ? dying.find((input) => held.get(homeOf(input)) === size)
        : undefined;
      if (over !== undefined) {
        held.delete(homeOf(over));
        now -= size;
      }
      held.set(output, size);
      now += size;
    }
    most = Math.max(most, now);
    for (const input of inputs) {
      const place = homeOf(input);
      const left = uses.get(place)! - 1;
      uses.set(place, left);
      if (left > 0) continue;
      now -= held.get(place) ?? 0;
      held.delete(place);
    }
  }
  return most;
}

/** The nodes in the order in which ONNX Runtime executes the file that is written of the graph. */
function runtimeOrder(graph: Graph): Node[] {
  const written = topological(graph.outputs.map(({ tensor }) => tensor));
  const place = new Map(written.map((node, i) => [node, i]));
  const read = new Set(written.flatMap(({ inputs }) => inputs.map(({ node }) => node)));
  const late = new Set(
    graph.outputs.filter(({ name }) => graph.late.includes(name)).map(({ tensor }) => tensor.node),
  );
  const leaves = written.filter((node) => !read.has(node));
  const stack = [
    ...leaves.filter((node) => !late.has(node)),
    ...leaves.filter((node) => late.has(node)).reverse(),
  ].map((node) => ({ node, done: false }));
  const seen = new Set<Node>();
  const order: Node[] = [];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { node, done } = top;
    if (done) {
      order.push(node);
      continue;
    }
    if (seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, done: true });
    const before = [...new Set(node.inputs.map((input) => input.node))].sort(
      (a, b) => place.get(a)! - place.get(b)!,
    );
    for (const input of before) stack.push({ node: input, done: false });
  }
  return order;
}
