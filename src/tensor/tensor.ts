import { type Dim, dimKey, type Shape, showShape } from "./dims.ts";

/** What training needs on every target; narrower floats exist only at the edges: in files, and `f16` as inputs that are cast. */
export type DType = "f32" | "f16" | "i32" | "i64" | "u32" | "bool";
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}
export type Attributes = object;

/** A value in a graph that has not run yet: an output of a node, with its shape known (symbols allowed). */
export interface Tensor extends TensorType {
  readonly id: number;
  readonly node: Node;
  readonly index: number;
}

/** One application of an operation. Nodes never change; passes build new ones. */
export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attrs: Attributes;
  readonly outputs: readonly Tensor[];
  /** The innermost `region` it was traced in, if any: what recomputation can choose by. */
  readonly region: Region | undefined;
}

/** A named part of a model (a layer) whose inner values may be computed again instead of kept. */
export interface Region {
  readonly name: string;
}

/** The part of an operation that the compiler reads; `defineOp` (define.ts) gives it its typed face. */
export interface Op {
  readonly name: string;
  readonly doc: string;
  infer(inputs: readonly TensorType[], attrs: Attributes): readonly TensorType[];
  readonly emit:
    | ((e: Emit, inputs: readonly string[], attrs: Attributes, node: Node) => readonly string[])
    | { lower(inputs: readonly Tensor[], attrs: Attributes): readonly Tensor[] };
  readonly vjp: Vjp;
  readonly traits: Traits;
  reference(inputs: readonly NdArray[], attrs: Attributes, bind: (dim: Dim) => number): readonly NdArray[];
  readonly samples: readonly Sample[];
  simplify?(inputs: readonly Tensor[], attrs: Attributes): Tensor | undefined;
  readonly perOutput?: string;
}

export interface VjpContext<A = Attributes> {
  /** Gradient of the loss with respect to the first output. */
  readonly dy: Tensor;
  /** The same for every output; undefined where nothing downstream depends on it. */
  readonly dys: readonly (Tensor | undefined)[];
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
}
export type VjpEntry<A = Attributes> = (c: VjpContext<A>) => Tensor;
/**
 * One entry per input, written with other operations; `each` for operations with any number of inputs; or the reason
 * why there is none. An entry may have its input's shape before or after broadcasting: the reverse walk sums.
 */
export type Vjp<A = Attributes> =
  | readonly (VjpEntry<A> | { nonDifferentiable: string })[]
  | { each: (c: VjpContext<A>, index: number) => Tensor }
  | { nonDifferentiable: string };

export interface Traits {
  /** Output elements depend only on the input elements at the same (broadcast) place. */
  readonly elementwise?: boolean;
  /** Cheap next to reading its inputs: recomputed rather than kept when memory is short. */
  readonly cheap?: boolean;
  /** Many operations per element (matrix products, convolutions): worth keeping rather than computing again. */
  readonly product?: boolean;
  /** Only renames or moves elements. */
  readonly movement?: boolean;
  /** Its output is its first input under another shape: a runtime copies nothing. */
  readonly view?: boolean;
  /** No gradient passes it, on purpose: what lies behind it counts as fixed. */
  readonly stop?: boolean;
  /** Stands for something given from outside (a graph input): never folded, merged or recomputed. */
  readonly source?: boolean;
  /** The value itself is known while compiling. */
  readonly constant?: boolean;
  /** Its gradient rule is not its slope, by design: compared to other implementations, not to differences. */
  readonly surrogate?: boolean;
}

/** Arrays of the float64 reference interpreter; integers and booleans are kept as float64 too. */
export interface NdArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Inputs that the generated tests draw for an operation. */
export interface Sample<A = Attributes> {
  readonly inputs: readonly SampleInput[];
  readonly attrs: A;
  /** Values of symbolic axes in `inputs`. */
  readonly dims?: Readonly<Record<string, number>>;
  /** Largest |emitted - reference| / (1 + |reference|); default 1e-5. */
  readonly tolerance?: number;
  readonly why?: string;
}
export interface SampleInput {
  readonly shape: Shape;
  readonly dtype?: DType;
  /** Interval of uniform draws (integers included); default [-1, 1] for floats. */
  readonly range?: readonly [number, number];
  /** Exact values, where an operation wants particular ones. */
  readonly values?: readonly number[];
}

/** Where ONNX nodes are written; one per graph (onnx/write.ts). */
export interface Emit {
  /** Adds a node and returns the names of its outputs. */
  nodes(
    type: string,
    inputs: readonly string[],
    attrs?: OnnxAttributes,
    options?: { outputs?: number; domain?: string },
  ): string[];
  /** The same for one output. */
  node(
    type: string,
    inputs: readonly string[],
    attrs?: OnnxAttributes,
    options?: { domain?: string },
  ): string;
  constant(dtype: DType, shape: readonly number[], values: ArrayLike<number>): string;
  /** An int64 vector of the given sizes: a constant, or computed from the inputs' shapes. */
  sizes(dims: readonly Dim[]): string;
  /** A body for Scan: `body` receives the names of its inputs and returns the names of its outputs. */
  subgraph(
    name: string,
    inputs: readonly TensorType[],
    body: (e: Emit, inputs: string[]) => string[],
    outputs: readonly TensorType[],
  ): OnnxSubgraph;
  readonly target: EmitTarget;
}
export interface EmitTarget {
  /** May nodes of ONNX Runtime's own domain (com.microsoft) be used? */
  readonly contrib: boolean;
  /** The standard operator set to write for; default 21. */
  readonly opset?: number;
}
export interface OnnxSubgraph {
  readonly subgraph: unknown;
}
export type OnnxAttributes = Readonly<
  Record<
    string,
    number | string | readonly number[] | { float: number } | { floats: readonly number[] } | OnnxSubgraph
  >
>;

let nextId = 1;
const regions: (Region | undefined)[] = [];

/** Traces `body` as a named region. */
export const region = <T>(name: string, body: () => T): T => within({ name }, body);

/** Traces `body` as part of no region, for values that recomputation is to keep. */
export const outsideRegions = <T>(body: () => T): T => within(undefined, body);

function within<T>(entered: Region | undefined, body: () => T): T {
  regions.push(entered);
  try {
    return body();
  } finally {
    regions.pop();
  }
}

/** Applies an operation: infers, then makes the node. */
export function apply(op: Op, inputs: readonly Tensor[], attrs: Attributes): readonly Tensor[] {
  return makeNode(op, inputs, attrs, regions.at(-1)).outputs;
}

/** As `apply`, in a region of the caller's choice or in none. */
export function makeNode(op: Op, inputs: readonly Tensor[], attrs: Attributes, within?: Region): Node {
  const types = op.infer(inputs, attrs);
  const outputs: Tensor[] = [];
  const node: Node = { id: nextId++, op, inputs, attrs, outputs, region: within };
  for (const [index, type] of types.entries())
    outputs.push({ id: nextId++, node, index, shape: type.shape, dtype: type.dtype });
  return node;
}

/** "mul: a [2, 3] f32, b [4] f32": what every inference error names. */
export function describe(op: string, inputs: readonly TensorType[], names: readonly string[]): string {
  const parts = inputs.map((t, i) => `${names[i] ?? `input ${i}`} ${showShape(t.shape)} ${t.dtype}`);
  return `${op}: ${parts.join(", ")}`;
}

/** A name for attributes that is equal exactly when they are; typed arrays count by content. */
export function attrsKey(attrs: unknown): string {
  return JSON.stringify(attrs, (_, value) => {
    if (value !== null && typeof value === "object" && "terms" in value && "key" in value)
      return dimKey(value as Dim);
    if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>, String);
    return value;
  });
}

/** Every node that the given tensors depend on, inputs before users. */
export function topological(outputs: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // An explicit stack: graphs are deeper than the call stack.
  const stack: { node: Node; next: number }[] = [];
  const visit = (node: Node) => {
    if (seen.has(node)) return;
    seen.add(node);
    stack.push({ node, next: 0 });
  };
  for (const output of outputs) {
    visit(output.node);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.inputs.length) visit(top.node.inputs[top.next++].node);
      else order.push(stack.pop()!.node);
    }
  }
  return order;
}
