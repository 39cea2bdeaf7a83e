import { mkdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Model, ModelSchema, TensorDataSchema } from "../../tensor/onnx/onnx_pb.ts";
import { quantizeProducts, type Weight } from "../../tensor/onnx/quantize.ts";
import { onnxModel } from "../../tensor/onnx/write.ts";
import { writeAtomically } from "../../weights/file.ts";
import type { ExportedGraph } from "./graph.ts";

export interface OnnxFileOptions {
  /** Standard operator set (OPSETS of tensor/onnx/write.ts). */
  readonly opset: number;
  readonly quantize: boolean;
  readonly metadata: Readonly<Record<string, string>>;
  /** Weights of more bytes together go into a file beside the model: the format's own limit is 2 GB. */
  readonly largest?: number;
}

export interface OnnxFile {
  /** Files that were written. */
  readonly files: readonly string[];
  readonly bytes: number;
  /** Matrix products that were quantised. */
  readonly quantized: number;
}

/** Room below 2 GB for structure and constants. */
const LARGEST = 1.9e9;

/** What memory-mapping runtimes want a tensor's place to be a multiple of. */
const ALIGNMENT = 64;

/** Writes an exported graph as an ONNX file with its weights in it, or in `FILE_data` beside it, atomically each. */
export function writeOnnxFile(path: string, graph: ExportedGraph, options: OnnxFileOptions): OnnxFile {
  const { values } = graph;
  const initializers = new Map([...values.keys()].map((name) => [name, {}] as const));
  const target = { contrib: false, opset: options.opset };
  const model = onnxModel(graph.graph, { target, initializers, metadata: options.metadata });
  const weights = new Map<string, Weight>(
    [...values].map(([name, { shape, data }]) => [name, { type: 1, shape, data: data as Float32Array }]),
  );
  const quantized = options.quantize ? quantizeProducts(model, weights) : 0;
  mkdirSync(dirname(path), { recursive: true });
  const total = [...weights.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  const beside = `${path}_data`;
  const outside = total > (options.largest ?? LARGEST);
  if (outside) storeBeside(model, weights, beside);
  else {
    storeInside(model, weights);
    rmSync(beside, { force: true });
  }
  const bytes = toBinary(ModelSchema, model);
  writeAtomically(path, (put) => put(bytes));
  return {
    files: outside ? [path, beside] : [path],
    bytes: bytes.length + (outside ? total : 0),
    quantized,
  };
}

const bytesOf = ({ data }: Weight) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const tensorOf = (name: string, { type, shape }: Weight) => ({
  name,
  dataType: type,
  dims: shape.map(BigInt),
});

function storeInside(model: Model, weights: ReadonlyMap<string, Weight>): void {
  for (const [name, weight] of weights)
    model.graph!.initializer.push(
      create(TensorDataSchema, { ...tensorOf(name, weight), rawData: bytesOf(weight) }),
    );
}

function storeBeside(model: Model, weights: ReadonlyMap<string, Weight>, path: string): void {
  writeAtomically(path, (put) => {
    let offset = 0;
    for (const [name, weight] of weights) {
      const bytes = bytesOf(weight);
      const gap = (ALIGNMENT - (offset % ALIGNMENT)) % ALIGNMENT;
      put(new Uint8Array(gap));
      put(bytes);
      offset += gap;
      const place = { location: basename(path), offset, length: bytes.length };
      const externalData = Object.entries(place).map(([key, value]) => ({ key, value: String(value) }));
      model.graph!.initializer.push(
        create(TensorDataSchema, { ...tensorOf(name, weight), dataLocation: 1, externalData }),
      );
      offset += bytes.length;
    }
  });
}

/** Where transformers.js looks for a model, and under which name for a quantised one. */
export const onnxPath = (folder: string, quantize: boolean): string =>
  join(folder, "onnx", quantize ? "model_quantized.onnx" : "model.onnx");
