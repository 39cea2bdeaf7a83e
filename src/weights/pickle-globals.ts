import { quote } from "../errors.ts";
import { type Dtype, elementCount } from "./tensor-file.ts";

/** What a builder may use of the machine that runs the pickle. */
export interface Machine {
  fail(what: string): never;
  /** Counts work against the limit: one unit for each element that is copied. */
  charge(work: number): void;
}

/** What a name in a pickle may stand for: something this file builds itself. */
export interface Builder {
  /** The name, as `module.name`. */
  name: string;
  /** Makes the value from the call's arguments. */
  build(args: unknown[], machine: Machine): unknown;
}

/** An object of an allowed class: its name and its attributes, nothing that can act. */
export class Instance {
  readonly className: string;
  readonly args: unknown[];
  fields = new Map<unknown, unknown>();

  constructor(className: string, args: unknown[]) {
    this.className = className;
    this.args = args;
  }

  /** Attributes come as a dict, or as (dict, slots) where a class has slots. The dict is taken, not copied. */
  setState(state: unknown): void {
    const dict = Array.isArray(state) ? state[0] : state;
    if (dict instanceof Map) this.fields = dict;
  }
}

/** The memory that tensors view: `elements` of one type, found by `key` in the archive. */
export class StorageRef {
  readonly key: string;
  readonly dtype: Dtype;
  readonly elements: number;
  /** First element, where the legacy format stores a view of another storage. */
  readonly first: number;

  constructor(key: string, dtype: Dtype, elements: number, first = 0) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
    this.first = first;
  }
}

/** A tensor as a strided view of a storage, all counted in elements. Its bounds are checked when it is made. */
export class TensorRef {
  readonly storage: StorageRef;
  readonly offset: number;
  readonly shape: number[];
  readonly strides: number[];

  constructor(storage: StorageRef, offset: number, shape: number[], strides: number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** Element types by the name of PyTorch's storage class. */
export const STORAGE_DTYPES = new Map<string, Dtype>([
  ["DoubleStorage", "F64"],
  ["FloatStorage", "F32"],
  ["HalfStorage", "F16"],
  ["BFloat16Storage", "BF16"],
  ["LongStorage", "I64"],
  ["IntStorage", "I32"],
  ["ShortStorage", "I16"],
  ["CharStorage", "I8"],
  ["ByteStorage", "U8"],
  ["BoolStorage", "BOOL"],
]);

// A view with stride 0 may be larger than its storage (an expanded tensor), but only up to this many elements:
// otherwise a few bytes could ask for any amount of memory.
const MAX_EXPANDED = 1 << 20;

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
// PyTorch's own limit on dimensions is 64.
const areSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 64 && value.every(isSize);

function buildTensor([storage, offset, shape, strides]: unknown[], { fail }: Machine): TensorRef {
  if (!(storage instanceof StorageRef) || !isSize(offset) || !areSizes(shape) || !areSizes(strides)) {
    return fail("holds a tensor that is not described by a storage, an offset, sizes and strides");
  }
  if (shape.length !== strides.length) fail("holds a tensor with sizes unlike strides");
  const elements = elementCount(shape) ?? Number.POSITIVE_INFINITY;
  const last = shape.reduce((index, size, axis) => index + (size - 1) * strides[axis], offset);
  const beyond = elements > 0 && last >= storage.elements;
  if (beyond || offset > storage.elements || elements > Math.max(storage.elements, MAX_EXPANDED)) {
    fail(
      `holds a tensor [${shape.join(", ")}] that reaches past its storage "${storage.key}" of ${storage.elements} elements`,
    );
  }
  return new TensorRef(storage, offset, shape, strides);
}

/** The one list that a container is built from; absent, it is empty. */
function listOf(args: unknown[], { fail, charge }: Machine): unknown[] {
  const items = args.length ? args[0] : [];
  if (args.length > 1 || !Array.isArray(items))
    return fail("holds a container that is not built from a list");
  charge(items.length);
  return items;
}

/** Python 2 passes the items of a dict as a list of pairs; later ones set them afterwards. */
function buildDict(args: unknown[], machine: Machine): Map<unknown, unknown> {
  const dict = new Map<unknown, unknown>();
  for (const pair of listOf(args, machine)) {
    if (!Array.isArray(pair)) return machine.fail("holds a dict that is not built from pairs");
    dict.set(pair[0], pair[1]);
  }
  return dict;
}

const buildSet = (args: unknown[], machine: Machine) => new Set(listOf(args, machine));

function buildBytes([text, encoding]: unknown[], { fail, charge }: Machine): Uint8Array {
  // Protocol 2 has no bytes: it spells them as text to be encoded as Latin-1.
  if (typeof text !== "string" || encoding !== "latin1") return fail("holds bytes in an unknown encoding");
  charge(text.length);
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** A NumPy scalar, as training states hold for losses: its dtype's code ("f8") and its little-endian bytes. */
function buildScalar([dtype, bytes]: unknown[], { fail }: Machine): number {
  const code = dtype instanceof Instance ? dtype.args[0] : undefined;
  if (bytes instanceof Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (code === "f8" && bytes.length === 8) return view.getFloat64(0, true);
    if (code === "f4" && bytes.length === 4) return view.getFloat32(0, true);
    if (code === "i8" && bytes.length === 8) return Number(view.getBigInt64(0, true));
    if (code === "i4" && bytes.length === 4) return view.getInt32(0, true);
    if (code === "b1" && bytes.length === 1) return view.getUint8(0);
  }
  return fail(`holds a NumPy scalar of type ${typeof code === "string" ? quote(code) : "unknown"}`);
}

const BUILDERS: Record<string, Builder["build"]> = {
  "torch._utils._rebuild_tensor": buildTensor,
  "torch._utils._rebuild_tensor_v2": buildTensor,
  "torch._utils._rebuild_parameter": ([data], { fail }) =>
    data instanceof TensorRef ? data : fail("holds a parameter that is no tensor"),
  "torch.Size": listOf,
  "collections.OrderedDict": buildDict,
  // The first argument, a factory of default values, is left uncalled.
  "collections.defaultdict": (args, machine) => buildDict(args.slice(1, 3), machine),
  "builtins.set": buildSet,
  "builtins.frozenset": buildSet,
  "_codecs.encode": buildBytes,
  "numpy.core.multiarray.scalar": buildScalar,
  "numpy._core.multiarray.scalar": buildScalar,
};

// Types that stand in pickles as mere values (an omegaconf field's type); nothing is built from them.
const BARE_TYPES = new Set(
  ["int", "long", "float", "bool", "str", "unicode", "bytes", "dict", "list", "tuple", "set", "object"].map(
    (name) => `builtins.${name}`,
  ),
);

// Classes whose objects are taken as plain attributes. Whole packages are listed where a checkpoint may name any of
// their configuration classes; nothing of them is ever run, so the breadth costs no safety.
const PLAIN_CLASSES = new Set(["argparse.Namespace", "numpy.dtype", "torch.device"]);
const PLAIN_PACKAGES = ["omegaconf.", "fairseq.", "s3prl."];

const inert = (name: string): Builder => ({ name, build: (args) => new Instance(name, args) });

/** The builder that a name in a pickle stands for; any name not listed here ends the reading with a sentence. */
export function findGlobal(module: string, shortName: string, fail: Machine["fail"]): Builder {
  // Python 2 called the module __builtin__.
  const name = `${module === "__builtin__" ? "builtins" : module}.${shortName}`;
  if (Object.hasOwn(BUILDERS, name)) return { name, build: BUILDERS[name] };
  const storage = module === "torch" ? STORAGE_DTYPES.get(shortName) : undefined;
  if (storage) return { name, build: (_, { fail }) => fail(`builds a bare ${name}`) };
  if (BARE_TYPES.has(name) || /^torch\.(float|bfloat|int|uint|bool|half|double|long)\d*$/.test(name)) {
    return { name, build: (_, { fail }) => fail(`builds a bare ${name}`) };
  }
  // An omegaconf field's type: List[int] is pickled as operator.getitem(typing.List, int).
  if (module === "typing" || name === "_operator.getitem") return inert(name);
  if (PLAIN_CLASSES.has(name) || PLAIN_PACKAGES.some((start) => name.startsWith(start))) return inert(name);
  return fail(`names ${quote(name, 100)}, which is not among the plain things we read; nothing was run`);
}
