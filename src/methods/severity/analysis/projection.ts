import { UMAP } from "umap-js";
import { random } from "../../../random.ts";

/** Maps of points to the plane, and how far apart groups of points are. */

export type Point = readonly [x: number, y: number];

/**
 * The first two principal components: [rows][2]. By power iteration on the rows' inner products, which are few where
 * dimensions are many; signs are such that each component's largest value is positive.
 */
export function principalComponents(rows: readonly Float64Array[]): Point[] {
  const n = rows.length;
  const mean = rows[0].map((_, k) => rows.reduce((sum, row) => sum + row[k], 0) / n);
  const centred = rows.map((row) => row.map((x, k) => x - mean[k]));
  const gram = centred.map((a) =>
    Float64Array.from(centred, (b) => a.reduce((sum, x, k) => sum + x * b[k], 0)),
  );
  const first = leading(gram, []);
  const second = leading(gram, [first.vector]);
  const scaled = ({ vector, value }: ReturnType<typeof leading>) => {
    const top = vector.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
    return vector.map((x) => x * Math.sqrt(Math.max(0, value)) * (top < 0 ? -1 : 1));
  };
  const [x, y] = [scaled(first), scaled(second)];
  return rows.map((_, i) => [x[i], y[i]] as const);
}

/** The leading eigenvector of a symmetric matrix, orthogonal to those known. */
function leading(
  matrix: readonly Float64Array[],
  known: readonly Float64Array[],
): { vector: Float64Array; value: number } {
  const chance = random("principal component", known.length);
  let vector = Float64Array.from(matrix, () => chance.normal());
  let value = 0;
  for (let step = 0; step < 500; step++) {
    for (const other of known) {
      const along = dot(vector, other);
      vector = vector.map((x, i) => x - along * other[i]);
    }
    const next = Float64Array.from(matrix, (row) => dot(row, vector));
    const size = Math.sqrt(dot(next, next));
    if (size < 1e-12) return { vector: vector.map(() => 0), value: 0 };
    const unit = next.map((x) => x / size);
    const change = unit.reduce((sum, x, i) => sum + (x - vector[i]) ** 2, 0);
    [vector, value] = [unit, size];
    if (change < 1e-20) break;
  }
  return { vector, value };
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);

/** UMAP (McInnes et al. 2018) with its usual settings and randomness from a seed: [rows][2]. */
export function umap(rows: readonly Float64Array[], seed = 1): Point[] {
  const chance = random(seed, "umap");
  const map = new UMAP({
    nNeighbors: Math.max(2, Math.min(15, rows.length - 1)),
    minDist: 0.1,
    random: () => chance.next(),
  });
  return map.fit(rows.map((row) => [...row])).map(([x, y]) => [x, y] as const);
}

/**
 * Mean silhouette (Rousseeuw 1987) of points by group, in [-1, 1]: how much nearer a point's own group is than the nearest
 * other one. Points alone in their group count 0; NaN with fewer than two groups.
 */
export function silhouette(rows: readonly Float64Array[], groups: readonly string[]): number {
  const names = [...new Set(groups)];
  if (names.length < 2) return Number.NaN;
  const distance = (a: Float64Array, b: Float64Array) =>
    Math.sqrt(a.reduce((sum, x, k) => sum + (x - b[k]) ** 2, 0));
  let total = 0;
  for (const [i, row] of rows.entries()) {
    const sums = new Map(names.map((name) => [name, { sum: 0, count: 0 }]));
    for (const [j, other] of rows.entries()) {
      if (i === j) continue;
      const of = sums.get(groups[j])!;
      of.sum += distance(row, other);
      of.count++;
    }
    const own = sums.get(groups[i])!;
    if (own.count === 0) continue;
    const inside = own.sum / own.count;
    const outside = Math.min(
      ...names
        .filter((name) => name !== groups[i])
        .map((name) => sums.get(name)!.sum / sums.get(name)!.count),
    );
    total += (outside - inside) / Math.max(outside, inside, 1e-12);
  }
  return total / rows.length;
}
