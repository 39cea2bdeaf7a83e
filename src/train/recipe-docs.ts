import { z } from "zod";
import { alternatives } from "./recipe-faults.ts";
import { recipeSchema } from "./recipe-schema.ts";

/** docs/recipes.md, made from the schema: every key with its kind, its default and its meaning. */
export function recipeDocs(): string {
  const sections: string[] = [];
  const seen = new Set<unknown>();
  const top = alternatives(recipeSchema)[0] as z.ZodObject;
  sections.push("## The recipe\n", table(top));
  for (const [name, field] of Object.entries(top.shape)) section(name, field as z.ZodType, sections, seen);
  return `${introduction}\n${sections.join("\n")}`;
}

const introduction = `# Recipes

A recipe is a YAML file that says what to run: a model, a corpus, losses, and how to train. This page lists every key; it is
generated from the schema that reads recipes (\`src/train/recipe-schema.ts\`). Only \`name\`, \`upstream\`, \`corpus\` and
\`objectives\` must be given. An unknown key is an error that names the line and the key that was probably meant.

The smallest recipe:

\`\`\`yaml
name: digits
upstream: { model: models/nano }
corpus: { manifest: manifest.jsonl, split: { by: speakers, test: [theo] } }
objectives:
  digit: { loss: cross-entropy, target: labels.digit }
\`\`\`

Any key can be set from the command line as \`--set optimizer.lr=1e-4\`; the value is YAML. A run's folder keeps the recipe with
every default filled in.
`;

/** A section of its own for each object below a key, and for each element of a list or map of objects, once each. */
function section(path: string, schema: z.ZodType, into: string[], seen: Set<unknown>): void {
  for (const each of alternatives(schema)) {
    if (each instanceof z.ZodRecord) section(`${path}.NAME`, each.valueType as z.ZodType, into, seen);
    if (each instanceof z.ZodArray) section(`${path}[]`, each.element as z.ZodType, into, seen);
    // Points of the run have one key each and are shown where they are used.
    if (!(each instanceof z.ZodObject) || isMoment(each) || seen.has(each.shape)) continue;
    seen.add(each.shape);
    const title = choiceOf(each) ? `\`${path}\` with \`${choiceOf(each)}\`` : `\`${path}\``;
    const meaning = each === alternatives(schema)[0] ? (each.description ?? schema.description) : undefined;
    into.push(`## ${title}\n`, ...(meaning ? [`${meaning}\n`] : []), table(each));
    for (const [name, field] of Object.entries(each.shape))
      section(`${path}.${name}`, field as z.ZodType, into, seen);
  }
}

const isMoment = (object: z.ZodObject) =>
  ["epoch", "step", "fraction"].includes(Object.keys(object.shape)[0]);

function choiceOf(object: z.ZodObject): string | undefined {
  const [found] = Object.entries(object.shape).filter(([, field]) => field instanceof z.ZodLiteral);
  return found && `${found[0]}: ${(found[1] as z.ZodLiteral).value}`;
}

function table(object: z.ZodObject): string {
  const rows = Object.entries(object.shape)
    .filter(([, field]) => !(field instanceof z.ZodLiteral))
    .map(([name, field]) => {
      const schema = field as z.ZodType;
      return `| \`${name}\` | ${kindOf(schema)} | ${defaultOf(schema)} | ${descriptionOf(schema)} |`;
    });
  if (rows.length === 0) return "No further keys.\n";
  return ["| key | value | default | meaning |", "|---|---|---|---|", ...rows, ""].join("\n");
}

function descriptionOf(schema: z.ZodType): string {
  if (schema.description) return schema.description;
  const inner = schema instanceof z.ZodPipe ? [schema.out as z.ZodType] : [];
  if ("unwrap" in schema && typeof schema.unwrap === "function") inner.push(schema.unwrap());
  for (const each of inner) {
    const found = descriptionOf(each);
    if (found) return found;
  }
  return alternatives(schema)[0].description ?? "";
}

function kindOf(schema: z.ZodType): string {
  return [...new Set(alternatives(schema).map(nameOf))].join(" or ");
}

function nameOf(schema: z.ZodType): string {
  if (schema instanceof z.ZodEnum) return schema.options.map((option) => `\`${option}\``).join(", ");
  if (schema instanceof z.ZodLiteral) return `\`${schema.value}\``;
  if (schema instanceof z.ZodArray) return `list of ${kindOf(schema.element as z.ZodType)}`;
  if (schema instanceof z.ZodTuple) return `list of ${schema.def.items.length}`;
  if (schema instanceof z.ZodRecord) return "keys of any name";
  if (schema instanceof z.ZodObject)
    return isMoment(schema) || choiceOf(schema) || Object.keys(schema.shape).length > 2
      ? "group"
      : `\`{${Object.keys(schema.shape).join(", ")}}\``;
  if (schema instanceof z.ZodNumber) return schema.format === "safeint" ? "whole number" : "number";
  if (schema instanceof z.ZodBoolean) return "`true`, `false`";
  return "text";
}

function defaultOf(schema: z.ZodType): string {
  if (schema instanceof z.ZodDefault) return `\`${JSON.stringify(schema.def.defaultValue)}\``;
  if (schema instanceof z.ZodOptional) return "-";
  if (schema instanceof z.ZodPrefault) {
    const fallback = schema.parse(undefined);
    const choice = alternatives(schema).length > 1 ? Object.values(fallback as object)[0] : undefined;
    return choice === undefined ? "as below" : `\`${choice}\``;
  }
  return "required";
}
