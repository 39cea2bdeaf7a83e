import type { Dim } from "./dims.ts";
import {
  type Attributes,
  apply,
  type Emit,
  type NdArray,
  type Node,
  type Op,
  type Sample,
  type Tensor,
  type TensorType,
  type Traits,
  type Vjp,
} from "./tensor.ts";

/** Everything about one operation, in the order a reader wants it. All of it is required: see docs/architecture.md. */
export interface OpDefinition<A extends Attributes> {
  readonly name: string;
  /** One sentence with the formula. */
  readonly doc: string;
  /** Shapes and dtypes of the outputs; throws an Error that names the operation, the argument and both shapes. */
  infer(inputs: readonly TensorType[], attrs: A): readonly TensorType[];
  /**
   * ONNX nodes for a target; returns the names of the outputs. Or `lower`: the same value written with other
   * operations, for operations that exist for the sake of their gradient rule.
   */
  readonly emit:
    | ((e: Emit, inputs: readonly string[], attrs: A, node: Node) => readonly string[])
    | Lowering<A>;
  readonly vjp: Vjp<A>;
  readonly traits: Traits;
  /** The plainest float64 loop: what tests hold the emitted graph and the gradient against. */
  reference(inputs: readonly NdArray[], attrs: A, bind: (dim: Dim) => number): readonly NdArray[];
  readonly samples: readonly Sample<A>[];
  /** An equal, cheaper expression where the inputs allow one: what the fusion pass asks. */
  simplify?(inputs: readonly Tensor[], attrs: A): Tensor | undefined;
  /** The list among the attributes that has one entry for each output: nodes that differ only in it become one. */
  readonly perOutput?: keyof A & string;
}

export interface Lowering<A extends Attributes> {
  lower(inputs: readonly Tensor[], attrs: A): readonly Tensor[];
}

/** An operation: applied by `op(inputs, attrs)`, and its whole story as properties. */
export interface OpFunction<A extends Attributes> extends Op {
  (inputs: readonly Tensor[], attrs: A): readonly Tensor[];
}

const registry = new Map<string, Op>();

/** Every operation defined so far, by name: the source of the generated tests and of docs/ops.md. */
export const operations = (): ReadonlyMap<string, Op> => registry;

export function defineOp<A extends Attributes>(definition: OpDefinition<A>): OpFunction<A> {
  if (registry.has(definition.name)) throw new Error(`operation '${definition.name}' is defined twice`);
  const op = ((inputs: readonly Tensor[], attrs: A) => apply(op, inputs, attrs)) as OpFunction<A>;
  // A function's own `name` is read-only: it has to be replaced, not assigned.
  Object.defineProperty(op, "name", { value: definition.name, enumerable: true });
  const { name, ...rest } = definition;
  Object.assign(op, rest);
  registry.set(name, op);
  return op;
}
