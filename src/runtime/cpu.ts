import { availableParallelism } from "node:os";
import { constant } from "../ops/index.ts";
import { optimise } from "../tensor/compile.ts";
import { sizeOf } from "../tensor/evaluate.ts";
import type { Graph } from "../tensor/graph.ts";
import { peakBytes } from "../tensor/memory.ts";
import { ONNX_TYPE, writeOnnx } from "../tensor/onnx/write.ts";
import type { DType } from "../tensor/tensor.ts";
import { type Address, type OrtLibrary, ortLibrary } from "./ort-library.ts";
import type { Program, ProgramOptions, Value, Values } from "./program.ts";

const LEVELS = { disabled: 0, basic: 1, extended: 2, all: 99 } as const;
const DTYPE = new Map(Object.entries(ONNX_TYPE).map(([name, type]) => [type, name as DType]));
const ARRAYS = {
  ...{ f32: Float32Array, f16: Uint16Array, bool: Uint8Array },
  ...{ i32: Int32Array, u32: Uint32Array, i64: BigInt64Array },
};

/** Compiles a traced graph for the processor. */
export async function compile(graph: Graph, options: ProgramOptions = {}): Promise<Program> {
  const ready = optimise(graph, constant);
  const program = await load(writeOnnx(ready, { target: { contrib: options.contrib ?? true } }), options);
  if (options.largest) program.reserve(peakBytes(ready, options.largest, new Set(graph.late)));
  return program;
}

/** Loads an ONNX model: its bytes, or a file together with the data files beside it. */
export async function load(model: Uint8Array | string, options: ProgramOptions = {}): Promise<Program> {
  const ort = ortLibrary();
  const settings = ort.create("CreateSessionOptions");
  try {
    ort.call("SetIntraOpNumThreads", settings, options.threads ?? availableParallelism());
    ort.call("SetInterOpNumThreads", settings, 1);
    // Measured: patterns hold 0.4-0.9 GB more and buy no speed.
    ort.call("DisableMemPattern", settings);
    if (options.arena === false) ort.call("DisableCpuMemArena", settings);
    else ort.call("AddSessionConfigEntry", settings, "session.use_env_allocators", "1");
    ort.call("SetSessionGraphOptimizationLevel", settings, LEVELS[options.optimization ?? "all"]);
    // It would take back the transpositions that matMul writes out because the kernel is faster with them.
    ort.call(
      "AddSessionConfigEntry",
      settings,
      "optimization.disable_specified_optimizers",
      "GemmTransposeFusion",
    );
    // Warnings about unused initializers and constant folding are noise to a user.
    ort.call("SetSessionLogSeverityLevel", settings, 3);
    if (options.optimizedPath) ort.call("SetOptimizedModelFilePath", settings, options.optimizedPath);
    if (options.profilePrefix) ort.call("EnableProfiling", settings, options.profilePrefix);
    const session =
      typeof model === "string"
        ? ort.create("CreateSession", ort.environment, model, settings)
        : ort.create("CreateSessionFromArray", ort.environment, model, model.byteLength, settings);
    return new CpuProgram(ort, session, options.arena !== false);
  } finally {
    ort.release("ReleaseSessionOptions", settings);
  }
}

class CpuProgram implements Program {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  private readonly ort: OrtLibrary;
  private readonly arena: boolean;
  private session: Address;
  private readonly inputNames: BigUint64Array;
  private readonly outputNames: BigUint64Array;
  /** What bound runs read and write: the runtime's views, and the arrays, whose memory nothing else may keep alive. */
  private readonly kept: { views: BigUint64Array; arrays: Readonly<Record<string, Value>> }[] = [];

  constructor(ort: OrtLibrary, session: Address, arena: boolean) {
    this.ort = ort;
    this.arena = arena;
    this.session = session;
    // The name strings belong to the runtime; they are kept, since every run passes them again.
    this.inputNames = this.namesOf("SessionGetInputCount", "SessionGetInputName");
    this.outputNames = this.namesOf("SessionGetOutputCount", "SessionGetOutputName");
    this.inputs = Array.from(this.inputNames, (name) => ort.readString(name));
    this.outputs = Array.from(this.outputNames, (name) => ort.readString(name));
  }

  private namesOf(
    count: "SessionGetInputCount" | "SessionGetOutputCount",
    name: "SessionGetInputName" | "SessionGetOutputName",
  ): BigUint64Array {
    const total = Number(this.ort.create(count, this.session));
    const { ort, session } = this;
    return BigUint64Array.from({ length: total }, (_, i) => ort.create(name, session, i, ort.allocator));
  }

  async run(feeds: Readonly<Record<string, Value>>, into: Readonly<Record<string, Value>> = {}) {
    const { ort } = this;
    const inputs = new BigUint64Array(this.inputs.length);
    const outputs = new BigUint64Array(this.outputs.length);
    try {
      this.wrapInputs(feeds, inputs);
      for (const [i, name] of this.outputs.entries())
        if (into[name] !== undefined) outputs[i] = this.wrap(name, into[name]);
      await this.runOn(inputs, outputs);
      const results: Record<string, Value> = {};
      for (const [i, name] of this.outputs.entries()) results[name] = into[name] ?? this.unwrap(outputs[i]);
      return results;
    } finally {
      for (const value of [...inputs, ...outputs]) if (value !== 0n) ort.release("ReleaseValue", value);
    }
  }

  bind(feeds: Readonly<Record<string, Value>>, into: Readonly<Record<string, Value>>) {
    const inputs = new BigUint64Array(this.inputs.length);
    const outputs = new BigUint64Array(this.outputs.length);
    // Kept before they are filled: what a fault leaves half wrapped is freed with the program.
    this.kept.push({ views: inputs, arrays: feeds }, { views: outputs, arrays: into });
    this.wrapInputs(feeds, inputs);
    for (const [i, name] of this.outputs.entries()) {
      if (into[name] === undefined) throw new Error(`no place for the graph's output '${name}'`);
      outputs[i] = this.wrap(name, into[name]);
    }
    return () => this.runOn(inputs, outputs);
  }

  private wrapInputs(feeds: Readonly<Record<string, Value>>, inputs: BigUint64Array): void {
    for (const [i, name] of this.inputs.entries()) {
      const value = feeds[name];
      if (value === undefined) throw new Error(`no value for the graph's input '${name}'`);
      inputs[i] = this.wrap(name, value);
    }
  }

  private runOn(inputs: BigUint64Array, outputs: BigUint64Array): Promise<void> {
    const { ort, session, inputNames, outputNames } = this;
    return ort.callAsync(
      "Run",
      ...[session, null, inputNames, inputs, inputs.length, outputNames, outputs.length, outputs],
    );
  }

  /** The runtime's view of an array: no copy, so the array must outlive it. */
  private wrap(name: string, { dtype, shape, data }: Value): Address {
    if (data.length !== sizeOf(shape))
      throw new Error(`'${name}' has shape [${shape}] but ${data.length} values`);
    // Asking for the buffer moves tiny arrays out of the garbage collector's heap, where they would not stay in place.
    void data.buffer;
    const dims = BigInt64Array.from(shape, (size) => BigInt(size));
    const { ort } = this;
    const type = ONNX_TYPE[dtype];
    return ort.create(
      "CreateTensorWithDataAsOrtValue",
      ort.cpuMemory,
      data,
      data.byteLength,
      dims,
      dims.length,
      type,
    );
  }

  private unwrap(value: Address): Value {
    const { ort } = this;
    const info = ort.create("GetTensorTypeAndShape", value);
    const type = new Int32Array(1);
    ort.call("GetTensorElementType", info, type);
    const rank = Number(ort.create("GetDimensionsCount", info));
    const dims = new BigInt64Array(rank);
    ort.call("GetDimensions", info, dims, rank);
    ort.release("ReleaseTensorTypeAndShapeInfo", info);
    const shape = Array.from(dims, Number);
    const dtype = DTYPE.get(type[0])!;
    const array = ARRAYS[dtype];
    const bytes = sizeOf(shape) * array.BYTES_PER_ELEMENT;
    const copy =
      bytes === 0 ? new ArrayBuffer(0) : ort.read(ort.create("GetTensorMutableData", value), bytes);
    return { dtype, shape, data: new array(copy) as Values };
  }

  reserve(bytes: number): void {
    if (!this.arena || bytes === 0) return;
    const { ort } = this;
    const allocator = ort.create("CreateAllocator", this.session, ort.cpuMemory);
    try {
      ort.call("AllocatorFree", allocator, ort.create("AllocatorAlloc", allocator, bytes));
    } catch {
      // The system does not promise so much at once. The runs may get by with less, and ask for it as they go.
    } finally {
      ort.release("ReleaseAllocator", allocator);
    }
  }

  endProfiling(): void {
    this.ort.create("SessionEndProfiling", this.session, this.ort.allocator);
  }

  async dispose(): Promise<void> {
    if (this.session === 0n) return;
    for (const name of [...this.inputNames, ...this.outputNames])
      this.ort.call("AllocatorFree", this.ort.allocator, name);
    for (const { views } of this.kept.splice(0))
      for (const value of views) if (value !== 0n) this.ort.release("ReleaseValue", value);
    this.ort.release("ReleaseSession", this.session);
    this.session = 0n;
  }
}
