import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { UserError } from "../../errors.ts";
import { type Correlation, correlate, mantel } from "../../metrics/correlation.ts";
import { isTaskFolder } from "../../superb/packed.ts";
import { MASKS, readMasks } from "../../train/mask-file.ts";
import { backboneStore, ownNames, readAnyPack } from "../../train/pack.ts";
import { checkBackbone, isPack } from "../../train/pack-file.ts";
import { readRun } from "../../train/run-folder.ts";
import {
  averageLinkage,
  type Join,
  maskSimilarities,
  type NamedMasks,
  type Similarity,
} from "./mask-similarity.ts";
import { type Combination, inventorySimilarity, readInventories } from "./phoible.ts";

export interface AnalysisOptions {
  /** ISO 639-3 code of each task, by its name; by default the name itself. */
  readonly languages?: ReadonlyMap<string, string>;
  /** PHOIBLE's inventories; without them masks are compared with each other alone. */
  readonly phoible?: string;
  readonly combine?: Combination;
  readonly permutations?: number;
  readonly backbone?: string;
}

/** How far the similarity of masks goes with that of phoneme inventories, over all pairs of languages. */
export interface Association {
  readonly part: string;
  readonly measure: "cosine" | "phi";
  /** Permutation of the languages (Mantel's test): pairs share languages, so pairs may not be shuffled one by one. */
  readonly pearson: Correlation;
  readonly spearman: Correlation;
  /** Permutation of the pairs, as if they were independent: what a test over pairs reports. */
  readonly pearsonOverPairs: Correlation;
  readonly spearmanOverPairs: Correlation;
}

export interface MaskAnalysis {
  readonly tasks: readonly string[];
  readonly layers: readonly Similarity[];
  readonly matrices: readonly Similarity[];
  /** Clustering by 1 - phi, averaged over the layers. */
  readonly clusters: readonly Join[];
  readonly inventories?: {
    readonly combine: Combination;
    readonly languages: readonly { language: string; sources: number; phonemes: number }[];
    readonly similarity: readonly (readonly number[])[];
    readonly associations: readonly Association[];
  };
}

/**
 * What masks of several tasks over one backbone say (S3-Router, section 6.3). The paper's figure is the cosine in the first layer,
 * both its matrices together; every layer and matrix is given beside it.
 * @throws UserError where backbones differ, or a language has no inventory
 */
export function analyseMasks(paths: readonly string[], options: AnalysisOptions = {}): MaskAnalysis {
  if (paths.length < 2) throw new UserError("analyse masks: needs the masks of at least two tasks");
  const loaded = paths.map((path) => loadMasks(path, options.backbone));
  const other = loaded.find(({ backbone }) => backbone !== loaded[0].backbone);
  if (other !== undefined)
    throw new UserError(`${other.path}: its masks are over another backbone than those of ${loaded[0].path}`);
  const tasks = loaded.map(({ name }) => name);
  const { layers, matrices } = maskSimilarities(loaded);
  const distance = tasks.map((_, i) =>
    tasks.map((_, j) =>
      i === j ? 0 : 1 - layers.reduce((sum, { phi }) => sum + phi[i][j], 0) / layers.length,
    ),
  );
  const analysis = { tasks, layers, matrices, clusters: averageLinkage(distance) };
  if (options.phoible === undefined) return analysis;
  const { combine = "majority", permutations } = options;
  const codes = tasks.map((task) => options.languages?.get(task) ?? task);
  const inventories = readInventories(options.phoible, codes, combine);
  const similarity = inventories.map((a) => inventories.map((b) => inventorySimilarity(a, b)));
  const associations = [...layers, ...matrices].flatMap((part) =>
    (["cosine", "phi"] as const).map((measure) => associationOf(part, measure, similarity, permutations)),
  );
  return {
    ...analysis,
    inventories: {
      combine,
      languages: inventories.map(({ language, sources, phonemes }) => ({
        language,
        sources,
        phonemes: phonemes.size,
      })),
      similarity,
      associations,
    },
  };
}

function associationOf(
  part: Similarity,
  measure: "cosine" | "phi",
  inventories: readonly (readonly number[])[],
  permutations?: number,
): Association {
  const masks = part[measure];
  const pairs = (matrix: readonly (readonly number[])[]) => matrix.flatMap((row, i) => row.slice(0, i));
  const [x, y] = [pairs(masks), pairs(inventories)];
  return {
    part: part.part,
    measure,
    pearson: mantel("pearson", masks, inventories, { permutations }),
    spearman: mantel("spearman", masks, inventories, { permutations }),
    pearsonOverPairs: correlate("pearson", x, y, { permutations }),
    spearmanOverPairs: correlate("spearman", x, y, { permutations }),
  };
}

/** The masks of a folder that holds some (a run's, a SUPERB task's), or of a pack, which needs its backbone to be read. */
function loadMasks(path: string, backbone?: string): NamedMasks & { path: string; backbone: string } {
  if (isPack(path)) {
    const pack = readAnyPack(path);
    const store = backboneStore(pack, backbone);
    checkBackbone(path, pack.backbone, ownNames(pack), store, pack.task.model.upstream.prefix);
    return { path, name: pack.name, backbone: pack.backbone, masks: pack.masks((name) => store.array(name)) };
  }
  if (!existsSync(path) || !statSync(path).isDirectory())
    throw new UserError(`${path}: is neither a run's folder nor a mask pack`);
  const info = readRun(path);
  const stored = readMasks(join(path, MASKS));
  const name = info?.name ?? (isTaskFolder(path) ? basename(resolve(path)) : path);
  return { path, name, backbone: stored.backbone, masks: stored.masks };
}
