import { quote, UserError } from "../errors.ts";
import { ByteCursor } from "./byte-cursor.ts";
import { openFile } from "./file.ts";
import { readPickle } from "./pickle.ts";
import { STORAGE_DTYPES, StorageRef, TensorRef } from "./pickle-globals.ts";
import {
  type ByteSource,
  ELEMENT_BYTES,
  elementCount,
  type Fail,
  memorySource,
  type Place,
  type TensorFile,
  type TensorInfo,
  tensorsAt,
} from "./tensor-file.ts";
import { readZip, type ZipEntry } from "./zip.ts";

/** A file that `torch.save` wrote: its object as plain data, in which tensors are `TensorRef`s into the file. */
export interface TorchArchive {
  path: string;
  /** What was saved: `Map`s, arrays, numbers, text, `TensorRef`, `Instance` (see `readPickle`). */
  root: unknown;
  /** The given tensors of this archive as a `TensorFile`; closing it closes the archive. */
  tensors(refs: ReadonlyMap<string, TensorRef>): TensorFile;
  close(): void;
}

/** Where each storage's bytes begin. */
type StoragePlaces = Map<string, number>;

// The pickles of a checkpoint take about a megabyte; beyond this we would be reading something else.
const MAX_PICKLE = 64 << 20;

/**
 * Opens a PyTorch file (ZIP archive or legacy stream) without running anything it names. A file that is damaged, or that
 * holds anything but tensors and plain data, is one `UserError`.
 */
export function openTorchArchive(path: string): TorchArchive {
  const source = openFile(path);
  try {
    return readTorchArchive(source);
  } catch (error) {
    source.close();
    throw error;
  }
}

/** The same over any source of bytes. */
export function readTorchArchive(source: ByteSource): TorchArchive {
  const { path, size } = source;
  const fail = (what: string): never => {
    throw new UserError(`${path}: ${what}`);
  };
  const head = new Uint8Array(Math.min(4, size));
  source.read(0, head);
  let archive: { root: unknown; places: StoragePlaces };
  if (head[0] === 0x50 && head[1] === 0x4b) archive = readZipFormat(source, fail);
  else if (head[0] === 0x80) archive = readLegacyFormat(source, fail);
  else archive = fail("is not a PyTorch file (neither a ZIP archive nor a pickle)");
  const { root, places } = archive;
  return {
    path,
    root,
    tensors: (refs) => tensorFile(source, places, refs),
    close: () => source.close(),
  };
}

/** A storage's persistent id: ("storage", type, key, device, elements), and in the legacy format a view. */
function storageOf(id: unknown, fail: Fail): StorageRef {
  if (!Array.isArray(id) || id.length < 5 || id[0] !== "storage") return fail("refers to what is no storage");
  const [, type, key, , elements, viewed] = id as unknown[];
  const typeName = isNamed(type) ? type.name : "";
  const dtype = STORAGE_DTYPES.get(typeName.replace(/^torch\./, ""));
  if (!dtype) return fail(`has a storage of type ${quote(typeName || "unknown")}`);
  if (typeof key !== "string" || elementCount([elements]) === undefined) {
    return fail("has a storage without a key and a size");
  }
  if (viewed === undefined || viewed === null) return new StorageRef(key, dtype, elements as number);
  const [, first, count] = Array.isArray(viewed) ? viewed : [];
  if (elementCount([first, count]) === undefined || first + count > (elements as number)) {
    return fail(`has a view that reaches past its storage ${quote(key)}`);
  }
  return new StorageRef(key, dtype, count as number, first as number);
}

const isNamed = (value: unknown): value is { name: string } =>
  typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";

/** `NAME/data.pkl` beside `NAME/data/KEY`, one record a storage (torch/csrc/jit/serialization docs, PyTorch 1.6+). */
function readZipFormat(source: ByteSource, fail: Fail): { root: unknown; places: StoragePlaces } {
  const entries = readZip(source);
  const pickles = [...entries.keys()].filter((name) => name.split("/").slice(1).join("/") === "data.pkl");
  if (pickles.length !== 1)
    return fail("is a ZIP archive, but not one of PyTorch (it has no single data.pkl)");
  const folder = pickles[0].slice(0, -"data.pkl".length);
  if (entries.has(`${folder}constants.pkl`)) {
    fail("is a TorchScript program, not weights; save the model's state_dict() instead");
  }
  for (const [name, { compressed }] of entries) {
    if (compressed) fail(`has a compressed record ${quote(name)}; PyTorch stores its records as they are`);
  }
  const order = entries.get(`${folder}byteorder`);
  if (order && readText(source, order, 16) !== "little") fail("has big-endian data");
  const { start, size } = entries.get(pickles[0])!;
  if (size > MAX_PICKLE) fail(`has a pickle of ${size} bytes, which is absurdly large`);
  const places: StoragePlaces = new Map();
  const root = readPickle(new ByteCursor(source, start, start + size, fail), (id) => {
    const storage = storageOf(id, fail);
    const entry = entries.get(`${folder}data/${storage.key}`);
    if (!entry) return fail(`lacks the storage ${quote(storage.key)} that a tensor names`);
    const needed = (storage.first + storage.elements) * ELEMENT_BYTES[storage.dtype];
    if (needed > entry.size) {
      fail(`has a storage ${quote(storage.key)} of ${entry.size} bytes where ${needed} are needed`);
    }
    places.set(storage.key, entry.start);
    return storage;
  });
  return { root, places };
}

function readText(source: ByteSource, { start, size }: ZipEntry, limit: number): string {
  const bytes = new Uint8Array(Math.min(size, limit));
  source.read(start, bytes);
  return new TextDecoder().decode(bytes).trim();
}

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_VERSION = 1001;

/**
 * The stream that PyTorch wrote before 1.6: four pickles (magic, version, machine, object), one with the storages' keys
 * in the order in which they follow, and for each its number of elements and its bytes.
 */
function readLegacyFormat(source: ByteSource, fail: Fail): { root: unknown; places: StoragePlaces } {
  const { size } = source;
  const cursor = new ByteCursor(source, 0, Math.min(size, MAX_PICKLE), fail);
  const plain = () => readPickle(cursor, () => fail("refers to a storage before its object"));
  if (plain() !== LEGACY_MAGIC) fail("is a pickle, but not one of torch.save");
  if (plain() !== LEGACY_VERSION) fail("has a version of PyTorch's legacy format that is unknown");
  const machine = plain();
  if (!(machine instanceof Map) || machine.get("little_endian") !== true) fail("has big-endian data");
  const elementBytes = new Map<string, number>();
  const used = new Map<string, number>();
  const root = readPickle(cursor, (id) => {
    const storage = storageOf(id, fail);
    const bytes = ELEMENT_BYTES[storage.dtype];
    if ((elementBytes.get(storage.key) ?? bytes) !== bytes) fail("has one storage with two element types");
    elementBytes.set(storage.key, bytes);
    used.set(storage.key, Math.max(used.get(storage.key) ?? 0, storage.first + storage.elements));
    return storage;
  });
  const keys = plain();
  if (!Array.isArray(keys)) return fail("has no list of storages");
  const places: StoragePlaces = new Map();
  let position = cursor.position;
  for (const key of keys) {
    const bytes = elementBytes.get(key);
    if (bytes === undefined || places.has(key))
      return fail("lists a storage that no tensor uses, or one twice");
    const [elements, start] = [new ByteCursor(source, position, size, fail).u64(), position + 8];
    if (elements < used.get(key)!) fail(`has a storage ${quote(key)} smaller than its tensors`);
    position = start + elements * bytes;
    if (position > size) fail(`ends inside the storage ${quote(key)} (truncated?)`);
    places.set(key, start);
  }
  for (const key of elementBytes.keys()) {
    if (!places.has(key)) fail(`lacks the storage ${quote(key)} that a tensor names`);
  }
  if (position !== size) fail(`has ${size - position} bytes after its last storage`);
  return { root, places };
}

function tensorFile(
  source: ByteSource,
  places: StoragePlaces,
  refs: ReadonlyMap<string, TensorRef>,
): TensorFile {
  const infos = new Map<string, TensorInfo>();
  for (const [name, { storage, shape }] of refs) {
    const byteLength = elementCount(shape)! * ELEMENT_BYTES[storage.dtype];
    infos.set(name, { name, dtype: storage.dtype, shape, byteLength });
  }
  return tensorsAt(source, infos, {}, (name) => place(source, places, refs.get(name)!));
}

/** Where a tensor's elements lie in C order: in the file, or, for a transposed or expanded one, gathered in memory. */
function place(source: ByteSource, places: StoragePlaces, ref: TensorRef): Place {
  const { storage, shape, strides } = ref;
  const elementBytes = ELEMENT_BYTES[storage.dtype];
  const offset = places.get(storage.key)! + (storage.first + ref.offset) * elementBytes;
  const count = elementCount(shape)!;
  if (count === 0 || isContiguous(shape, strides)) return { source, offset };
  const span = shape.reduce((last, size, axis) => last + (size - 1) * strides[axis], 1);
  const from = new Uint8Array(span * elementBytes);
  source.read(offset, from);
  const gathered = new Uint8Array(count * elementBytes);
  const index = shape.map(() => 0);
  let at = 0;
  for (let i = 0; i < count; i++) {
    for (let b = 0; b < elementBytes; b++) gathered[i * elementBytes + b] = from[at * elementBytes + b];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= shape[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return { source: memorySource(gathered, source.path), offset: 0 };
}

function isContiguous(shape: number[], strides: number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** Opens a PyTorch file that holds a state dict: tensors by name, nothing nested (`pytorch_model.bin`). */
export function openTorchStateDict(path: string): TensorFile {
  const archive = openTorchArchive(path);
  try {
    return stateDict(archive);
  } catch (error) {
    archive.close();
    throw error;
  }
}

/** The tensors of an archive that is a state dict. */
export function stateDict({ path, root, tensors }: TorchArchive): TensorFile {
  const entries = root instanceof Map ? [...root] : [];
  const refs = new Map<string, TensorRef>();
  for (const [name, value] of entries) {
    if (typeof name === "string" && value instanceof TensorRef) refs.set(name, value);
  }
  if (root instanceof Map && refs.size === root.size) return tensors(refs);
  const names = entries.map(([name]) => name).filter((name) => typeof name === "string");
  const shown = names.length ? ` (it holds ${names.slice(0, 6).join(", ")})` : "";
  throw new UserError(`${path}: is not a plain map of tensors${shown}`);
}
