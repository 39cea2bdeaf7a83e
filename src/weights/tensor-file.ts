import { UserError } from "../errors.ts";
import { halfTable } from "./half.ts";

export { halfToFloat } from "./half.ts";

/** Bytes per element of every element type we read, by its safetensors name. */
export const ELEMENT_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof ELEMENT_BYTES;

export type Numbers =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

/** What a file says about one tensor before any of its data is read. */
export interface TensorInfo {
  name: string;
  dtype: Dtype;
  shape: number[];
  byteLength: number;
}

/** Named tensors somewhere: one safetensors file, several shards, or a PyTorch archive. Data is read on demand. */
export interface TensorFile {
  /** Where the tensors come from, as messages name it. */
  readonly path: string;
  readonly infos: Map<string, TensorInfo>;
  readonly metadata: Record<string, string>;
  /** The tensor as float32 in C order; F64, F16 and BF16 are converted. `into` (same number of elements) is filled in place. */
  readF32(name: string, into?: Float32Array): Float32Array;
  /** The tensor in its own element type (F16 and BF16 as float32, BOOL as bytes 0 and 1). */
  readNumbers(name: string): { dtype: Dtype; shape: number[]; data: Numbers };
  close(): void;
}

/** Ends reading with a sentence about the file; what is passed follows the file's name. */
export type Fail = (what: string) => never;

/** Random access to bytes: a file on disk, or memory in a browser. */
export interface ByteSource {
  readonly path: string;
  readonly size: number;
  /** Fills `into` from `offset`; asking past the end is a fault of the file. */
  read(offset: number, into: Uint8Array): void;
  close(): void;
}

/** A source over bytes that are already in memory. */
export function memorySource(bytes: Uint8Array, path = "(memory)"): ByteSource {
  return {
    path,
    size: bytes.length,
    read(offset, into) {
      if (offset + into.length > bytes.length) throw new UserError(`${path}: ends too early`);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    close() {},
  };
}

/** The number of elements of a shape, or undefined if it is no shape or beyond exact integers. */
export function elementCount(shape: readonly unknown[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) return undefined;
    count *= size as number;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/** The raw bytes under a typed array. */
export const bytesOf = (view: ArrayBufferView) =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Typed arrays read their bytes in the machine's order; files are little-endian, as every machine we run on. */
export function numbersFor(dtype: Dtype, count: number): Numbers {
  switch (dtype) {
    case "F64":
      return new Float64Array(count);
    case "F32":
    case "F16":
    case "BF16":
      return new Float32Array(count);
    case "I64":
      return new BigInt64Array(count);
    case "I32":
      return new Int32Array(count);
    case "I16":
      return new Int16Array(count);
    case "I8":
      return new Int8Array(count);
    default:
      return new Uint8Array(count);
  }
}

// Converted element types pass through a buffer of this many elements, so that peak memory stays that of the result.
const CHUNK = 1 << 18;

/**
 * Reads `into.length` elements of a floating type that start at byte `offset` of `source`, as float32.
 * F32 goes straight into `into`; the others are converted chunk by chunk.
 */
export function readFloats(source: ByteSource, offset: number, dtype: Dtype, into: Float32Array): void {
  if (dtype === "F32") {
    source.read(offset, bytesOf(into));
    return;
  }
  const chunk = Math.min(CHUNK, into.length);
  const wide = new Float64Array(dtype === "F64" ? chunk : 0);
  const narrow = new Uint16Array(dtype === "F64" ? 0 : chunk);
  for (let start = 0; start < into.length; start += chunk) {
    const count = Math.min(chunk, into.length - start);
    const bits: Float64Array | Uint16Array = (dtype === "F64" ? wide : narrow).subarray(0, count);
    source.read(offset + start * bits.BYTES_PER_ELEMENT, bytesOf(bits));
    if (dtype === "F64") into.set(bits, start);
    else if (dtype === "F16") widenHalves(bits as Uint16Array, into, start);
    else widenBrainFloats(bits as Uint16Array, into, start);
  }
}

/** bfloat16 is the upper half of a float32. */
function widenBrainFloats(bits: Uint16Array, into: Float32Array, start: number): void {
  const words = new Uint32Array(into.buffer, into.byteOffset, into.length);
  for (let i = 0; i < bits.length; i++) words[start + i] = bits[i] << 16;
}

function widenHalves(bits: Uint16Array, into: Float32Array, start: number): void {
  const table = halfTable();
  for (let i = 0; i < bits.length; i++) into[start + i] = table[bits[i]];
}

export const isFloat = (dtype: Dtype) => dtype[0] === "F" || dtype === "BF16";

/** Where the C-order elements of a tensor begin. */
export interface Place {
  source: ByteSource;
  offset: number;
}

/** A `TensorFile` over tensors whose places `locate` finds; `source` is what it names and closes. */
export function tensorsAt(
  source: ByteSource,
  infos: Map<string, TensorInfo>,
  metadata: Record<string, string>,
  locate: (name: string) => Place,
): TensorFile {
  return {
    path: source.path,
    infos,
    metadata,
    readF32(name, into) {
      const info = infoOf(source.path, infos, name);
      const target = targetFor(source.path, info, into);
      const place = locate(name);
      readFloats(place.source, place.offset, info.dtype, target);
      return target;
    },
    readNumbers(name) {
      const { dtype, shape } = infoOf(source.path, infos, name);
      const data = numbersFor(dtype, elementCount(shape)!);
      const place = locate(name);
      if (data instanceof Float32Array) readFloats(place.source, place.offset, dtype, data);
      else place.source.read(place.offset, bytesOf(data));
      return { dtype, shape, data };
    },
    close: () => source.close(),
  };
}

/** The entry of a tensor that must be there. */
export function infoOf(path: string, infos: Map<string, TensorInfo>, name: string): TensorInfo {
  const info = infos.get(name);
  if (!info) throw new UserError(`${path}: holds no tensor "${name}"`);
  return info;
}

/** The float32 array to fill for a tensor: the caller's, if it fits, or a new one. */
export function targetFor(path: string, info: TensorInfo, into?: Float32Array): Float32Array {
  if (!isFloat(info.dtype)) {
    throw new UserError(
      `${path}: tensor "${info.name}" has dtype ${info.dtype} where a floating type is needed`,
    );
  }
  const count = elementCount(info.shape)!;
  if (into && into.length !== count) {
    throw new RangeError(`tensor "${info.name}" has ${count} elements; the array to fill has ${into.length}`);
  }
  return into ?? new Float32Array(count);
}

/** The same tensors under other names: `names` maps each new name to the name in `file`; what it omits is absent. */
export function renamed(file: TensorFile, names: ReadonlyMap<string, string>): TensorFile {
  const infos = new Map<string, TensorInfo>();
  for (const [name, old] of names) infos.set(name, { ...infoOf(file.path, file.infos, old), name });
  const oldName = (name: string) => names.get(infoOf(file.path, infos, name).name)!;
  return {
    path: file.path,
    infos,
    metadata: file.metadata,
    readF32: (name, into) => file.readF32(oldName(name), into),
    readNumbers: (name) => file.readNumbers(oldName(name)),
    close: () => file.close(),
  };
}

/** The tensors of several files as one; a name may stand in one of them only. */
export function joined(path: string, files: readonly TensorFile[]): TensorFile {
  const infos = new Map<string, TensorInfo>();
  const homes = new Map<string, TensorFile>();
  for (const file of files) {
    for (const [name, info] of file.infos) {
      const other = homes.get(name);
      if (other) throw new UserError(`${file.path}: holds "${name}", which ${other.path} holds too`);
      infos.set(name, info);
      homes.set(name, file);
    }
  }
  const home = (name: string) => homes.get(infoOf(path, infos, name).name)!;
  return {
    path,
    infos,
    metadata: files[0]?.metadata ?? {},
    readF32: (name, into) => home(name).readF32(name, into),
    readNumbers: (name) => home(name).readNumbers(name),
    close() {
      for (const file of files) file.close();
    },
  };
}
