import { readFileSync } from "node:fs";
import { UserError } from "../../errors.ts";
import { reason } from "../../weights/file.ts";

/** Phoneme inventories of languages (PHOIBLE, Moran and McCloy 2019), and how alike two languages are in them. */

/**
 * How several inventories of one language become one vector: `majority` counts a phoneme that at least half of them list,
 * `union` any, `mean` the share of them.
 */
export type Combination = "majority" | "union" | "mean";

export interface Inventory {
  /** ISO 639-3. */
  readonly language: string;
  /** How many inventories there are of it. */
  readonly sources: number;
  /** Weight of each phoneme, above 0. */
  readonly phonemes: ReadonlyMap<string, number>;
}

const COLUMNS = ["InventoryID", "ISO6393", "Phoneme"] as const;

/**
 * Reads `inventories.tsv`: one phoneme of one inventory a line, with a header that names InventoryID, ISO6393 and Phoneme.
 * @throws UserError naming the file, or the language that it does not have
 */
export function readInventories(
  path: string,
  languages: readonly string[],
  combination: Combination,
): Inventory[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  const [header, ...lines] = text.split("\n");
  const names = header.trim().split("\t");
  const [id, iso, phoneme] = COLUMNS.map((column) => {
    const place = names.indexOf(column);
    if (place < 0) throw new UserError(`${path}: its header has no column ${column}`);
    return place;
  });
  const wanted = new Set(languages);
  const byLanguage = new Map<string, Map<string, Set<string>>>();
  for (const line of lines) {
    const fields = line.split("\t");
    if (!wanted.has(fields[iso])) continue;
    const inventories = byLanguage.get(fields[iso]) ?? new Map<string, Set<string>>();
    byLanguage.set(fields[iso], inventories);
    const phonemes = inventories.get(fields[id]) ?? new Set<string>();
    inventories.set(fields[id], phonemes);
    phonemes.add(fields[phoneme].trim().normalize("NFD"));
  }
  return languages.map((language) => {
    const inventories = byLanguage.get(language);
    if (inventories === undefined)
      throw new UserError(
        `${path}: has no inventory of "${language}"; languages are ISO 639-3 codes such as nld`,
      );
    return {
      language,
      sources: inventories.size,
      phonemes: combined([...inventories.values()], combination),
    };
  });
}

function combined(
  inventories: readonly ReadonlySet<string>[],
  combination: Combination,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const phonemes of inventories)
    for (const phoneme of phonemes) counts.set(phoneme, (counts.get(phoneme) ?? 0) + 1);
  const out = new Map<string, number>();
  for (const [phoneme, count] of counts) {
    const share = count / inventories.length;
    if (combination === "mean") out.set(phoneme, share);
    else if (combination === "union" || share >= 0.5) out.set(phoneme, 1);
  }
  return out;
}

/** Cosine of two inventories as vectors over all phonemes. */
export function inventorySimilarity(a: Inventory, b: Inventory): number {
  let dot = 0;
  for (const [phoneme, weight] of a.phonemes) dot += weight * (b.phonemes.get(phoneme) ?? 0);
  const norm = ({ phonemes }: Inventory) => Math.hypot(...phonemes.values());
  return dot / (norm(a) * norm(b));
}
