import { create, toBinary } from "@bufbuild/protobuf";
import { computeDim, type Dim, dimKey, type Shape } from "../dims.ts";
import type { Graph } from "../graph.ts";
import {
  type DType,
  type Emit,
  type EmitTarget,
  type OnnxAttributes,
  type OnnxSubgraph,
  type Tensor,
  type TensorType,
  topological,
} from "../tensor.ts";
import {
  type Attribute,
  AttributeSchema,
  DimensionSchema,
  type Graph as GraphProto,
  GraphSchema,
  type Model,
  ModelSchema,
  type Node as NodeProto,
  NodeSchema,
  type TensorData,
  TensorDataSchema,
  type ValueInfo,
  ValueInfoSchema,
} from "./onnx_pb.ts";

/** The operator set of all our files that nobody asked otherwise for. */
export const OPSET = 21;

/** Operator sets that our nodes have the same meaning in, and the file version that came with each. */
const IR_VERSIONS: Readonly<Record<number, bigint>> = {
  18: 8n,
  19: 9n,
  20: 9n,
  21: 10n,
  22: 10n,
  23: 11n,
  24: 12n,
};
export const OPSETS: readonly number[] = Object.keys(IR_VERSIONS).map(Number);

export const ONNX_TYPE: Record<DType, number> = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10, u32: 12 };
const ATTRIBUTE_TYPE = { FLOAT: 1, INT: 2, STRING: 3, GRAPH: 5, FLOATS: 6, INTS: 7 };

/**
 * A graph input that becomes part of the file (or of a data file beside it): how models are exported. One without either
 * is left to the caller of `onnxModel`.
 */
export interface Initializer {
  readonly data?: Float32Array;
  /** Where the values stand in a file beside the model. */
  readonly external?: { readonly location: string; readonly offset: number; readonly length: number };
}

export interface WriteOptions {
  readonly target: EmitTarget;
  readonly name?: string;
  /** Inputs, by name, to store instead of to ask for. */
  readonly initializers?: ReadonlyMap<string, Initializer>;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Writes a graph as the bytes of an ONNX model: structure only, unless initializers say otherwise. */
export const writeOnnx = (graph: Graph, options: WriteOptions): Uint8Array =>
  toBinary(ModelSchema, onnxModel(graph, options));

/** The same before it becomes bytes. */
export function onnxModel(graph: Graph, options: WriteOptions): Model {
  const opset = options.target.opset ?? OPSET;
  const writer = new GraphWriter(options.target);
  for (const { name, tensor } of graph.inputs) writer.bindInput(name, tensor);
  writer.emitAll(graph);
  const stored = options.initializers ?? new Map<string, Initializer>();
  const initializer = writer.initializers;
  for (const { name, tensor } of graph.inputs) {
    const given = stored.get(name);
    if (given?.data !== undefined || given?.external !== undefined)
      initializer.push(initializerProto(name, tensor, given));
  }
  const proto = create(GraphSchema, {
    name: options.name ?? "voxsmith",
    node: writer.nodesInOrder(graph),
    initializer,
    input: graph.inputs
      .filter(({ name }) => !stored.has(name))
      .map(({ name, tensor }) => valueInfo(name, tensor)),
    output: graph.outputs.map(({ name, tensor }) => valueInfo(name, tensor)),
  });
  const contrib = writer.usesContrib() ? [{ domain: "com.microsoft", version: 1n }] : [];
  return create(ModelSchema, {
    irVersion: IR_VERSIONS[opset],
    producerName: "voxsmith",
    opsetImport: [{ domain: "", version: BigInt(opset) }, ...contrib],
    metadataProps: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
    graph: proto,
  });
}

function valueInfo(name: string, { shape, dtype }: TensorType): ValueInfo {
  const dim = shape.map((d) =>
    create(DimensionSchema, {
      value:
        typeof d === "number"
          ? { case: "dimValue", value: BigInt(d) }
          : { case: "dimParam", value: dimKey(d) },
    }),
  );
  return create(ValueInfoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType: ONNX_TYPE[dtype], shape: { dim } } } },
  });
}

function initializerProto(
  name: string,
  { shape, dtype }: TensorType,
  { data, external }: Initializer,
): TensorData {
  const base = { name, dataType: ONNX_TYPE[dtype], dims: shape.map((d) => BigInt(d as number)) };
  if (external === undefined)
    return create(TensorDataSchema, {
      ...base,
      rawData: new Uint8Array(data!.buffer, data!.byteOffset, data!.byteLength),
    });
  const pairs = Object.entries(external).map(([key, value]) => ({ key, value: String(value) }));
  return create(TensorDataSchema, { ...base, dataLocation: 1, externalData: pairs });
}

class GraphWriter implements Emit {
  readonly target: EmitTarget;
  readonly initializers: TensorData[] = [];
  private readonly protos: NodeProto[] = [];
  private readonly producer = new Map<string, NodeProto>();
  private readonly names = new Map<Tensor, string>();
  private readonly constants = new Map<string, string>();
  private readonly sizeValues = new Map<string, string>();
  private readonly symbols = new Map<string, { input: string; axis: number }>();
  private readonly taken = new Set<string>();
  private readonly counter: { next: number };
  private readonly parent: GraphWriter | undefined;

  constructor(target: EmitTarget, parent?: GraphWriter) {
    this.target = target;
    this.parent = parent;
    this.counter = parent?.counter ?? { next: 0 };
  }

  bindInput(name: string, tensor: Tensor): void {
    this.names.set(tensor, name);
    this.taken.add(name);
    for (const [axis, dim] of tensor.shape.entries())
      if (typeof dim !== "number" && !this.symbols.has(dim.key))
        this.symbols.set(dim.key, { input: name, axis });
  }

  emitAll(graph: Graph): void {
    for (const { name } of graph.outputs) this.taken.add(name);
    for (const node of topological(graph.outputs.map(({ tensor }) => tensor))) {
      if (node.op.traits.source) continue;
      const inputs = node.inputs.map((input) => this.names.get(input)!);
      if (typeof node.op.emit !== "function")
        throw new Error(`${node.op.name} was not lowered before writing`);
      const outputs = node.op.emit(this, inputs, node.attrs, node);
      for (const [i, output] of node.outputs.entries()) this.names.set(output, outputs[i]);
    }
    const given = new Set<string>();
    for (const { name, tensor } of graph.outputs) {
      const current = this.names.get(tensor)!;
      const producer = this.producer.get(current);
      // An output takes its name at the producing node; a copy is needed only where a value has two names.
      if (producer === undefined || given.has(current) || current === name) {
        if (current !== name) this.push("Identity", [current], undefined, [name]);
        continue;
      }
      producer.output = producer.output.map((output) => (output === current ? name : output));
      for (const proto of this.protos) rename(proto, current, name);
      this.producer.set(name, producer);
      this.names.set(tensor, name);
      given.add(name);
    }
  }

  /** Nodes so that late outputs' leaves come last, the first of them at the very end (design: node order decides memory). */
  nodesInOrder(graph: Graph): NodeProto[] {
    const used = new Set(this.protos.flatMap((proto) => inputsOf(proto)));
    const leaves = new Set<NodeProto>();
    for (const name of graph.late) {
      const proto = this.producer.get(name);
      if (proto !== undefined && !proto.output.some((output) => used.has(output))) leaves.add(proto);
    }
    return [...this.protos.filter((proto) => !leaves.has(proto)), ...[...leaves].reverse()];
  }

  usesContrib(): boolean {
    const anywhere = (protos: readonly NodeProto[]): boolean =>
      protos.some((p) => p.domain !== "" || p.attribute.some(({ g }) => g !== undefined && anywhere(g.node)));
    return anywhere(this.protos);
  }

  nodes(
    type: string,
    inputs: readonly string[],
    attrs?: OnnxAttributes,
    options: { outputs?: number; domain?: string } = {},
  ): string[] {
    const outputs = Array.from({ length: options.outputs ?? 1 }, () => this.fresh(type));
    this.push(type, inputs, attrs, outputs, options.domain);
    return outputs;
  }

  node(
    type: string,
    inputs: readonly string[],
    attrs?: OnnxAttributes,
    options: { domain?: string } = {},
  ): string {
    return this.nodes(type, inputs, attrs, options)[0];
  }

  constant(dtype: DType, shape: readonly number[], values: ArrayLike<number>): string {
    const key = `${dtype}[${shape}]${values.length <= 64 ? Array.from(values, (v) => (Object.is(v, -0) ? "-0" : v)) : this.counter.next++}`;
    // Constants of a subgraph stand in the outermost graph: inner graphs see outer names.
    if (this.parent !== undefined) return this.parent.constant(dtype, shape, values);
    const known = this.constants.get(key);
    if (known !== undefined) return known;
    const name = this.fresh("constant");
    const raw = rawBytes(dtype, values);
    this.initializers.push(
      create(TensorDataSchema, { name, dataType: ONNX_TYPE[dtype], dims: shape.map(BigInt), rawData: raw }),
    );
    this.constants.set(key, name);
    return name;
  }

  sizes(dims: readonly Dim[]): string {
    if (dims.every((dim) => typeof dim === "number"))
      return this.constant("i64", [dims.length], dims as number[]);
    if (this.parent !== undefined) return this.parent.sizes(dims);
    const key = dims.map(dimKey).join(",");
    const known = this.sizeValues.get(key);
    if (known !== undefined) return known;
    const parts = dims.map((dim) => this.size(dim));
    const value = parts.length === 1 ? parts[0] : this.node("Concat", parts, { axis: 0 });
    this.sizeValues.set(key, value);
    return value;
  }

  private size(dim: Dim): string {
    const key = dimKey(dim);
    const known = this.sizeValues.get(key);
    if (known !== undefined) return known;
    // An axis of an input carries exactly this expression, or it is computed from axes that are plain symbols.
    const direct = this.symbols.get(key);
    const value =
      direct !== undefined
        ? this.axisOf(direct)
        : computeDim<string>(dim, {
            constant: (c) => this.constant("i64", [1], [c]),
            symbol: (name) => {
              const place = this.symbols.get(name);
              if (place === undefined) throw new Error(`no input has the axis '${name}'`);
              return this.axisOf(place);
            },
            add: (a, b) => this.sizeNode("Add", [a, b]),
            mul: (a, b) => this.sizeNode("Mul", [a, b]),
            // ONNX integer division truncates; sizes are not negative.
            floorDiv: (a, by) => this.sizeNode("Div", [a, this.constant("i64", [1], [by])]),
          });
    this.sizeValues.set(key, value);
    return value;
  }

  /** Sizes have parts in common: frames alone take seven divisions, and stand in dozens of products. */
  private sizeNode(type: string, inputs: readonly string[], attrs?: OnnxAttributes): string {
    const key = `${type}(${inputs})${attrs ? JSON.stringify(attrs) : ""}`;
    const value = this.sizeValues.get(key) ?? this.node(type, inputs, attrs);
    this.sizeValues.set(key, value);
    return value;
  }

  private axisOf({ input, axis }: { input: string; axis: number }): string {
    return this.sizeNode("Shape", [input], { start: axis, end: axis + 1 });
  }

  subgraph(
    name: string,
    inputs: readonly TensorType[],
    body: (e: Emit, inputs: string[]) => string[],
    outputs: readonly TensorType[],
  ): OnnxSubgraph {
    const inner = new GraphWriter(this.target, this);
    const inputNames = inputs.map(() => this.fresh(`${name}.in`));
    const taken = new Set<string>();
    const results = body(inner, inputNames).map((result) => {
      // A body's output must be a value of its own, not an input passed through or one value named twice.
      const own = inner.producer.has(result) && !taken.has(result);
      taken.add(result);
      return own ? result : inner.node("Identity", [result]);
    });
    const subgraph: GraphProto = create(GraphSchema, {
      name,
      node: inner.protos,
      input: inputs.map((type, i) => valueInfo(inputNames[i], type)),
      output: outputs.map((type, i) => valueInfo(results[i], type)),
    });
    return { subgraph };
  }

  private fresh(hint: string): string {
    for (;;) {
      const name = `${hint}_${this.counter.next++}`;
      if (!this.taken.has(name)) return name;
    }
  }

  private push(
    type: string,
    inputs: readonly string[],
    attrs: OnnxAttributes | undefined,
    outputs: readonly string[],
    domain = "",
  ): void {
    const proto = create(NodeSchema, {
      opType: type,
      name: `${type}_${this.counter.next++}`,
      domain,
      input: [...inputs],
      output: [...outputs],
      attribute: Object.entries(attrs ?? {}).map(([name, value]) => attributeProto(name, value)),
    });
    this.protos.push(proto);
    for (const output of outputs) this.producer.set(output, proto);
  }
}

function rename(proto: NodeProto, from: string, to: string): void {
  if (proto.input.includes(from)) proto.input = proto.input.map((input) => (input === from ? to : input));
  for (const { g } of proto.attribute)
    if (g !== undefined) for (const inner of g.node) rename(inner, from, to);
}

function inputsOf(proto: NodeProto): string[] {
  return [...proto.input, ...proto.attribute.flatMap(({ g }) => g?.node.flatMap(inputsOf) ?? [])];
}

function attributeProto(name: string, value: OnnxAttributes[string]): Attribute {
  if (typeof value === "number")
    return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.INT, i: BigInt(value) });
  if (typeof value === "string")
    return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.STRING, s: new TextEncoder().encode(value) });
  if ("float" in value) return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.FLOAT, f: value.float });
  if ("floats" in value)
    return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.FLOATS, floats: [...value.floats] });
  if ("subgraph" in value)
    return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.GRAPH, g: value.subgraph as GraphProto });
  return create(AttributeSchema, { name, type: ATTRIBUTE_TYPE.INTS, ints: value.map((v) => BigInt(v)) });
}

function rawBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  if (dtype === "f16") throw new Error("constants are not half floats: only inputs are, to be cast");
  const typed =
    dtype === "f32"
      ? Float32Array.from(values)
      : dtype === "i32"
        ? Int32Array.from(values)
        : dtype === "u32"
          ? Uint32Array.from(values)
          : dtype === "bool"
            ? Uint8Array.from(values)
            : BigInt64Array.from(Array.from(values, (v) => BigInt(v)));
  return new Uint8Array(typed.buffer);
}

/** The sizes to give ONNX's Reshape: 0 copies the input's axis, one -1 is computed by the runtime. */
export function reshapeSizes(e: Emit, from: Shape, to: Shape): string {
  const symbolic = to.map((dim, axis) => {
    if (typeof dim === "number") return dim;
    return axis < from.length && dimKey(from[axis]) === dimKey(dim) ? 0 : undefined;
  });
  const unknown = symbolic.filter((dim) => dim === undefined).length;
  if (unknown > 1) return e.sizes(to);
  return e.constant(
    "i64",
    [to.length],
    symbolic.map((dim) => dim ?? -1),
  );
}
