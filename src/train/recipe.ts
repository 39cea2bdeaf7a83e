import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Document, isMap, isScalar, LineCounter, parse, parseDocument, stringify } from "yaml";
import { quote, UserError } from "../errors.ts";
import { reason } from "../weights/file.ts";
import { firstFault, type Path } from "./recipe-faults.ts";
import { type Recipe, recipeSchema } from "./recipe-schema.ts";
import { expandWorkers } from "./worker-weights.ts";

export type {
  CorpusSpec,
  HeadSpec,
  Moment,
  Objective,
  OptimizerSpec,
  Recipe,
  SplitSpec,
} from "./recipe-schema.ts";

/**
 * Reads a recipe, applies `overrides` of the form `optimizer.lr=1e-4` (the value is YAML) and fills in every default.
 * Anything wrong is one `UserError` that names the file, the line and the key, and what would be right.
 */
export function readRecipe(path: string, overrides: readonly string[] = []): Recipe {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  return parseRecipe(text, path, overrides);
}

/** `readRecipe` of a text; `path` names it in messages and is what paths inside it are relative to. */
export function parseRecipe(text: string, path: string, overrides: readonly string[] = []): Recipe {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const broken = document.errors[0];
  if (broken) {
    const { line, col } = lines.linePos(broken.pos[0]);
    throw new UserError(`${path}:${line}:${col}: is not YAML: ${broken.message.split(/ at line|\n/)[0]}`);
  }
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new UserError(`${path}: a recipe is a list of \`key: value\` lines, not ${quote(value)}`);
  const set = overrides.map((override) => applyOverride(value as Record<string, unknown>, override));
  inlineConfig(value as Record<string, unknown>, path);
  placeSplitFiles(value as Record<string, unknown>, path);
  placePieceModels(value as Record<string, unknown>, path);
  expandWorkers(value as Record<string, unknown>, path);

  const result = recipeSchema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const fault = firstFault(result.error.issues, recipeSchema, value);
  const override = set.find((each) => each.keys.every((part, i) => String(fault.path[i]) === part));
  const place = override
    ? `override ${override.text}`
    : `${path}${atLine(lineOf(document, lines, fault.path))}`;
  throw new UserError(
    `${place}: ${fault.path.length > 0 ? `${fault.path.join(".")}: ` : ""}${fault.message}`,
  );
}

/** The resolved recipe as YAML, which `readRecipe` reads back to an equal recipe. */
export function printRecipe(recipe: Recipe): string {
  return stringify(recipe, { lineWidth: 110, aliasDuplicateObjects: false });
}

const atLine = (line: number | undefined) => (line === undefined ? "" : `:${line}`);

/** The line of the key at `path`, or of the nearest enclosing key that the file has. */
function lineOf(document: Document.Parsed, lines: LineCounter, path: Path): number | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = document.getIn(path.slice(0, depth - 1), true) ?? document.contents;
    const last = path[depth - 1];
    const at = isMap(parent)
      ? parent.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(last))?.key
      : document.getIn(path.slice(0, depth), true);
    const range = (at as { range?: [number, number, number] } | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return undefined;
}

/** Splits `a.b=c`; the value is YAML, so numbers, lists and `{...}` can be given. */
export function parseOverride(text: string): { text: string; keys: string[]; value: unknown } {
  const equals = text.indexOf("=");
  const keys = text.slice(0, equals).split(".");
  if (equals < 1 || keys.some((part) => part === "" || part === "__proto__"))
    throw new UserError(`override ${quote(text)}: must have the form key.subkey=value`);
  try {
    return { text, keys, value: parse(text.slice(equals + 1)) };
  } catch (error) {
    throw new UserError(
      `override ${quote(text)}: the value is not YAML: ${(error as Error).message.split("\n")[0]}`,
    );
  }
}

function applyOverride(recipe: Record<string, unknown>, text: string) {
  const override = parseOverride(text);
  let at: Record<string, unknown> | unknown[] = recipe;
  for (const [depth, part] of override.keys.entries()) {
    if (Array.isArray(at) && !(/^\d+$/.test(part) && Number(part) <= at.length))
      throw new UserError(
        `override ${text}: ${override.keys.slice(0, depth).join(".")} is a list of ${at.length}, so ${quote(part)} must be a number up to ${at.length}`,
      );
    const holder = at as Record<string, unknown>;
    if (depth === override.keys.length - 1) {
      // `epochs=null` takes a key out, so that its default or an alternative can stand.
      if (override.value === null) delete holder[part];
      else holder[part] = override.value;
    } else {
      const next = Object.hasOwn(holder, part) ? holder[part] : undefined;
      // A plain value where the override wants to go deeper: `head: linear` with head.lstm.hidden=128.
      if (typeof next !== "object" || next === null) holder[part] = {};
      at = holder[part] as Record<string, unknown>;
    }
  }
  return override;
}

/** `upstream.config` may be a path: its JSON takes its place, so that the resolved recipe needs no other file. */
function inlineConfig(recipe: Record<string, unknown>, recipePath: string): void {
  const upstream = recipe.upstream as { config?: unknown } | undefined;
  if (typeof upstream !== "object" || typeof upstream?.config !== "string") return;
  const path = resolve(dirname(recipePath), upstream.config);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${recipePath}: upstream.config: ${path} ${reason(error)}`);
  }
  try {
    upstream.config = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: is not JSON: ${(error as Error).message}`);
  }
}

/** `split.file` stands relative to the recipe; the resolved recipe, which lies elsewhere, names it in full. */
function placeSplitFiles({ corpus, streams }: Record<string, unknown>, recipePath: string): void {
  const all = [{ corpus }, ...Object.values(typeof streams === "object" ? (streams ?? {}) : {})];
  type Divided = { split?: { by?: unknown; file?: unknown } };
  for (const each of all) {
    const spec = (each as { corpus?: Divided & { also?: unknown } } | null)?.corpus;
    const also: Divided[] = Array.isArray(spec?.also) ? spec.also : [];
    for (const split of [spec?.split, ...also.map((part) => part?.split)])
      if (split?.by === "list" && typeof split.file === "string")
        split.file = resolve(dirname(recipePath), split.file);
  }
}

/** So does a SentencePiece model's file. */
function placePieceModels({ objectives }: Record<string, unknown>, recipePath: string): void {
  if (typeof objectives !== "object") return;
  for (const each of Object.values(objectives ?? {}) as ({ pieces?: unknown } | null)[])
    if (typeof each?.pieces === "string") each.pieces = resolve(dirname(recipePath), each.pieces);
}

/** The keys whose values differ between two recipes, deepest level named: `optimizer.lr`. */
export function recipeDifferences(a: unknown, b: unknown, prefix = ""): string[] {
  if (Object.is(a, b)) return [];
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return [prefix];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((name) =>
    recipeDifferences(
      (a as Record<string, unknown>)[name],
      (b as Record<string, unknown>)[name],
      prefix === "" ? name : `${prefix}.${name}`,
    ),
  );
}
