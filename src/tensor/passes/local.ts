import { bindDim, type Dim, product } from "../dims.ts";
import { ndarray } from "../evaluate.ts";
import { type Graph, rewrite, withOutputs } from "../graph.ts";
import {
  attrsKey,
  type DType,
  makeNode,
  type NdArray,
  type Node,
  type Tensor,
  topological,
} from "../tensor.ts";

/** Makes a constant; handed in by ops, which the compiler does not import. */
export type MakeConstant = (shape: readonly number[], values: ArrayLike<number>, dtype: DType) => Tensor;

const tensorsOf = (graph: Graph) => graph.outputs.map(({ tensor }) => tensor);

/** Equal operations on equal inputs become one. Sources are never merged. */
export function shareCommon(graph: Graph): Graph {
  const known = new Map<string, readonly Tensor[]>();
  const outputs = rewrite(tensorsOf(graph), (node, inputs) => {
    if (node.op.traits.source) return undefined;
    const key = `${node.op.name}(${inputs.map(({ id }) => id)})${attrsKey(node.attrs)}`;
    const same = known.get(key);
    if (same !== undefined) return same;
    const made = inputs.every((input, i) => input === node.inputs[i])
      ? node.outputs
      : makeNode(node.op, inputs, node.attrs, node.region).outputs;
    known.set(key, made);
    return made;
  });
  return withOutputs(graph, outputs);
}

/** Operations of one kind on equal inputs become one with the outputs of all, where the operation allows it (`perOutput`). */
export function joinAlike(graph: Graph): Graph {
  const tensors = tensorsOf(graph);
  const alike = new Map<string, Node[]>();
  const keyOf = ({ op, inputs, attrs }: Node): string =>
    `${op.name}(${inputs.map(({ id }) => id)})${attrsKey({ ...attrs, [op.perOutput!]: [] })}`;
  for (const node of topological(tensors)) {
    if (node.op.perOutput === undefined) continue;
    const key = keyOf(node);
    alike.set(key, [...(alike.get(key) ?? []), node]);
  }
  const joined = new Map<Node, readonly Tensor[]>();
  const outputs = rewrite(tensors, (node, inputs) => {
    const { op, attrs } = node;
    if (op.perOutput === undefined) return undefined;
    const nodes = alike.get(keyOf(node))!;
    if (nodes.length > 1 && !joined.has(node)) {
      const lists = nodes.map((each) => (each.attrs as Record<string, unknown[]>)[op.perOutput!]);
      const all = [...makeNode(op, inputs, { ...attrs, [op.perOutput]: lists.flat() }).outputs];
      for (const [i, each] of nodes.entries()) joined.set(each, all.splice(0, lists[i].length));
    }
    return joined.get(node);
  });
  return withOutputs(graph, outputs);
}

/** Largest constant that folding may make: beyond it the file would grow more than the run would gain. */
const FOLD_LIMIT = 65_536;

/** Operations whose inputs are all constants are computed now, in float64. */
export function foldConstants(graph: Graph, constant: MakeConstant): Graph {
  const outputs = rewrite(tensorsOf(graph), (node, inputs) => {
    const { traits } = node.op;
    if (traits.source || traits.constant || inputs.length === 0) return undefined;
    if (!inputs.every((input) => input.node.op.traits.constant)) return undefined;
    if (
      node.outputs.some(
        ({ shape }) => typeof product(shape) !== "number" || (product(shape) as number) > FOLD_LIMIT,
      )
    )
      return undefined;
    const none = new Map<string, number>();
    let results: readonly NdArray[];
    try {
      results = node.op.reference(
        inputs.map((input) => constantValue(input)),
        node.attrs,
        (dim: Dim) => bindDim(dim, none),
      );
    } catch {
      // An attribute refers to a symbolic axis: it has no value before the graph runs.
      return undefined;
    }
    return results.map((result, i) => constant(result.shape, result.data, node.outputs[i].dtype));
  });
  return withOutputs(graph, outputs);
}

function constantValue(tensor: Tensor): NdArray {
  const { values } = tensor.node.attrs as { values: ArrayLike<number> };
  return ndarray(tensor.shape as readonly number[], values);
}

/** Asks every operation for an equal, cheaper form (a transposed operand taken into a product, x * 1, ...). */
export function simplify(graph: Graph): Graph {
  const outputs = rewrite(tensorsOf(graph), (node, inputs) => {
    const better = node.op.simplify?.(inputs, node.attrs);
    return better === undefined ? undefined : [better];
  });
  return withOutputs(graph, outputs);
}

/** Operations that are written with other operations give way to them. */
export function lower(graph: Graph): Graph {
  const expand = (tensors: readonly Tensor[]): Tensor[] =>
    rewrite(tensors, (node, inputs) => {
      if (typeof node.op.emit === "function") return undefined;
      return expandOnce(node.op.emit.lower(inputs, node.attrs), inputs);
    });
  // A lowering may use lowered operations itself; its inputs are lowered already.
  const expandOnce = (tensors: readonly Tensor[], inputs: readonly Tensor[]): readonly Tensor[] =>
    topological(tensors).some(({ op }) => typeof op.emit !== "function") && inputs.length > 0
      ? expand(tensors)
      : tensors;
  return withOutputs(graph, expand(tensorsOf(graph)));
}
