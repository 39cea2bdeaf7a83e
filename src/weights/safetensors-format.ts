import { quote, UserError } from "../errors.ts";
import {
  type ByteSource,
  type Dtype,
  ELEMENT_BYTES,
  elementCount,
  type Fail,
  memorySource,
  type TensorFile,
  type TensorInfo,
  tensorsAt,
} from "./tensor-file.ts";

// The format: 8 bytes little-endian header size, a JSON header {name: {dtype, shape, data_offsets}}, then the data,
// which must be covered exactly once. See https://github.com/huggingface/safetensors#format.

/** The header may not be larger than this (the limit of the reference implementation). */
export const HEADER_CAP = 100_000_000;

/** Reads a safetensors file that is wholly in memory; runs in a browser. */
export const parseSafetensors = (bytes: Uint8Array, path?: string): TensorFile =>
  tensorsOf(memorySource(bytes, path));

/** Checks the header of a source strictly and gives its tensors; no data is read yet. Faults are one `UserError`. */
export function tensorsOf(source: ByteSource): TensorFile {
  const { path, size } = source;
  const fail = (what: string): never => {
    throw new UserError(`${path}: ${what}`);
  };
  if (size < 8) fail(`is ${size} bytes long, too short for a safetensors file`);
  const prefix = new Uint8Array(8);
  source.read(0, prefix);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(HEADER_CAP)) {
    fail(`declares a header of ${declared} bytes; the limit is ${HEADER_CAP} (is it a safetensors file?)`);
  }
  const headerBytes = Number(declared);
  if (8 + headerBytes > size) {
    fail(`declares a header of ${headerBytes} bytes but is only ${size} bytes long (truncated?)`);
  }
  const raw = new Uint8Array(headerBytes);
  source.read(8, raw);
  const header = parseHeader(raw, fail);

  const dataStart = 8 + headerBytes;
  const infos = new Map<string, TensorInfo>();
  const starts = new Map<string, number>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") {
      metadata = checkedMetadata(entry, fail);
      continue;
    }
    const { info, start } = checkedEntry(name, entry, fail);
    infos.set(name, info);
    starts.set(name, dataStart + start);
  }
  checkCoverage(infos, starts, dataStart, size, fail);
  return tensorsAt(source, infos, metadata, (name) => ({ source, offset: starts.get(name)! }));
}

function parseHeader(raw: Uint8Array, fail: Fail): Record<string, unknown> {
  let text = "";
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
    value = JSON.parse(text);
  } catch {
    return fail("has a header that is not valid JSON");
  }
  if (text[0] !== "{" || !isRecord(value)) return fail("has a header that is not a JSON object");
  const repeated = repeatedKey(text);
  if (repeated !== undefined) fail(`has ${quote(repeated)} twice in its header`);
  return value;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function checkedMetadata(entry: unknown, fail: Fail): Record<string, string> {
  if (!isRecord(entry) || !Object.values(entry).every((value) => typeof value === "string")) {
    return fail("has __metadata__ that is not a map of strings");
  }
  return entry as Record<string, string>;
}

function checkedEntry(name: string, entry: unknown, fail: Fail): { info: TensorInfo; start: number } {
  const tensor = `tensor ${quote(name, 120)}`;
  if (!isRecord(entry)) return fail(`${tensor} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(ELEMENT_BYTES, dtype)) {
    return fail(`${tensor} has dtype ${quote(dtype)}; readable are ${Object.keys(ELEMENT_BYTES).join(", ")}`);
  }
  const count = Array.isArray(shape) ? elementCount(shape) : undefined;
  if (count === undefined) return fail(`${tensor} has shape ${quote(JSON.stringify(shape))}, which is none`);
  const isPosition = (at: unknown) => Number.isSafeInteger(at) && (at as number) >= 0;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isPosition)) {
    return fail(`${tensor} has data_offsets ${quote(JSON.stringify(offsets))}, which are not two positions`);
  }
  const [start, end] = offsets as number[];
  const byteLength = count * ELEMENT_BYTES[dtype as Dtype];
  if (end - start !== byteLength) {
    return fail(
      `${tensor} takes ${end - start} bytes, but ${dtype} ${JSON.stringify(shape)} needs ${byteLength}`,
    );
  }
  return { info: { name, dtype: dtype as Dtype, shape: shape as number[], byteLength }, start };
}

/** The tensors must tile the data: no overlap, no hole, nothing after the last one. */
function checkCoverage(
  infos: Map<string, TensorInfo>,
  starts: Map<string, number>,
  dataStart: number,
  size: number,
  fail: Fail,
): void {
  const inOrder = [...infos.values()].sort(
    (a, b) => starts.get(a.name)! - starts.get(b.name)! || a.byteLength - b.byteLength,
  );
  let position = dataStart;
  for (const { name, byteLength } of inOrder) {
    const start = starts.get(name)!;
    if (start < position) fail(`tensor ${quote(name, 120)} overlaps another`);
    if (start > position) fail(`has a hole of ${start - position} bytes before tensor ${quote(name, 120)}`);
    position += byteLength;
    if (position > size) {
      fail(`ends inside tensor ${quote(name, 120)}: ${size} bytes long, needs ${position} (truncated?)`);
    }
  }
  if (position !== size) fail(`has ${size - position} bytes after its last tensor`);
}

/** The first key that an object of this (valid) JSON text holds twice. JSON.parse would silently keep the last. */
export function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{") open.push(new Set());
    else if (char === "[") open.push(undefined);
    else if (char === "}" || char === "]") open.pop();
    else if (char === '"') {
      const start = i;
      do i += text[i] === "\\" ? 2 : 1;
      while (text[i] !== '"');
      let next = i + 1;
      while (" \t\r\n".includes(text[next] ?? "x")) next++;
      if (text[next] !== ":") continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

export interface TensorEntry {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  /** The elements in C order; a function is called when its turn to be written has come, and its result not kept. */
  data: ArrayBufferView | (() => ArrayBufferView);
}

// The reference writer puts wide element types first, so that every tensor stays aligned, and sorts by name within one.
const FILE_ORDER: Dtype[] = ["I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL"];

/** The tensors in file order and the bytes that precede their data (length prefix and padded header). */
export function layOut(
  entries: Iterable<TensorEntry>,
  metadata: Record<string, string>,
): { ordered: TensorEntry[]; byteLengths: number[]; header: Uint8Array } {
  const ordered = [...entries].sort(
    (a, b) => FILE_ORDER.indexOf(a.dtype) - FILE_ORDER.indexOf(b.dtype) || (a.name < b.name ? -1 : 1),
  );
  const names = new Set<string>();
  const byteLengths: number[] = [];
  let end = 0;
  const parts = Object.keys(metadata).length ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  for (const { name, dtype, shape } of ordered) {
    const count = elementCount(shape);
    if (count === undefined) throw new RangeError(`tensor "${name}" has shape ${JSON.stringify(shape)}`);
    if (names.has(name) || name === "__metadata__") throw new RangeError(`cannot write "${name}" twice`);
    names.add(name);
    const start = end;
    end += count * ELEMENT_BYTES[dtype];
    byteLengths.push(end - start);
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [start, end] })}`);
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return { ordered, byteLengths, header };
}
