import { UserError } from "../../errors.ts";
import { countBits } from "../../train/mask-file.ts";
import type { MaskBits } from "../../train/masks.ts";

/** One task's masks. */
export interface NamedMasks {
  readonly name: string;
  readonly masks: readonly MaskBits[];
}

/** How alike the masks of each pair of tasks are, in some part of the model. */
export interface Similarity {
  /** `layer 0`, or a matrix's name. */
  readonly part: string;
  readonly weights: number;
  /** Cosine of the 0/1 masks. */
  readonly cosine: readonly (readonly number[])[];
  /** Correlation of the 0/1 masks (phi): 0 for masks that were drawn independently, whatever they keep. */
  readonly phi: readonly (readonly number[])[];
}

/**
 * Similarities layer by layer, all masked matrices of a layer taken together, and matrix by matrix. With a share p of weights
 * kept, two random masks have cosine p, so that raw cosines lie close to each other; phi takes that off.
 * @throws UserError where two tasks do not mask the same matrices
 */
export function maskSimilarities(tasks: readonly NamedMasks[]): {
  layers: Similarity[];
  matrices: Similarity[];
} {
  const [first] = tasks;
  const names = first.masks.map(({ name }) => name).sort();
  for (const { name, masks } of tasks) {
    const own = masks.map((mask) => mask.name).sort();
    const other = own.find((each) => !names.includes(each)) ?? names.find((each) => !own.includes(each));
    if (other !== undefined)
      throw new UserError(
        `${name} and ${first.name} do not mask the same matrices (only one of them masks "${other}")`,
      );
  }
  const layers = new Map<number, string[]>();
  for (const name of names) {
    const layer = Number(/layers\.(\d+)\./.exec(name)![1]);
    layers.set(layer, [...(layers.get(layer) ?? []), name]);
  }
  return {
    layers: [...layers]
      .sort(([a], [b]) => a - b)
      .map(([layer, members]) => similarityOf(`layer ${layer}`, tasks, members)),
    matrices: names.map((name) => similarityOf(name, tasks, [name])),
  };
}

function similarityOf(part: string, tasks: readonly NamedMasks[], names: readonly string[]): Similarity {
  const parts = tasks.map(({ masks }) => names.map((name) => masks.find((mask) => mask.name === name)!));
  const weights = parts[0].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const kept = parts.map((masks) => masks.reduce((sum, mask) => sum + mask.kept, 0));
  const shared = (i: number, j: number) =>
    parts[i].reduce((sum, { bits }, k) => sum + commonBits(bits, parts[j][k].bits), 0);
  const both = parts.map((_, i) => parts.slice(0, i).map((_, j) => shared(i, j)));
  const pairs = (value: (common: number, a: number, b: number) => number) =>
    parts.map((_, i) =>
      parts.map((_, j) => (i === j ? 1 : value(both[Math.max(i, j)][Math.min(i, j)], kept[i], kept[j]))),
    );
  return {
    part,
    weights,
    cosine: pairs((common, a, b) => common / Math.sqrt(a * b)),
    phi: pairs((common, a, b) => {
      const spread = Math.sqrt(a * (weights - a) * b * (weights - b));
      // A mask that keeps all or nothing correlates with nothing.
      return spread === 0 ? 0 : (weights * common - a * b) / spread;
    }),
  };
}

function commonBits(a: Uint8Array, b: Uint8Array): number {
  const common = new Uint8Array(a.length);
  for (let i = 0; i < a.length; i++) common[i] = a[i] & b[i];
  return countBits(common);
}

/** A step of clustering: two clusters (items, or earlier steps numbered on from the items) joined at a distance. */
export interface Join {
  readonly a: number;
  readonly b: number;
  readonly distance: number;
}

/** Agglomerative clustering by average distance (UPGMA), as SciPy's `linkage(..., "average")` joins. */
export function averageLinkage(distances: readonly (readonly number[])[]): Join[] {
  const clusters = new Map(distances.map((_, i) => [i, [i]]));
  const joins: Join[] = [];
  const between = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, i) => sum + y.reduce((inner, j) => inner + distances[i][j], 0), 0) / (x.length * y.length);
  while (clusters.size > 1) {
    let best: Join | undefined;
    for (const [a, x] of clusters)
      for (const [b, y] of clusters) {
        if (a >= b) continue;
        const distance = between(x, y);
        if (best === undefined || distance < best.distance) best = { a, b, distance };
      }
    const { a, b } = best!;
    clusters.set(distances.length + joins.length, [...clusters.get(a)!, ...clusters.get(b)!]);
    clusters.delete(a);
    clusters.delete(b);
    joins.push(best!);
  }
  return joins;
}
