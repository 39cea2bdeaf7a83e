import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { closest, quote, UserError } from "../errors.ts";
import { reason } from "../weights/file.ts";
import { key, nonNegative, positive } from "./schema-basics.ts";
import { isSpectral, signalNames } from "./signals.ts";

/** The recipe's `workers`: pretext tasks with weights that `voxsmith select` computed, as objectives. */
export const workers = z
  .strictObject({
    from: key(z.string().min(1), "The `weights.json` of `voxsmith select`, relative to the recipe."),
    method: key(
      z.string(),
      "Whose weights of the file: `sparsemax`, `softmax`, `mrmr`, `rfe` or `all`; by default those it was made for.",
    ).optional(),
    scale: key(positive, "Factor of all their weights.").default(1),
    layer: key(z.int().min(0), "As of each `worker`.").optional(),
    hidden: key(z.int().min(0), "As of each `worker`.").optional(),
    stream: key(z.string(), "As of each `worker`.").optional(),
  })
  .describe(
    "A `worker` objective, called as its signal, for each weight above 0 that `voxsmith select` found; `mel` and `mfcc` join them with weight 1 unless they were weighed, too. Spectral candidates are compared by absolute difference (Zaiem et al. 2022, eq. 13). What `objectives` says of one of these names is said of the worker. A run's recipe holds the objectives instead, so that it needs no other file.",
  );

/** What is read of a weights.json. */
const weightsFile = z.object({
  always: z.record(z.string(), nonNegative).optional(),
  weights: z.record(z.string(), nonNegative),
  choices: z.array(z.object({ method: z.string(), weights: z.record(z.string(), nonNegative) })).optional(),
});
type WeightsFile = z.output<typeof weightsFile>;

type Raw = Record<string, unknown>;
const isGroup = (value: unknown): value is Raw =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Puts the worker objectives of a recipe's `workers` beside its `objectives`, in place. What is wrong with the keys of
 * `workers` themselves is left for the schema to say. @throws UserError for a file that gives no weights
 */
export function expandWorkers(recipe: Raw, recipePath: string): void {
  const { success, data } = workers.safeParse(recipe.workers);
  const given = recipe.objectives ?? {};
  if (!success || !isGroup(given)) return;
  const { from, method, scale, ...keys } = data;
  const path = resolve(dirname(recipePath), from);
  const file = readWeights(path, `${recipePath}: workers.from: `);
  const objectives: Raw = {};
  for (const [signal, weight] of Object.entries(weightsOf(file, method, path))) {
    const l1 = isSpectral(signal) && chosen(file, method)?.[signal] !== undefined;
    const own = given[signal];
    const unlike = isGroup(own) && ((own.loss ?? "worker") !== "worker" || (own.signal ?? signal) !== signal);
    if (unlike)
      throw new UserError(
        `${recipePath}: objectives.${signal}: is also the name of a worker of \`workers\`; give it another name`,
      );
    objectives[signal] = {
      ...{ loss: "worker", signal, weight: Number((weight * scale).toPrecision(12)) },
      ...(l1 && { distance: "l1" }),
      ...keys,
      ...(isGroup(own) ? own : {}),
    };
  }
  recipe.objectives = { ...given, ...objectives };
}

/** The weights above 0 by signal, those of the spectra that are always there first. */
function weightsOf(file: WeightsFile, method: string | undefined, path: string): Record<string, number> {
  const weights = chosen(file, method);
  if (weights === undefined) {
    const known = (file.choices ?? []).map((choice) => choice.method);
    throw new UserError(
      `workers.method: ${path} has no weights by ${quote(method)}; it has ${known.length > 0 ? known.join(", ") : "those it was made for only, so leave `method` out"}`,
    );
  }
  const always = Object.entries(file.always ?? { mel: 1, mfcc: 1 });
  const all = { ...Object.fromEntries(always.filter(([name]) => weights[name] === undefined)), ...weights };
  const unknown = Object.keys(all).find((name) => !signalNames.includes(name));
  if (unknown !== undefined) {
    const near = closest(unknown, signalNames);
    throw new UserError(
      `${path}: weighs ${quote(unknown)}, which is no signal; ${near ? `did you mean ${near}?` : `there are ${signalNames.join(", ")}`}`,
    );
  }
  return Object.fromEntries(Object.entries(all).filter(([, weight]) => weight > 0));
}

const chosen = (file: WeightsFile, method: string | undefined) =>
  method === undefined ? file.weights : file.choices?.find((choice) => choice.method === method)?.weights;

function readWeights(path: string, place: string): WeightsFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${place}${path} ${reason(error)}; \`voxsmith select\` makes it`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: is not JSON: ${(error as Error).message}`);
  }
  const { data, error } = weightsFile.safeParse(json);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  throw new UserError(
    `${path}: ${issue.path.length > 0 ? issue.path.join(".") : "it"} must be ${issue.path.length > 1 ? "a number of at least 0" : '`{"weights": {SIGNAL: NUMBER}}` as `voxsmith select` writes it'}`,
  );
}
