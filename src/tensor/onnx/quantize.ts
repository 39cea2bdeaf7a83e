import { create } from "@bufbuild/protobuf";
import { type Attribute, AttributeSchema, type Model, type Node, NodeSchema } from "./onnx_pb.ts";

/** Numbers that an exported model stores. */
export interface Weight {
  /** Element type of the format: 1 float32, 2 uint8, 3 int8. */
  readonly type: number;
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array | Int8Array;
}

const FLOAT = 1;
const INT8 = 3;

/** Smaller matrices gain nothing, and heads among them would lose. */
const SMALLEST = 4096;

/**
 * Dynamic quantisation of the products with weights (`Gemm`, `MatMul`), in standard operations: 8-bit weights with a scale for
 * each output, made here; 8-bit activations with a scale for the whole tensor, made when the model runs. The model's nodes and
 * the weights are changed in place.
 *
 *     y = (DynamicQuantizeLinear(x) MatMulInteger W_q) * (s_x s_W) + bias
 *
 * @returns how many products were replaced
 */
export function quantizeProducts(model: Model, weights: Map<string, Weight>): number {
  const graph = model.graph!;
  const nodes: Node[] = [];
  const activations = new Map<string, string[]>();
  let replaced = 0;
  const make = (
    opType: string,
    name: string,
    input: string[],
    output: string[],
    attribute: Attribute[] = [],
  ) => nodes.push(create(NodeSchema, { opType, name, domain: "", input, output, attribute }));

  const quantized = (x: string): string[] => {
    const known = activations.get(x);
    if (known !== undefined) return known;
    const parts = ["quantized", "scale", "zero"].map((part) => `${x}_${part}`);
    make("DynamicQuantizeLinear", `${x}_quantize`, [x], parts);
    activations.set(x, parts);
    return parts;
  };

  for (const node of graph.node) {
    const weight = productWeight(node, weights);
    if (weight === undefined) {
      nodes.push(node);
      continue;
    }
    replaced++;
    const [x, name, bias] = node.input;
    const [stored, scales] = [`${name}_quantized`, `${name}_scale`];
    if (!weights.has(stored)) {
      const { integers, scale, shape } = perColumn(weight, int(node, "transB") === 1);
      weights.set(stored, { type: INT8, shape, data: integers });
      weights.set(scales, { type: FLOAT, shape: [shape[1]], data: scale });
    }
    const [q, scale, zero] = quantized(x);
    const y = node.output[0];
    make("MatMulInteger", `${node.name}_integer`, [q, stored, zero], [`${y}_integer`]);
    make("Cast", `${node.name}_cast`, [`${y}_integer`], [`${y}_cast`], [attribute("to", FLOAT)]);
    make("Mul", `${node.name}_scales`, [scale, scales], [`${y}_scales`]);
    make(
      "Mul",
      `${node.name}_scale`,
      [`${y}_cast`, `${y}_scales`],
      [bias === undefined ? y : `${y}_unbiased`],
    );
    if (bias !== undefined) make("Add", `${node.name}_bias`, [`${y}_unbiased`, bias], [y]);
  }
  graph.node = nodes;
  const used = new Set([...nodes.flatMap(inputsOf), ...graph.output.map(({ name }) => name)]);
  for (const name of [...weights.keys()]) if (!used.has(name)) weights.delete(name);
  return replaced;
}

/** The weight of a product that can be quantised: a stored matrix that stands on the right. */
function productWeight(node: Node, weights: ReadonlyMap<string, Weight>): Weight | undefined {
  if (node.domain !== "" || !["Gemm", "MatMul"].includes(node.opType)) return undefined;
  const weight = weights.get(node.input[1]);
  if (weight === undefined || weight.type !== FLOAT || weight.shape.length !== 2) return undefined;
  if (weight.data.length < SMALLEST || weights.has(node.input[0])) return undefined;
  const plain = int(node, "transA") === 0 && number(node, "alpha") === 1 && number(node, "beta") === 1;
  return node.opType === "MatMul" || plain ? weight : undefined;
}

/** [inner, outputs] integers in -127..127 and a scale for each output: w = scale q to within half a scale. */
function perColumn(
  { shape, data }: Weight,
  transposed: boolean,
): { integers: Int8Array; scale: Float32Array; shape: [number, number] } {
  const [inner, outputs] = transposed ? [shape[1], shape[0]] : [shape[0], shape[1]];
  const at = (k: number, n: number) => data[transposed ? n * inner + k : k * outputs + n];
  const integers = new Int8Array(inner * outputs);
  const scale = new Float32Array(outputs);
  for (let n = 0; n < outputs; n++) {
    let most = 0;
    for (let k = 0; k < inner; k++) most = Math.max(most, Math.abs(at(k, n)));
    scale[n] = most === 0 ? 1 : most / 127;
    for (let k = 0; k < inner; k++)
      integers[k * outputs + n] = Math.max(-127, Math.min(127, Math.round(at(k, n) / scale[n])));
  }
  return { integers, scale, shape: [inner, outputs] };
}

const int = (node: Node, name: string): number =>
  Number(node.attribute.find((a) => a.name === name)?.i ?? 0n);
const number = (node: Node, name: string): number => node.attribute.find((a) => a.name === name)?.f ?? 1;
const attribute = (name: string, value: number): Attribute =>
  create(AttributeSchema, { name, type: 2, i: BigInt(value) });

const inputsOf = (node: Node): string[] => [
  ...node.input,
  ...node.attribute.flatMap(({ g }) => g?.node.flatMap(inputsOf) ?? []),
];
