/**
 * The inner loop of resampling as a WebAssembly function of 128-bit vectors: JavaScript adds one number at a time and
 * reaches a tenth of this speed. The module is assembled here from its instructions, so nothing has to be built
 * (encoding: WebAssembly core specification 2.0, section 5).
 */

/** Byte addresses in the memory passed to `loadFilterKernel`; `bytes` must be a multiple of 64. */
export type FilterKernel = (
  input: number,
  kernel: number,
  output: number,
  bytes: number,
  inputStep: number,
  outputStep: number,
  count: number,
) => void;

// Instructions
const getLocal = 0x20;
const setLocal = 0x21;
const constant = 0x41;
const add = 0x6a;
const subtract = 0x6b;
const lessThan = 0x49;
const loop = [0x03, 0x40];
const branchIf = 0x0d;
const end = 0x0b;
const storeFloat = [0x38, 0x02, 0x00];
const addFloat = 0x92;
const loadVector = (offset: number) => [0xfd, 0x00, 0x00, offset];
const zeroVector = [0xfd, 0x0c, ...new Array<number>(16).fill(0)];
const addVector = [0xfd, 0xe4, 0x01];
const multiplyVector = [0xfd, 0xe6, 0x01];
const lane = (index: number) => [0xfd, 0x1f, index];

// Locals: the seven parameters, then the position in the kernel and four sums.
const [input, kernel, output, bytes, inputStep, outputStep, count] = [0, 1, 2, 3, 4, 5, 6];
const position = 7;
const sums = [8, 9, 10, 11];

const at = (base: number) => [getLocal, base, getLocal, position, add];
const advance = (local: number, by: number) => [getLocal, local, getLocal, by, add, setLocal, local];

/** do { output[i] = sum_k kernel[k] input[i * step + k] } while (--count), sixteen products a turn. */
const body = [
  ...[2, 1, 0x7f, 4, 0x7b], // one i32 and four v128 locals
  ...loop,
  ...sums.flatMap((sum) => [...zeroVector, setLocal, sum]),
  ...[constant, 0, setLocal, position],
  ...loop,
  ...sums.flatMap((sum, i) => [
    ...[getLocal, sum],
    ...[...at(input), ...loadVector(16 * i), ...at(kernel), ...loadVector(16 * i), ...multiplyVector],
    ...[...addVector, setLocal, sum],
  ]),
  ...[getLocal, position, constant, 0xc0, 0x00, add, setLocal, position], // 64 as signed LEB128
  ...[getLocal, position, getLocal, bytes, lessThan, branchIf, 0],
  end,
  ...[getLocal, sums[0], getLocal, sums[1], ...addVector],
  ...[getLocal, sums[2], getLocal, sums[3], ...addVector, ...addVector, setLocal, sums[0]],
  ...[getLocal, output],
  ...[getLocal, sums[0], ...lane(0), getLocal, sums[0], ...lane(1), addFloat],
  ...[getLocal, sums[0], ...lane(2), getLocal, sums[0], ...lane(3), addFloat, addFloat],
  ...storeFloat,
  ...advance(input, inputStep),
  ...advance(output, outputStep),
  ...[getLocal, count, constant, 1, subtract, setLocal, count, getLocal, count, branchIf, 0],
  end,
  end,
];

const section = (id: number, content: number[]) => [id, ...leb(content.length), ...content];
const text = (name: string) => [name.length, ...new TextEncoder().encode(name)];

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}

const moduleBytes = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...section(1, [1, 0x60, 7, ...new Array<number>(7).fill(0x7f), 0]), // one type: seven i32, no result
  ...section(2, [1, ...text("audio"), ...text("memory"), 0x02, 0x00, 0x01]),
  ...section(3, [1, 0]),
  ...section(7, [1, ...text("filter"), 0x00, 0]),
  ...section(10, [1, ...leb(body.length), ...body]),
]);

/** Instantiates the kernel over `memory`. */
export function loadFilterKernel(memory: WebAssembly.Memory): FilterKernel {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes), { audio: { memory } });
  return instance.exports["filter"] as FilterKernel;
}
