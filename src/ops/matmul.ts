import { defineOp } from "../tensor/define.ts";
import { broadcast, type Dim, product, sameDim, symbol } from "../tensor/dims.ts";
import { broadcastOffset, generate } from "../tensor/evaluate.ts";
import { describe, type Emit, type NdArray, type Tensor } from "../tensor/tensor.ts";
import { reshape } from "./movement.ts";

interface MatMulAttrs {
  transA: boolean;
  transB: boolean;
  alpha: number;
}

const names = ["a", "b", "bias"];
const CONTRIB = { domain: "com.microsoft" };

/** Sides of a product from which on a transposed left operand is written out. */
const LONG = 128;

/**
 * A product of matrices. The runtime's kernel reads a transposed left operand (a weight's gradient is dy^T x) 1.4 times
 * slower than a plain one; writing it out first costs at most a tenth of the product. A result of twice as many rows as
 * columns is computed transposed, since the kernel keeps all rows of a few columns in the cache.
 */
function gemm(
  e: Emit,
  [left, right, ...bias]: readonly string[],
  { transA, transB, alpha }: MatMulAttrs,
  [rows, columns]: [Dim, Dim],
): string {
  const product = (a: string, b: string, swapA: boolean, swapB: boolean) =>
    e.node("Gemm", [a, b, ...bias], {
      ...{ transA: +swapA, transB: +swapB },
      ...{ alpha: { float: alpha }, beta: { float: 1 } },
    });
  const turned = (name: string) => e.node("Transpose", [name], { perm: [1, 0] });
  const long = (size: Dim): size is number => typeof size === "number" && size >= LONG;
  if (!transA || !long(rows) || !long(columns)) return product(left, right, transA, transB);
  if (rows < 2 * columns || transB || bias.length > 0) return product(turned(left), right, false, transB);
  return turned(product(turned(right), left, false, false));
}

/** [rows, inner] of an operand after its transposition. */
function sides({ shape }: { shape: readonly Dim[] }, transposed: boolean): [Dim, Dim] {
  const [x, y] = [shape[shape.length - 2], shape[shape.length - 1]];
  return transposed ? [y, x] : [x, y];
}

const matMulOp = defineOp<MatMulAttrs>({
  name: "matMul",
  doc: "y = alpha op(a) op(b) (+ bias for matrices), op = transpose of the last two axes where asked; leading axes broadcast.",
  infer: (inputs, { transA, transB }) => {
    const [a, b, bias] = inputs;
    const fault = (what: string): never => {
      throw new Error(`${describe("matMul", inputs, names)}: ${what}`);
    };
    if (a.shape.length < 2 || b.shape.length < 2) fault("wants at least two axes");
    const [rows, inner] = sides(a, transA);
    const [innerB, columns] = sides(b, transB);
    if (!sameDim(inner, innerB))
      fault(`inner sizes ${inner} and ${innerB} differ (transA ${transA}, transB ${transB})`);
    const batch =
      broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)) ?? fault("leading axes do not broadcast");
    if (
      bias !== undefined &&
      (batch.length > 0 || bias.shape.length !== 1 || !sameDim(bias.shape[0], columns))
    )
      fault(`the bias must be [${columns}] and the operands matrices`);
    return [{ shape: [...batch, rows, columns], dtype: "f32" }];
  },
  emit: (e, inputs, { transA, transB, alpha }, node) => {
    const [a, b] = node.inputs;
    if (a.shape.length === 2 && b.shape.length === 2)
      return [gemm(e, inputs, { transA, transB, alpha }, [sides(a, transA)[0], sides(b, transB)[1]])];
    if (e.target.contrib) {
      if (!transA && !transB && alpha === 1) return [e.node("MatMul", inputs)];
      return [
        e.node("FusedMatMul", inputs, { transA: +transA, transB: +transB, alpha: { float: alpha } }, CONTRIB),
      ];
    }
    const swapped = (name: string, { shape }: Tensor) => {
      const perm = shape.map((_, axis) => axis);
      [perm[perm.length - 1], perm[perm.length - 2]] = [perm.length - 2, perm.length - 1];
      return e.node("Transpose", [name], { perm });
    };
    const left = transA ? swapped(inputs[0], a) : inputs[0];
    const right = transB ? swapped(inputs[1], b) : inputs[1];
    const result = e.node("MatMul", [left, right]);
    return [alpha === 1 ? result : e.node("Mul", [result, e.constant("f32", [], [alpha])])];
  },
  vjp: [
    ({ dy, inputs: [, b], attrs: { transA, transB, alpha } }) =>
      transA
        ? matMul(b, dy, { transA: transB, transB: true, alpha })
        : matMul(dy, b, { transB: !transB, alpha }),
    ({ dy, inputs: [a], attrs: { transA, transB, alpha } }) =>
      transB
        ? matMul(dy, a, { transA: true, transB: transA, alpha })
        : matMul(a, dy, { transA: !transA, alpha }),
    // The walk sums over the rows.
    ({ dy }) => dy,
  ],
  traits: { product: true },
  reference: (inputs, { transA, transB, alpha }) => {
    const [a, b, bias] = inputs;
    const [rows, inner] = sides(a, transA) as [number, number];
    const columns = sides(b, transB)[1] as number;
    const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)) as number[];
    const at = (x: NdArray, index: readonly number[], row: number, column: number, trans: boolean) => {
      const place = [...index.slice(0, -2), trans ? column : row, trans ? row : column];
      return x.data[broadcastOffset(x.shape, place)];
    };
    return [
      generate([...batch, rows, columns], (index) => {
        const [row, column] = index.slice(-2);
        let sum = 0;
        for (let k = 0; k < inner; k++) sum += at(a, index, row, k, transA) * at(b, index, k, column, transB);
        return alpha * sum + (bias?.data[column] ?? 0);
      }),
    ];
  },
  samples: [
    ...[false, true].flatMap((transA) =>
      [false, true].map((transB) => ({
        inputs: [{ shape: transA ? [4, 3] : [3, 4] }, { shape: transB ? [5, 4] : [4, 5] }, { shape: [5] }],
        attrs: { transA, transB, alpha: 1 },
      })),
    ),
    // Long sides: each way of writing out a transposed left operand.
    {
      inputs: [{ shape: [3, 128] }, { shape: [3, 130] }],
      attrs: { transA: true, transB: false, alpha: 0.5 },
    },
    {
      inputs: [{ shape: [3, 256] }, { shape: [3, 128] }],
      attrs: { transA: true, transB: false, alpha: 0.5 },
    },
    { inputs: [{ shape: [3, 256] }, { shape: [128, 3] }], attrs: { transA: true, transB: true, alpha: 1 } },
    {
      inputs: [{ shape: [3, 256] }, { shape: [3, 128] }, { shape: [128] }],
      attrs: { transA: true, transB: false, alpha: 1 },
    },
    {
      inputs: [{ shape: [2, 3, 4] }, { shape: [2, 5, 4] }],
      attrs: { transA: false, transB: true, alpha: 0.5 },
    },
    {
      inputs: [{ shape: [2, 4, 3] }, { shape: [2, 4, 5] }],
      attrs: { transA: true, transB: false, alpha: 1 },
    },
    { inputs: [{ shape: [2, 4, 3] }, { shape: [2, 5, 4] }], attrs: { transA: true, transB: true, alpha: 1 } },
    {
      inputs: [{ shape: [3, 1, 2, 4] }, { shape: [2, 4, 3] }],
      attrs: { transA: false, transB: false, alpha: 1 },
    },
    {
      inputs: [{ shape: [symbol("rows"), 4] }, { shape: [4, 2] }],
      attrs: { transA: false, transB: false, alpha: 2 },
      dims: { rows: 3 },
    },
  ],
  // A transposed operand is read in place instead of being written out, and a scale becomes alpha.
  simplify: (inputs, attrs): Tensor | undefined => {
    const [a, b, ...rest] = inputs;
    const [plainA, plainB] = [swapOf(a), swapOf(b)];
    if (plainA === undefined && plainB === undefined) return undefined;
    const swapped = {
      ...attrs,
      transA: attrs.transA !== (plainA !== undefined),
      transB: attrs.transB !== (plainB !== undefined),
    };
    return matMulOp([plainA ?? a, plainB ?? b, ...rest], swapped)[0];
  },
});

/** What was transposed, where a tensor is another with its last two axes swapped. */
function swapOf({ node }: Tensor): Tensor | undefined {
  if (node.op.name !== "transpose") return undefined;
  const { perm } = node.attrs as { perm: readonly number[] };
  const last = perm.length - 1;
  const swaps = perm.every((axis, i) => axis === (i === last ? last - 1 : i === last - 1 ? last : i));
  return swaps && perm.length >= 2 ? node.inputs[0] : undefined;
}

export function matMul(a: Tensor, b: Tensor, options: Partial<MatMulAttrs> & { bias?: Tensor } = {}): Tensor {
  const { bias, transA = false, transB = false, alpha = 1 } = options;
  return matMulOp(bias === undefined ? [a, b] : [a, b, bias], { transA, transB, alpha })[0];
}

/**
 * y = x W^T + b over the last axis, any leading axes; `weight` [out, in] as PyTorch's Linear keeps it. The leading
 * axes are folded into one so that the weight's gradient is a single matrix product.
 */
export function affine(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const leading = x.shape.slice(0, -1);
  const inner = x.shape[x.shape.length - 1];
  const rows = reshape(x, [product(leading), inner]);
  const y = matMul(rows, weight, { transB: true, bias });
  return reshape(y, [...leading, weight.shape[0]]);
}
