import { type Graph, withOutputs } from "../graph.ts";
import { makeNode, type Node, type Region, type Tensor, topological } from "../tensor.ts";

/** Makes `x` wait for `other` without changing it, so that a runtime cannot compute it earlier. */
export type After = (x: Tensor, other: Tensor) => Tensor;

export interface Recomputation {
  /** Tensors of the forward pass: the loss and everything else that is not a gradient. */
  readonly forward: readonly Tensor[];
  readonly gradientOf: ReadonlyMap<Tensor, Tensor>;
  /** Which regions' inner values are computed again in the backward pass. */
  readonly chosen: (region: Region) => boolean;
  /** Keep matrix products and convolutions, compute only the rest again: half the saving for a tenth of the time. */
  readonly keepProducts?: boolean;
}

/**
 * Trades time for memory: inside each chosen region, values that the backward pass reads are computed again from the
 * region's inputs instead of being kept. Each clone waits for the gradient that enters the region; without that
 * dependency ONNX Runtime's common-subexpression pass would merge it with the original and nothing would be saved.
 */
export function recompute(graph: Graph, options: Recomputation, after: After): Graph {
  const { forward, gradientOf, chosen, keepProducts = false } = options;
  const isForward = new Set(topological(forward));
  const inner = new Map<Region, Node[]>();
  const kept = new Set<Tensor>(forward);
  for (const node of isForward) {
    const { region } = node;
    if (region && chosen(region)) inner.set(region, [...(inner.get(region) ?? []), node]);
    for (const input of node.inputs) if (input.node.region !== region) kept.add(input);
    if (keepProducts && node.op.traits.product) for (const output of node.outputs) kept.add(output);
  }
  const entering = new Map<Region, Tensor>();
  for (const [region, nodes] of inner) {
    const outputs = nodes.flatMap((node) => node.outputs.filter((output) => kept.has(output)));
    // The last one: it is nearest to the loss, so its gradient is there first.
    const gradient = outputs.map((output) => gradientOf.get(output)).findLast((g) => g !== undefined);
    if (gradient !== undefined) entering.set(region, gradient);
  }

  // Tensors of the backward pass as they become; what is not in it stays as it is.
  const image = new Map<Tensor, Tensor>();
  const imageOf = (tensor: Tensor): Tensor => image.get(tensor) ?? tensor;
  const isInner = (tensor: Tensor, region: Region): boolean =>
    tensor.node.region === region && isForward.has(tensor.node) && !kept.has(tensor) && !isAtHand(tensor);
  // What waits for the gradient: anchors, and clones that read any.
  const waiting = new Set<Tensor>();
  const anchors = new Map<string, Tensor>();
  const anchorOf = (tensor: Tensor, region: Region): Tensor => {
    const key = `${region.name} ${tensor.id}`;
    const anchor = anchors.get(key) ?? after(tensor, imageOf(entering.get(region)!));
    anchors.set(key, anchor);
    waiting.add(anchor);
    return anchor;
  };
  const clones = new Map<Tensor, Tensor>();
  const cloneOf = (tensor: Tensor, region: Region): Tensor => {
    const known = clones.get(tensor);
    if (known !== undefined) return known;
    const { node } = tensor;
    const inputs = node.inputs.map((input) => (isInner(input, region) ? cloneOf(input, region) : input));
    // One input that waits is enough; what is made of parameters alone does not.
    if (!inputs.some((input) => waiting.has(input))) {
      const first = inputs.findIndex((input, i) => input === node.inputs[i] && !isAtHand(input));
      if (first >= 0) inputs[first] = anchorOf(inputs[first], region);
    }
    const clone = makeNode(node.op, inputs, node.attrs);
    const waits = inputs.some((input) => waiting.has(input));
    for (const [i, output] of node.outputs.entries()) {
      clones.set(output, clone.outputs[i]);
      if (waits) waiting.add(clone.outputs[i]);
    }
    return clones.get(tensor)!;
  };

  const tensors = graph.outputs.map(({ tensor }) => tensor);
  // In order of creation: the gradient that enters a region was made before anything that reads the region's values.
  for (const node of topological(tensors).sort((a, b) => a.id - b.id)) {
    if (isForward.has(node)) continue;
    const inputs = node.inputs.map((input) => {
      const { region } = input.node;
      const again = region !== undefined && entering.has(region) && isInner(input, region);
      return again ? cloneOf(input, region) : imageOf(input);
    });
    if (inputs.every((input, i) => input === node.inputs[i])) continue;
    const made = makeNode(node.op, inputs, node.attrs, node.region);
    for (const [i, output] of node.outputs.entries()) image.set(output, made.outputs[i]);
  }
  return withOutputs(graph, tensors.map(imageOf));
}

/**
 * Constants and parameters are there anyway and need no waiting. Other inputs do: what is computed from inputs alone
 * (random draws from their seed) would otherwise be merged with its original.
 */
const isAtHand = ({ node, shape }: Tensor): boolean =>
  node.op.traits.constant === true ||
  (node.op.traits.source === true && shape.length > 0 && shape.every((dim) => typeof dim === "number"));
