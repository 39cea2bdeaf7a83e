import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import koffi from "koffi";

/*
 * ONNX Runtime's C interface, called in the library that onnxruntime-node ships. The package's own JavaScript binding
 * copies every output into a fresh array even where it was told where to write: 360 MB of gradients at each step of a
 * base model, and 1 GB at each optimiser step, which cost more than the update itself and keep the garbage collector
 * busy. Function numbers are places in the OrtApi table, which only ever grows at its end.
 */

/** A native address. */
export type Address = bigint;
type Pointer = Address | ArrayBufferView | null;

const API_VERSION = 21;

/** Paths are wide strings on Windows. */
const PATH = process.platform === "win32" ? "const char16_t *" : "const char *";

const FUNCTIONS = {
  GetErrorMessage: [2, "const char *", ["void *"]],
  CreateEnv: [3, "void *", ["int", "const char *", "void *"]],
  CreateSession: [7, "void *", ["void *", PATH, "void *", "void *"]],
  CreateSessionFromArray: [8, "void *", ["void *", "void *", "size_t", "void *", "void *"]],
  Run: [9, "void *", ["void *", "void *", "void *", "void *", "size_t", "void *", "size_t", "void *"]],
  CreateSessionOptions: [10, "void *", ["void *"]],
  SetOptimizedModelFilePath: [11, "void *", ["void *", PATH]],
  EnableProfiling: [14, "void *", ["void *", PATH]],
  DisableMemPattern: [17, "void *", ["void *"]],
  DisableCpuMemArena: [19, "void *", ["void *"]],
  SetSessionLogSeverityLevel: [22, "void *", ["void *", "int"]],
  SetSessionGraphOptimizationLevel: [23, "void *", ["void *", "int"]],
  SetIntraOpNumThreads: [24, "void *", ["void *", "int"]],
  SetInterOpNumThreads: [25, "void *", ["void *", "int"]],
  SessionGetInputCount: [30, "void *", ["void *", "void *"]],
  SessionGetOutputCount: [31, "void *", ["void *", "void *"]],
  SessionGetInputName: [36, "void *", ["void *", "size_t", "void *", "void *"]],
  SessionGetOutputName: [37, "void *", ["void *", "size_t", "void *", "void *"]],
  CreateTensorWithDataAsOrtValue: [
    49,
    "void *",
    ["void *", "void *", "size_t", "void *", "size_t", "int", "void *"],
  ],
  GetTensorMutableData: [51, "void *", ["void *", "void *"]],
  GetTensorElementType: [60, "void *", ["void *", "void *"]],
  GetDimensionsCount: [61, "void *", ["void *", "void *"]],
  GetDimensions: [62, "void *", ["void *", "void *", "size_t"]],
  GetTensorTypeAndShape: [65, "void *", ["void *", "void *"]],
  CreateCpuMemoryInfo: [69, "void *", ["int", "int", "void *"]],
  AllocatorAlloc: [75, "void *", ["void *", "size_t", "void *"]],
  AllocatorFree: [76, "void *", ["void *", "void *"]],
  GetAllocatorWithDefaultOptions: [78, "void *", ["void *"]],
  ReleaseStatus: [93, "void", ["void *"]],
  ReleaseSession: [95, "void", ["void *"]],
  ReleaseValue: [96, "void", ["void *"]],
  ReleaseTensorTypeAndShapeInfo: [99, "void", ["void *"]],
  ReleaseSessionOptions: [100, "void", ["void *"]],
  SessionEndProfiling: [110, "void *", ["void *", "void *", "void *"]],
  AddSessionConfigEntry: [130, "void *", ["void *", "const char *", "const char *"]],
  CreateAllocator: [131, "void *", ["void *", "void *", "void *"]],
  ReleaseAllocator: [132, "void", ["void *"]],
  CreateAndRegisterAllocator: [144, "void *", ["void *", "void *", "void *"]],
  CreateArenaCfg: [156, "void *", ["size_t", "int", "int", "int", "void *"]],
} as const;
/** What koffi makes of a prototype. */
interface NativeFunction {
  (...args: Argument[]): unknown;
  async(...args: unknown[]): void;
}

type FunctionName = keyof typeof FUNCTIONS;
type Argument = Pointer | number | string;

/** The loaded library: its functions, one environment and the description of processor memory. */
export interface OrtLibrary {
  /** Calls a function that returns a status. @throws Error with the runtime's message where it is not success. */
  call(name: FunctionName, ...args: Argument[]): void;
  /** The same on another thread: the event loop goes on. */
  callAsync(name: FunctionName, ...args: Argument[]): Promise<void>;
  /** Calls a function whose last parameter takes a new object's address, and returns that. */
  create(name: FunctionName, ...args: Argument[]): Address;
  /** Calls one of the functions that free an object. */
  release(name: FunctionName, address: Address): void;
  /** A copy of native bytes. */
  read(address: Address, bytes: number): ArrayBuffer;
  readString(address: Address): string;
  readonly environment: Address;
  readonly cpuMemory: Address;
  readonly allocator: Address;
}

const LIBRARY_FILES: Partial<Record<NodeJS.Platform, string>> = {
  linux: "libonnxruntime.so.1",
  darwin: "libonnxruntime.1.30.0.dylib",
  win32: "onnxruntime.dll",
};

const LOG_ERRORS = 3;
const ARENA_ALLOCATOR = 1;
const DEFAULT_MEMORY = 0;
const EXTEND_AS_REQUESTED = 1;

let loaded: OrtLibrary | undefined;
/** koffi unloads a library that the garbage collector finds unused, and function pointers do not count as use. */
let library: ReturnType<typeof koffi.load> | undefined;

/** Loads ONNX Runtime's library. @throws Error where this platform's file is not there. */
export function ortLibrary(): OrtLibrary {
  loaded ??= load();
  return loaded;
}

function load(): OrtLibrary {
  const file = LIBRARY_FILES[process.platform];
  if (file === undefined) throw new Error(`no ONNX Runtime library is known for ${process.platform}`);
  const root = dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
  library = koffi.load(join(root, "bin", "napi-v6", process.platform, process.arch, file));
  const base = library.func("void *OrtGetApiBase()")() as Address;
  const words = (address: Address, count: number) =>
    new BigUint64Array(koffi.view(address, 8 * count).slice(0));
  const getApi = koffi.decode(words(base, 1)[0], koffi.proto("GetApi", "void *", ["uint32_t"]));
  const table = getApi(API_VERSION) as Address | null;
  if (table === null) throw new Error(`${file} does not offer interface ${API_VERSION}`);
  const places = Math.max(...Object.values(FUNCTIONS).map(([place]) => place)) + 1;
  const addresses = words(table, places);
  const functions = new Map(
    Object.entries(FUNCTIONS).map(([name, [place, result, parameters]]) => [
      name,
      koffi.decode(addresses[place], koffi.proto(`Ort${name}`, result, [...parameters])) as NativeFunction,
    ]),
  );
  const get = (name: FunctionName) => functions.get(name)!;
  const check = (name: FunctionName, status: unknown) => {
    if (status === null) return;
    const message = get("GetErrorMessage")(status as Address) as string;
    get("ReleaseStatus")(status as Address);
    throw new Error(`${name}: ${message}`);
  };
  const call = (name: FunctionName, ...args: Argument[]) => check(name, get(name)(...args));
  const create = (name: FunctionName, ...args: Argument[]) => {
    const out = new BigUint64Array(1);
    call(name, ...args, out);
    return out[0];
  };
  const environment = create("CreateEnv", LOG_ERRORS, "voxsmith");
  const cpuMemory = create("CreateCpuMemoryInfo", ARENA_ALLOCATOR, DEFAULT_MEMORY);
  // Activations of a training step come in a few large sizes: doubling the arena at each want wastes a third of it.
  const arena = create("CreateArenaCfg", 0, EXTEND_AS_REQUESTED, -1, -1);
  call("CreateAndRegisterAllocator", environment, cpuMemory, arena);
  return {
    call,
    create,
    callAsync: (name, ...args) =>
      new Promise((resolve, reject) => {
        get(name).async(...args, (error: Error | null, status: Address | null) => {
          try {
            if (error) throw error;
            check(name, status);
            resolve();
          } catch (fault) {
            reject(fault);
          }
        });
      }),
    release: (name, address) => {
      get(name)(address);
    },
    read: (address, bytes) => koffi.view(address, bytes).slice(0),
    readString: (address) => koffi.decode(address, "char", -1) as string,
    environment,
    cpuMemory,
    allocator: create("GetAllocatorWithDefaultOptions"),
  };
}
