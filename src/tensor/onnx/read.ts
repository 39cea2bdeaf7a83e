import { fromBinary } from "@bufbuild/protobuf";
import { UserError } from "../../errors.ts";
import type { Attribute, Graph, Model, TensorData, ValueInfo } from "./onnx_pb.ts";
import { ModelSchema } from "./onnx_pb.ts";

/** Element types of the format that have a typed array; the names are ours where the compiler knows the type. */
const TYPES = {
  1: { type: "f32", array: Float32Array },
  2: { type: "u8", array: Uint8Array },
  3: { type: "i8", array: Int8Array },
  4: { type: "u16", array: Uint16Array },
  5: { type: "i16", array: Int16Array },
  6: { type: "i32", array: Int32Array },
  7: { type: "i64", array: BigInt64Array },
  9: { type: "bool", array: Uint8Array },
  11: { type: "f64", array: Float64Array },
  12: { type: "u32", array: Uint32Array },
  13: { type: "u64", array: BigUint64Array },
} as const;
type TypeNumber = keyof typeof TYPES;
/** Half floats may come in; numbers that a file holds cannot be halves. */
export type OnnxType = (typeof TYPES)[TypeNumber]["type"] | "f16";
const HALF = 10;
export type OnnxArray = InstanceType<(typeof TYPES)[TypeNumber]["array"]>;

export interface OnnxTensor {
  readonly type: OnnxType;
  readonly shape: readonly number[];
  readonly data: OnnxArray;
}

/** An input or output: sizes that are known as numbers, named axes as text, others undefined. */
export interface OnnxValueInfo {
  readonly name: string;
  readonly type: OnnxType;
  readonly shape: readonly (number | string | undefined)[];
}

export type OnnxAttributeValue =
  | number
  | bigint
  | string
  | readonly number[]
  | readonly bigint[]
  | readonly string[]
  | OnnxTensor
  | OnnxGraph;

export interface OnnxNode {
  readonly type: string;
  readonly name: string;
  /** "" for the standard operator set. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttributeValue>;
}

export interface OnnxGraph {
  readonly name: string;
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxModel {
  readonly irVersion: number;
  /** Version of each operator set by domain. */
  readonly operatorSets: ReadonlyMap<string, number>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly graph: OnnxGraph;
}

export interface ReadOptions {
  /** Named in messages. */
  readonly where?: string;
  /**
   * Bytes [offset, offset + length) of a file beside the model; without a length, all that follow. Locations come
   * from the file and are not to be trusted.
   */
  readonly external?: (location: string, offset: number, length: number | undefined) => Uint8Array;
}

/**
 * Reads the bytes of an ONNX model. Everything is checked against its own declaration before memory is taken for it.
 * @throws UserError naming the file and the tensor or node that is at fault
 */
export function readOnnx(bytes: Uint8Array, options: ReadOptions = {}): OnnxModel {
  const where = options.where ?? "ONNX model";
  let model: Model;
  try {
    model = fromBinary(ModelSchema, bytes);
  } catch (error) {
    // Truncation and depth beyond the decoder's limit both end here.
    throw new UserError(`${where}: is not an ONNX file (${(error as Error).message})`);
  }
  if (model.irVersion <= 0n || model.graph === undefined)
    throw new UserError(`${where}: is not an ONNX file (it has no graph)`);
  return {
    irVersion: Number(model.irVersion),
    operatorSets: new Map(model.opsetImport.map(({ domain, version }) => [domain, Number(version)])),
    metadata: new Map(model.metadataProps.map(({ key, value }) => [key, value])),
    graph: new Reader(where, options.external).graph(model.graph),
  };
}

class Reader {
  private readonly where: string;
  private readonly external: ReadOptions["external"];

  constructor(where: string, external: ReadOptions["external"]) {
    this.where = where;
    this.external = external;
  }

  private fault(what: string): never {
    throw new UserError(`${this.where}: ${what}`);
  }

  graph(graph: Graph): OnnxGraph {
    const initializers = new Map<string, OnnxTensor>();
    for (const tensor of graph.initializer) {
      if (initializers.has(tensor.name)) this.fault(`initializer "${tensor.name}" stands twice`);
      initializers.set(tensor.name, this.tensor(tensor));
    }
    return {
      name: graph.name,
      inputs: graph.input.map((info) => this.valueInfo(info)),
      outputs: graph.output.map((info) => this.valueInfo(info)),
      initializers,
      nodes: graph.node.map((node) => ({
        type: node.opType,
        name: node.name,
        domain: node.domain,
        inputs: node.input,
        outputs: node.output,
        attributes: new Map(node.attribute.map((a) => [a.name, this.attribute(a, node.name)])),
      })),
    };
  }

  private valueInfo({ name, type }: ValueInfo): OnnxValueInfo {
    if (type?.value.case !== "tensorType") this.fault(`"${name}" is not a tensor`);
    const { elemType, shape } = type.value.value;
    return {
      name,
      type: elemType === HALF ? "f16" : this.known(elemType, name).type,
      shape: (shape?.dim ?? []).map(({ value }) => {
        if (value.case === "dimValue") return this.size(value.value, name);
        return value.case === "dimParam" && value.value !== "" ? value.value : undefined;
      }),
    };
  }

  private known(type: number, name: string): (typeof TYPES)[TypeNumber] {
    const known = TYPES[type as TypeNumber];
    if (known === undefined) this.fault(`"${name}" has element type ${type}, which is not supported`);
    return known;
  }

  private size(value: bigint, name: string): number {
    if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
      this.fault(`"${name}" has an axis of size ${value}`);
    return Number(value);
  }

  tensor(tensor: TensorData): OnnxTensor {
    const { name, dims } = tensor;
    const { type, array } = this.known(tensor.dataType, name);
    const shape = dims.map((dim) => this.size(dim, name));
    const count = shape.reduce((a, b) => a * b, 1);
    const wanted = count * array.BYTES_PER_ELEMENT;
    const wrong = (got: number, unit: string, of: number): never =>
      this.fault(`"${name}" [${shape}] ${type} needs ${of} ${unit}, but the file has ${got}`);
    if (tensor.dataLocation === 1 || tensor.rawData.length > 0) {
      const bytes = tensor.dataLocation === 1 ? this.outside(tensor, wanted) : tensor.rawData;
      if (bytes.length !== wanted) wrong(bytes.length, "bytes", wanted);
      // A copy of its own (which `slice` of Node's Buffer is not): typed arrays want aligned places.
      return { type, shape, data: new array(new Uint8Array(bytes).buffer) };
    }
    const values = listed(tensor);
    if (values.length !== count) wrong(values.length, "values", count);
    const data = new array(count);
    for (let i = 0; i < count; i++)
      data[i] =
        data instanceof BigInt64Array || data instanceof BigUint64Array
          ? BigInt(values[i])
          : Number(values[i]);
    return { type, shape, data };
  }

  private outside({ name, externalData }: TensorData, wanted: number): Uint8Array {
    const pairs = new Map(externalData.map(({ key, value }) => [key, value]));
    const location = pairs.get("location");
    if (location === undefined || location === "")
      this.fault(`"${name}" is stored outside but says not in which file`);
    const whole = (key: string): number | undefined => {
      const text = pairs.get(key);
      if (text === undefined) return undefined;
      const value = Number(text);
      if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
        this.fault(`"${name}" has the ${key} ${JSON.stringify(text)}, not a whole number`);
      return value;
    };
    const [offset, length] = [whole("offset") ?? 0, whole("length")];
    if (length !== undefined && length !== wanted)
      this.fault(`"${name}" needs ${wanted} bytes, but its place in ${location} has ${length}`);
    if (this.external === undefined)
      this.fault(`"${name}" is stored in ${location}, and no way to read it was given`);
    return this.external(location, offset, length);
  }

  private attribute(a: Attribute, node: string): OnnxAttributeValue {
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    switch (a.type) {
      case 1:
        return a.f;
      case 2:
        return a.i;
      case 3:
        return text(a.s);
      case 4:
        return this.tensor(a.t ?? this.fault(`node ${node}: attribute ${a.name} holds no tensor`));
      case 5:
        return this.graph(a.g ?? this.fault(`node ${node}: attribute ${a.name} holds no graph`));
      case 6:
        return a.floats;
      case 7:
        return a.ints;
      case 8:
        return a.strings.map(text);
      default:
        return this.fault(`node ${node}: attribute ${a.name} has type ${a.type}, which is not supported`);
    }
  }
}

/** Values that are not raw bytes stand in the list of their type; narrow integers share that of int32. */
function listed(t: TensorData): ArrayLike<number | bigint> {
  if (t.dataType === 1) return t.floatData;
  if (t.dataType === 11) return t.doubleData;
  if (t.dataType === 7) return t.int64Data;
  return t.dataType === 12 || t.dataType === 13 ? t.uint64Data : t.int32Data;
}
