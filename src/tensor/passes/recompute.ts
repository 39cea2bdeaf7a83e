import { type Graph, rewrite, withOutputs } from "../graph.ts";
import { makeNode, type Node, type Region, type Tensor, topological } from "../tensor.ts";

/** Makes `x` wait for `other` without changing it, so that a runtime cannot compute it earlier. */
export type After = (x: Tensor, other: Tensor) => Tensor;

export interface Recomputation {
  /** Tensors of the forward pass: the loss and everything else that is not a gradient. */
  readonly forward: readonly Tensor[];
  readonly gradientOf: ReadonlyMap<Tensor, Tensor>;
  /** Which regions' inner values are computed again in the backward pass. */
  readonly chosen: (region: Region) => boolean;
}

/**
 * Trades time for memory: inside each chosen region, values that the backward pass reads are computed again from the
 * region's inputs instead of being kept. Each clone waits for the gradient that enters the region; without that
 * dependency ONNX Runtime's common-subexpression pass would merge it with the original and nothing would be saved.
 */
export function recompute(graph: Graph, { forward, gradientOf, chosen }: Recomputation, after: After): Graph {
  const isForward = new Set(topological(forward));
  const inside = new Map<Region, Node[]>();
  const usedOutside = new Set<Tensor>(forward);
  for (const node of isForward) {
    if (node.region && chosen(node.region)) {
      const nodes = inside.get(node.region) ?? [];
      nodes.push(node);
      inside.set(node.region, nodes);
    }
    for (const input of node.inputs) if (input.node.region !== node.region) usedOutside.add(input);
  }

  const clones = new Map<Tensor, Tensor>();
  const cloneOf = (tensor: Tensor, entering: Tensor, region: Region): Tensor => {
    const known = clones.get(tensor);
    if (known !== undefined) return known;
    const { node } = tensor;
    if (node.region !== region || !isForward.has(node) || node.op.traits.source) {
      // Coming in from outside: kept, but made to wait. Constants need no waiting.
      return node.op.traits.constant ? tensor : anchored(tensor, entering, region);
    }
    if (node.op.traits.constant) return tensor;
    const inputs = node.inputs.map((input) => cloneOf(input, entering, region));
    const clone = makeNode(node.op, inputs, node.attrs);
    for (const [i, output] of node.outputs.entries()) clones.set(output, clone.outputs[i]);
    return clones.get(tensor)!;
  };
  const anchors = new Map<Region, Map<Tensor, Tensor>>();
  const anchored = (tensor: Tensor, entering: Tensor, region: Region): Tensor => {
    const known = anchors.get(region) ?? new Map<Tensor, Tensor>();
    anchors.set(region, known);
    const made = known.get(tensor) ?? (isAnchor(tensor) ? after(tensor, entering) : tensor);
    known.set(tensor, made);
    return made;
  };
  // Parameters and hyper-parameters are inputs: they are there anyway, but a value computed from inputs alone
  // would still be merged with its original, so inputs wait too, unless they are weights (whole matrices).
  const isAnchor = (tensor: Tensor) =>
    !(
      tensor.node.op.traits.source &&
      tensor.shape.every((d) => typeof d === "number") &&
      tensor.shape.length > 0
    );

  const entering = new Map<Region, Tensor>();
  for (const [region, nodes] of inside) {
    const outputs = nodes.flatMap((node) => node.outputs.filter((output) => usedOutside.has(output)));
    const gradient = outputs.map((output) => gradientOf.get(output)).find((g) => g !== undefined);
    if (gradient !== undefined) entering.set(region, gradient);
  }

  const outputs = rewrite(
    graph.outputs.map(({ tensor }) => tensor),
    (node, inputs) => {
      if (isForward.has(node)) return undefined;
      let changed = false;
      const replaced = node.inputs.map((input, i) => {
        const { region } = input.node;
        if (!region || !isForward.has(input.node) || usedOutside.has(input)) return inputs[i];
        const gradient = entering.get(region);
        if (gradient === undefined) return inputs[i];
        changed = true;
        return cloneOf(input, gradient, region);
      });
      return changed ? makeNode(node.op, replaced, node.attrs, node.region).outputs : undefined;
    },
  );
  return withOutputs(graph, outputs);
}
