import { z } from "zod";
import { closest, quote } from "../errors.ts";

/** Turns what zod found into one sentence about one key. */

export type Path = (string | number)[];
export interface Fault {
  path: Path;
  message: string;
}
type Issue = z.core.$ZodIssue;

/** The fault to report: an unknown key before others, since a misspelt key often makes another one missing. */
export function firstFault(issues: readonly Issue[], schema: z.ZodType, value: unknown): Fault {
  const all = issues.flatMap((issue) => resolveUnion(issue));
  const issue = all.find((each) => each.code === "unrecognized_keys") ?? all[0];
  const path = issue.path.filter((part) => typeof part !== "symbol");
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(schema, path, value);
    const near = closest(issue.keys[0], known);
    return {
      path: [...path, issue.keys[0]],
      message: `is not a known key; ${near ? `did you mean \`${near}\`?` : `known here: ${known.join(", ")}`}`,
    };
  }
  return { path, message: explain(issue, valueAt(value, path)) };
}

/** Of a union's alternatives, the faults of the one that came furthest: its value had the right kind. */
function resolveUnion(issue: Issue): Issue[] {
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
  const depth = (faults: readonly Issue[]) =>
    Math.max(...faults.map((f) => f.path.length + (f.code === "unrecognized_keys" ? 1 : 0)));
  const wrongKind = (faults: readonly Issue[]) => faults.some((f) => f.path.length === 0 && isKindFault(f));
  const candidates = issue.errors.filter((faults) => !wrongKind(faults));
  if (candidates.length === 0) return [issue];
  const best = candidates.reduce((a, b) => (depth(b) > depth(a) ? b : a));
  return best.flatMap((fault) => resolveUnion({ ...fault, path: [...issue.path, ...fault.path] } as Issue));
}

const isKindFault = (issue: Issue) => issue.code === "invalid_type" || issue.code === "invalid_value";

function explain(issue: Issue, input: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      return input === undefined
        ? `is missing; it must be ${kind(issue.expected)}`
        : `must be ${kind(issue.expected)}, not ${show(input)}${inQuotes(issue.expected, input)}`;
    case "invalid_value":
      return mustBeOneOf(issue.values.map(String), input);
    case "invalid_union": {
      if ("options" in issue && Array.isArray(issue.options))
        return mustBeOneOf(issue.options.map(String), input);
      const kinds = issue.errors.flatMap((faults) => faults.slice(0, 1).map((fault) => wanted(fault)));
      return `must be ${[...new Set(kinds)].join(" or ")}, not ${show(input)}`;
    }
    case "too_small":
      return `must be ${issue.origin === "array" ? "a list of " : ""}${issue.inclusive ? "at least" : "more than"} ${issue.minimum}, not ${show(input)}`;
    case "too_big":
      return `must be ${issue.inclusive ? "at most" : "less than"} ${issue.maximum}, not ${show(input)}`;
    case "invalid_format":
      return `${issue.message}, not ${show(input)}`;
    default:
      return issue.message;
  }
}

function mustBeOneOf(values: string[], input: unknown): string {
  const near = typeof input === "string" ? closest(input, values) : undefined;
  const said = input === undefined ? "is missing; it must be" : "must be";
  const instead = input === undefined ? "" : `, not ${show(input)}`;
  return `${said} ${values.join(", ").replace(/, ([^,]*)$/, " or $1")}${instead}${near ? `; did you mean ${near}?` : ""}`;
}

function wanted(issue: Issue): string {
  if (issue.code === "invalid_type") return kind(issue.expected);
  if (issue.code === "invalid_value") return issue.values.join(" or ");
  return issue.message;
}

/** YAML reads a bare 0048 (a speaker, say) as the number 48. */
const inQuotes = (expected: string, input: unknown) =>
  expected === "string" && ["number", "boolean"].includes(typeof input) ? "; put it in quotes" : "";

const kinds: Record<string, string> = {
  int: "a whole number",
  number: "a number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  tuple: "a list",
  object: "a group of keys",
  record: "a group of keys",
};
const kind = (expected: string) => kinds[expected] ?? expected;

function show(input: unknown): string {
  if (Array.isArray(input)) return `a list of ${input.length}`;
  if (typeof input === "object" && input !== null) return "a group of keys";
  return quote(input);
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (at, part) => (typeof at === "object" && at !== null ? (at as Record<string, unknown>)[part] : undefined),
    value,
  );
}

/** The keys that the schema knows at a path; of several alternatives, those whose fixed keys fit the value. */
function keysAt(schema: z.ZodType, path: Path, value: unknown): string[] {
  let schemas = alternatives(schema);
  let at = value;
  for (const part of path) {
    schemas = fitting(schemas, at).flatMap((each) => {
      if (each instanceof z.ZodObject) return part in each.shape ? alternatives(each.shape[part]) : [];
      if (each instanceof z.ZodRecord) return alternatives(each.valueType as z.ZodType);
      if (each instanceof z.ZodArray) return alternatives(each.element as z.ZodType);
      return [];
    });
    at = valueAt(at, [part]);
  }
  const keys = fitting(schemas, at).flatMap((each) =>
    each instanceof z.ZodObject ? Object.keys(each.shape) : [],
  );
  return [...new Set(keys)];
}

/** Drops the alternatives of a choice (`name: sgd`) that another one was meant. */
function fitting(schemas: z.ZodType[], value: unknown): z.ZodType[] {
  const fits = schemas.filter(
    (each) =>
      !(each instanceof z.ZodObject) ||
      Object.entries(each.shape).every(([name, field]) => {
        const given = valueAt(value, [name]);
        return !(field instanceof z.ZodLiteral) || given === undefined || field.value === given;
      }),
  );
  return fits.length > 0 ? fits : schemas;
}

/** What stands inside defaults, optionals, preprocessing and unions. */
export function alternatives(schema: z.ZodType): z.ZodType[] {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  )
    return alternatives(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) {
    const { in: from, out: to } = schema;
    return alternatives((from instanceof z.ZodTransform ? to : from) as z.ZodType);
  }
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((each) => alternatives(each as z.ZodType));
  return [schema];
}
