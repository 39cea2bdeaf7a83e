import { UserError } from "../errors.ts";
import { Instance } from "./pickle-globals.ts";

/** What a configuration comes down to: numbers, text, `Map`s with text keys and arrays. */
export type Plain = null | boolean | number | bigint | string | Plain[] | Settings;
export type Settings = Map<string, Plain>;

// A real configuration nests about ten deep.
const MAX_DEPTH = 60;

/**
 * Takes the wrapping off a configuration in a pickle: an argparse Namespace or another plain object is its attributes; an
 * omegaconf container its content, an omegaconf node its value; an enumeration member its value. Tensors and the like
 * become null. Shared parts stay shared and cycles stay cycles, so the result is no larger than the pickle.
 */
export function plainOf(path: string, value: unknown): Plain {
  const seen = new Map<object, Plain>();
  const convert = (value: unknown, depth: number): Plain => {
    if (depth > MAX_DEPTH)
      throw new UserError(`${path}: has a configuration nested more than ${MAX_DEPTH} deep`);
    if (value === null || value === undefined) return null;
    if (typeof value !== "object") {
      return typeof value === "symbol" || typeof value === "function" ? null : (value as Plain);
    }
    const known = seen.get(value);
    if (known !== undefined) return known;
    if (Array.isArray(value)) {
      const list: Plain[] = [];
      seen.set(value, list);
      for (const item of value) list.push(convert(item, depth + 1));
      return list;
    }
    if (value instanceof Map) return convertMap(value, value, depth);
    if (!(value instanceof Instance)) return null;
    const { className, args, fields } = value;
    if (fields.size === 0 && args.length === 1 && typeof args[0] === "string") return args[0];
    if (className.startsWith("omegaconf.")) {
      const result = fields.has("_content")
        ? convert(fields.get("_content"), depth + 1)
        : convert(fields.get("_val"), depth + 1);
      seen.set(value, result);
      return result;
    }
    return convertMap(value, fields, depth);
  };
  const convertMap = (key: object, map: Map<unknown, unknown>, depth: number): Settings => {
    const settings: Settings = new Map();
    seen.set(key, settings);
    for (const [name, item] of map) {
      if (typeof name === "string") settings.set(name, convert(item, depth + 1));
    }
    return settings;
  };
  return convert(value, 0);
}

/** A value by its path ("model.w2v_args.task"), through omegaconf's references (`${task.normalize}`). */
export function lookUp(root: Plain, path: string, hops = 0): Plain | undefined {
  let at: Plain | undefined = root;
  for (const key of path.split(".")) {
    if (!(at instanceof Map)) return undefined;
    at = at.get(key);
  }
  const reference = typeof at === "string" ? /^\$\{([\w.]+)\}$/.exec(at) : null;
  if (reference) return hops < 10 ? lookUp(root, reference[1], hops + 1) : undefined;
  return at === "???" ? undefined : at;
}
