import type { Rows } from "./svm.ts";

/**
 * Gradient-boosted trees for classes: one regression tree for each class and round on first and second derivatives of the
 * softmax loss, splits by exact search, a learned side for missing values (T. Chen & C. Guestrin, KDD 2016; the exact
 * method of XGBoost with its defaults).
 */

export interface TreesOptions {
  depth: number;
  /** Default 100. */
  rounds?: number;
  /** Shrinkage of each tree, default 0.3. */
  learningRate?: number;
  /** L2 penalty on leaf values, default 1. */
  lambda?: number;
  /** Smallest sum of second derivatives in a leaf, default 1. */
  minChildWeight?: number;
}

interface Leaf {
  value: number;
}
interface Split {
  feature: number;
  threshold: number;
  /** Where rows without the feature go. */
  missingLeft: boolean;
  left: Node;
  right: Node;
}
type Node = Leaf | Split;

/** XGBoost takes no split that gains less. */
const LEAST_GAIN = 1e-6;

export class BoostedTrees {
  /** trees[round][class] */
  private readonly trees: Node[][] = [];
  private readonly classes: number;

  /** @param rows features; NaN is missing */
  constructor(rows: Rows, labels: readonly number[], classes: number, options: TreesOptions) {
    const { rounds = 100, learningRate = 0.3 } = options;
    this.classes = classes;
    const n = rows.length;
    const columns = sortedColumns(rows);
    const margins = new Float64Array(n * classes);
    for (let round = 0; round < rounds; round++) {
      const first = Array.from({ length: classes }, () => new Float64Array(n));
      const second = Array.from({ length: classes }, () => new Float64Array(n));
      for (let i = 0; i < n; i++) {
        const p = softmax(margins, i * classes, classes);
        for (let k = 0; k < classes; k++) {
          first[k][i] = Math.fround(p[k] - (labels[i] === k ? 1 : 0));
          // Twice the diagonal of the Hessian: an upper bound, as XGBoost takes it.
          second[k][i] = Math.fround(Math.max(2 * p[k] * (1 - p[k]), 1e-16));
        }
      }
      const trees = first.map((g, k) => grow({ rows, columns, g, h: second[k], ...options, learningRate }));
      for (let i = 0; i < n; i++)
        for (let k = 0; k < classes; k++) margins[i * classes + k] += marginOf(trees[k], rows[i]);
      this.trees.push(trees);
    }
  }

  /** Sums of the trees' values, before the softmax: [rows][classes]. */
  margins(rows: Rows): Float64Array[] {
    return rows.map((row) => {
      const out = new Float64Array(this.classes);
      for (const trees of this.trees)
        for (let k = 0; k < this.classes; k++) out[k] += marginOf(trees[k], row);
      return out;
    });
  }

  predict(rows: Rows): number[] {
    return this.margins(rows).map((m) => m.indexOf(Math.max(...m)));
  }
}

function softmax(margins: Float64Array, at: number, classes: number): Float64Array {
  const x = margins.subarray(at, at + classes);
  const top = Math.max(...x);
  const out = x.map((v) => Math.exp(v - top));
  const sum = out.reduce((a, b) => a + b, 0);
  return out.map((v) => v / sum);
}

function marginOf(tree: Node, row: Float64Array): number {
  let node = tree;
  while ("feature" in node) {
    const x = row[node.feature];
    const left = Number.isNaN(x) ? node.missingLeft : x < node.threshold;
    node = left ? node.left : node.right;
  }
  return node.value;
}

/** Of each feature, the rows that have it in the order of their values. */
function sortedColumns(rows: Rows): Int32Array[] {
  return Array.from({ length: rows[0].length }, (_, f) =>
    Int32Array.from(
      rows.flatMap((row, i) => (Number.isNaN(row[f]) ? [] : [i])).sort((a, b) => rows[a][f] - rows[b][f]),
    ),
  );
}

interface Growing extends TreesOptions {
  rows: Rows;
  columns: readonly Int32Array[];
  /** First and second derivatives of the loss by the margin, of each row. */
  g: Float64Array;
  h: Float64Array;
}

interface Open {
  id: number;
  g: number;
  h: number;
  put(node: Node): void;
}

interface Candidate {
  gain: number;
  feature: number;
  threshold: number;
  missingLeft: boolean;
}

/** One tree, level by level: each level scans every sorted column once for all of its open nodes. */
function grow(growing: Growing): Node {
  const { rows, g, h, depth, lambda = 1, learningRate = 0.3 } = growing;
  const place = new Int32Array(rows.length);
  let root: Node = { value: 0 };
  let next = 1;
  let level: Open[] = [
    {
      id: 0,
      g: sum(g),
      h: sum(h),
      put: (node) => {
        root = node;
      },
    },
  ];
  for (let d = 0; level.length > 0; d++) {
    const best = d < depth ? bestSplits(growing, level, place) : new Map<number, Candidate>();
    const following: Open[] = [];
    for (const open of level) {
      const split = best.get(open.id);
      if (split === undefined) {
        open.put({ value: (-learningRate * open.g) / (open.h + lambda) });
        continue;
      }
      const { feature, threshold, missingLeft } = split;
      const node: Split = { feature, threshold, missingLeft, left: { value: 0 }, right: { value: 0 } };
      open.put(node);
      const sides = (["left", "right"] as const).map(
        (side): Open => ({
          id: next++,
          g: 0,
          h: 0,
          put: (child) => {
            node[side] = child;
          },
        }),
      );
      for (let i = 0; i < rows.length; i++) {
        if (place[i] !== open.id) continue;
        const x = rows[i][feature];
        const side = sides[(Number.isNaN(x) ? missingLeft : x < threshold) ? 0 : 1];
        place[i] = side.id;
        side.g += g[i];
        side.h += h[i];
      }
      following.push(...sides);
    }
    level = following;
  }
  return root;
}

const sum = (x: Float64Array) => x.reduce((a, b) => a + b, 0);

function bestSplits(
  { rows, columns, g, h, lambda = 1, minChildWeight = 1 }: Growing,
  level: readonly Open[],
  place: Int32Array,
): Map<number, Candidate> {
  const best = new Map<number, Candidate>();
  // In single precision, as XGBoost compares them: features that divide a node alike then tie, and the first one wins.
  const score = (gs: number, hs: number) => Math.fround((gs * gs) / (hs + lambda));
  const offset = level[0].id;
  const span = level[level.length - 1].id - offset + 1;
  const opens: (Open | undefined)[] = Array.from({ length: span });
  for (const open of level) opens[open.id - offset] = open;
  const gs = new Float64Array(span);
  const hs = new Float64Array(span);
  const last = new Float64Array(span);
  const consider = (
    open: Open,
    feature: number,
    threshold: number,
    missingLeft: boolean,
    gl: number,
    hl: number,
  ) => {
    const [gr, hr] = [open.g - gl, open.h - hl];
    if (hl < minChildWeight || hr < minChildWeight) return;
    // XGBoost leaves out the common factor 1/2.
    const gain = Math.fround(Math.fround(score(gl, hl) + score(gr, hr)) - score(open.g, open.h));
    if (gain > LEAST_GAIN && gain > (best.get(open.id)?.gain ?? 0))
      best.set(open.id, { gain, feature, threshold, missingLeft });
  };
  for (const [feature, column] of columns.entries()) {
    // Upwards, rows without the feature are on the right of every split; downwards, on the left.
    for (const upwards of column.length < rows.length ? [true, false] : [true]) {
      gs.fill(0);
      hs.fill(0);
      last.fill(Number.NaN);
      for (let c = 0; c < column.length; c++) {
        const i = column[upwards ? c : column.length - 1 - c];
        const at = place[i] - offset;
        const open = at >= 0 ? opens[at] : undefined;
        if (open === undefined) continue;
        const x = rows[i][feature];
        if (!Number.isNaN(last[at]) && x !== last[at]) {
          const threshold = (x + last[at]) / 2;
          if (upwards) consider(open, feature, threshold, false, gs[at], hs[at]);
          else consider(open, feature, threshold, true, open.g - gs[at], open.h - hs[at]);
        }
        gs[at] += g[i];
        hs[at] += h[i];
        last[at] = x;
      }
      // Who has the feature against who lacks it.
      for (const open of level) {
        const at = open.id - offset;
        if (Number.isNaN(last[at]) || column.length === rows.length) continue;
        const edge = last[at] + (upwards ? 1 : -1) * (Math.abs(last[at]) + 1e-5);
        if (upwards) consider(open, feature, edge, false, gs[at], hs[at]);
        else consider(open, feature, edge, true, open.g - gs[at], open.h - hs[at]);
      }
    }
  }
  return best;
}
