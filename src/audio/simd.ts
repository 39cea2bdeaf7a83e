/**
 * The inner loop of resampling as a WebAssembly function of 128-bit vectors: JavaScript adds one number at a time and
 * reaches a tenth of this speed. The module is assembled here from its instructions, so nothing has to be built
 * (encoding: WebAssembly core specification 2.0, section 5).
 */

/**
 * Byte addresses in the memory passed to `loadFilterKernel`; `bytes` must be a multiple of 32. Outputs are made four at a time,
 * `turns` times: each number of the kernel is loaded once for four sums.
 */
export type FilterKernel = (
  input: number,
  kernel: number,
  output: number,
  bytes: number,
  inputStep: number,
  outputStep: number,
  turns: number,
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

// Locals: the seven parameters, the position in the kernel, the inputs of the other three outputs; then as vectors a sum
// for each output and a piece of the kernel. More vectors than these no longer fit V8's registers and halve the speed.
const [input, kernel, output, bytes, inputStep, outputStep, turns] = [0, 1, 2, 3, 4, 5, 6];
const position = 7;
const inputs = [input, 8, 9, 10];
const sums = [11, 12, 13, 14];
const piece = 15;

const at = (base: number) => [getLocal, base, getLocal, position, add];
const advance = (local: number, by: number) => [getLocal, local, getLocal, by, add, setLocal, local];

/** do { output[i] = sum_k kernel[k] input[i * step + k] for four i } while (--turns), eight products of each a round. */
const body = [
  ...[2, 4, 0x7f, 5, 0x7b], // four i32 and five v128 locals
  ...loop,
  ...sums.flatMap((sum) => [...zeroVector, setLocal, sum]),
  ...inputs.slice(1).flatMap((next, i) => [getLocal, inputs[i], getLocal, inputStep, add, setLocal, next]),
  ...[constant, 0, setLocal, position],
  ...loop,
  ...[0, 16].flatMap((offset) => [
    ...[...at(kernel), ...loadVector(offset), setLocal, piece],
    ...sums.flatMap((sum, i) => [
      ...[getLocal, sum, ...at(inputs[i]), ...loadVector(offset), getLocal, piece, ...multiplyVector],
      ...[...addVector, setLocal, sum],
    ]),
  ]),
  ...[getLocal, position, constant, 32, add, setLocal, position],
  ...[getLocal, position, getLocal, bytes, lessThan, branchIf, 0],
  end,
  ...sums.flatMap((sum) => [
    ...[getLocal, output],
    ...[getLocal, sum, ...lane(0), getLocal, sum, ...lane(1), addFloat],
    ...[getLocal, sum, ...lane(2), getLocal, sum, ...lane(3), addFloat, addFloat],
    ...storeFloat,
    ...advance(output, outputStep),
  ]),
  ...[getLocal, inputs[3], getLocal, inputStep, add, setLocal, input],
  ...[getLocal, turns, constant, 1, subtract, setLocal, turns, getLocal, turns, branchIf, 0],
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
