import { type Random, random } from "../random.ts";

/**
 * Random forests of classification trees (L. Breiman, Machine Learning 45, 2001) as scikit-learn grows them: each tree on a
 * bootstrap sample, the best split by Gini impurity among sqrt(d) features drawn at each node, the mean of the leaves' class
 * shares as probabilities. One tree on all rows and features is scikit-learn's decision tree.
 */
export interface ForestOptions {
  /** Default 100. */
  readonly trees?: number;
  /** Splits above a leaf at most (default without limit). */
  readonly depth?: number;
  /** Features that a split looks at: sqrt(d) rounded down (default), or all. */
  readonly features?: "sqrt" | "all";
  /** Whether each tree sees rows drawn with replacement (default), or all of them. */
  readonly bootstrap?: boolean;
  readonly seed?: number;
}

interface Leaf {
  readonly shares: Float64Array;
}
interface Split {
  readonly feature: number;
  readonly threshold: number;
  readonly left: Node;
  readonly right: Node;
}
type Node = Leaf | Split;

/** Values that lie nearer to each other than this count as equal, as in scikit-learn. */
const EQUAL = 1e-7;

export class RandomForest {
  private readonly trees: Node[] = [];
  private readonly classes: number;

  /**
   * @param rows features [rows][d]
   * @param labels class of each row, from 0
   * @throws RangeError without rows
   */
  constructor(
    rows: readonly Float32Array[],
    labels: readonly number[],
    classes: number,
    options: ForestOptions = {},
  ) {
    const {
      trees = 100,
      depth = Number.POSITIVE_INFINITY,
      features = "sqrt",
      bootstrap = true,
      seed = 0,
    } = options;
    if (rows.length === 0) throw new RangeError("a forest needs rows to grow on");
    this.classes = classes;
    const d = rows[0].length;
    const tried = features === "all" ? d : Math.max(1, Math.floor(Math.sqrt(d)));
    for (let t = 0; t < trees; t++) {
      const chance = random(seed, "forest", t);
      const weights = new Float64Array(rows.length);
      if (bootstrap) for (let i = 0; i < rows.length; i++) weights[chance.int(rows.length)]++;
      else weights.fill(1);
      const members = Array.from(weights.keys()).filter((i) => weights[i] > 0);
      this.trees.push(grow({ rows, labels, classes, weights, tried, chance }, members, depth));
    }
  }

  /** Probabilities of the classes for a row. */
  probabilities(row: Float32Array): Float64Array {
    const out = new Float64Array(this.classes);
    for (const tree of this.trees) {
      let node = tree;
      while ("feature" in node) node = row[node.feature] <= node.threshold ? node.left : node.right;
      for (let c = 0; c < this.classes; c++) out[c] += node.shares[c] / this.trees.length;
    }
    return out;
  }

  /** The likeliest class, the first of equals. */
  predict(row: Float32Array): number {
    const p = this.probabilities(row);
    return p.indexOf(Math.max(...p));
  }
}

interface Growth {
  readonly rows: readonly Float32Array[];
  readonly labels: readonly number[];
  readonly classes: number;
  /** How often each row counts. */
  readonly weights: Float64Array;
  readonly tried: number;
  readonly chance: Random;
}

function grow(given: Growth, members: readonly number[], depth: number): Node {
  const counts = countsOf(given, members);
  const total = counts.reduce((a, b) => a + b, 0);
  const leaf = { shares: counts.map((count) => count / total) };
  if (depth === 0 || members.length < 2 || counts.some((count) => count === total)) return leaf;
  const split = bestSplit(given, members, counts);
  if (split === undefined) return leaf;
  const { feature, threshold } = split;
  const { rows } = given;
  const left = members.filter((i) => rows[i][feature] <= threshold);
  const right = members.filter((i) => rows[i][feature] > threshold);
  return { feature, threshold, left: grow(given, left, depth - 1), right: grow(given, right, depth - 1) };
}

function countsOf({ labels, weights, classes }: Growth, members: readonly number[]): Float64Array {
  const counts = new Float64Array(classes);
  for (const i of members) counts[labels[i]] += weights[i];
  return counts;
}

/** The split with the least impurity among features drawn without replacement; those that are constant do not count as drawn. */
function bestSplit(given: Growth, members: readonly number[], counts: Float64Array) {
  const { rows, labels, weights, tried, chance } = given;
  const order = Array.from(rows[0].keys());
  let best: { feature: number; threshold: number } | undefined;
  let most = Number.NEGATIVE_INFINITY;
  for (let drawn = 0, looked = 0; drawn < order.length && looked < tried; drawn++) {
    const pick = drawn + chance.int(order.length - drawn);
    [order[drawn], order[pick]] = [order[pick], order[drawn]];
    const feature = order[drawn];
    const sorted = [...members].sort((a, b) => rows[a][feature] - rows[b][feature]);
    const value = (place: number) => rows[sorted[place]][feature];
    if (value(sorted.length - 1) <= value(0) + EQUAL) continue;
    looked++;
    const [left, right] = [new Float64Array(counts.length), counts.slice()];
    for (let place = 0; place + 1 < sorted.length; place++) {
      const i = sorted[place];
      left[labels[i]] += weights[i];
      right[labels[i]] -= weights[i];
      if (value(place + 1) <= value(place) + EQUAL) continue;
      const gain = purity(left) + purity(right);
      if (gain <= most) continue;
      most = gain;
      const middle = value(place) / 2 + value(place + 1) / 2;
      best = { feature, threshold: middle === value(place + 1) ? value(place) : middle };
    }
  }
  return best;
}

/** Sum of squared counts over their sum: the larger over both sides, the less impure they are. */
function purity(counts: Float64Array): number {
  let [squares, sum] = [0, 0];
  for (const count of counts) {
    squares += count * count;
    sum += count;
  }
  return squares / sum;
}
