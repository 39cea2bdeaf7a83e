import { type Spread, spread } from "../../../metrics/spread.ts";
import { markdownTable } from "../../../report/markdown.ts";
import { type Probed, summary } from "../probing.ts";
import { ALPHA, type Row, type Run } from "./models.ts";
import type { Size } from "./tune.ts";

/** A sentence of the paper and what the runs say to it. */
export interface Claim {
  readonly claim: string;
  readonly where: string;
  readonly verdict: "holds" | "does not hold" | "undecided" | "not run";
  readonly found: string;
}

/** Mean over probes of what is right, in per cent. */
const score = (results: Probed): number => summary(results).mean.mean;

/** Scores of a model by seed. */
function bySeed(rows: readonly Row[], model: string): Map<number, number> {
  return new Map(
    rows.filter((row) => row.model === model).map(({ seed, results }) => [seed, score(results)]),
  );
}

/** Differences a - b over the seeds that have both. */
export function differences(rows: readonly Row[], a: string, b: string): number[] {
  const [first, second] = [bySeed(rows, a), bySeed(rows, b)];
  return [...first].flatMap(([seed, value]) => (second.has(seed) ? [value - second.get(seed)!] : []));
}

/**
 * What paired differences say of "a is better than b": it holds (or does not) where their mean is farther from 0 than two
 * standard errors; one seed, or less than that, decides nothing.
 */
export function verdictOf(values: readonly number[]): Claim["verdict"] {
  if (values.length === 0) return "not run";
  const { mean, sd } = spread(values);
  if (sd === null || Math.abs(mean) <= (2 * sd) / Math.sqrt(values.length)) return "undecided";
  return mean > 0 ? "holds" : "does not hold";
}

const signed = (x: number, digits = 2) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;
const withSpread = ({ mean, sd }: Spread) => `${mean.toFixed(2)}${sd === null ? "" : ` ± ${sd.toFixed(2)}`}`;

function better(rows: readonly Row[], claim: string, where: string, a: string, b: string): Claim {
  const values = differences(rows, a, b);
  if (values.length === 0) return { claim, where, verdict: "not run", found: "" };
  const { mean, sd } = spread(values);
  const found = `${signed(mean)}${sd === null ? "" : ` ± ${sd.toFixed(2)}`} points over ${values.length} seed${values.length === 1 ? "" : "s"}`;
  return { claim, where, verdict: verdictOf(values), found };
}

/** The paper's claims against what was found. */
export function claimsOf(rows: readonly Row[], runs: readonly Run[], size: Size): Claim[] {
  const claims: Claim[] = [];
  const base = "pre-trained";
  for (const task of size.tuning) {
    const [stable, merged] = [`stable ${task}, alpha 1`, `stable ${task}, alpha ${ALPHA}`];
    const add = (claim: string, where: string, a: string, b: string) =>
      claims.push(better(rows, claim, where, a, b));
    add(
      `${task}: fine-tuning alone makes the representation worse than pre-training`,
      "Table 1",
      base,
      stable,
    );
    add(`${task}: Speech-FT makes it better than pre-training`, "Table 1", merged, base);
    add(`${task}: Speech-FT is better than fine-tuning alone`, "Table 1", merged, stable);
    add(`${task}: stable fine-tuning is better than regular`, "Table 10", stable, `regular ${task}, alpha 1`);
    add(
      `${task}: with interpolation, stable is better than regular`,
      "Table 8",
      merged,
      `regular ${task}, alpha ${ALPHA}`,
    );
    add(
      `${task}: interpolation is better than L2 to the start`,
      "Table 7",
      merged,
      `stable ${task}, L2 to the start`,
    );
    claims.push(interior(rows, task, size));
  }
  for (const way of ["multi-task", "linear", "ties", "sequential"])
    claims.push(
      better(
        rows,
        `${way}: the pull back to pre-training helps two tasks`,
        "Table 4",
        `${way}, alpha ${ALPHA}`,
        `${way}, alpha 1`,
      ),
    );
  for (const task of ["phonemes", "speakers"])
    claims.push(
      better(
        rows,
        `two tasks in sequence are better than ${task} alone`,
        "Table 5",
        `sequential, alpha ${ALPHA}`,
        `stable ${task}, alpha ${ALPHA}`,
      ),
    );
  claims.push(failures(runs));
  return claims;
}

/** Table 9: the best alpha is neither end. */
function interior(rows: readonly Row[], task: string, size: Size): Claim {
  const claim = `${task}: the best alpha lies between the ends`;
  const alphas = [0, ...size.alphas];
  const name = (alpha: number) => (alpha === 0 ? "pre-trained" : `stable ${task}, alpha ${alpha}`);
  const means = alphas.flatMap((alpha) => {
    const values = [...bySeed(rows, name(alpha)).values()];
    return values.length === 0 ? [] : [{ alpha, mean: spread(values).mean }];
  });
  if (means.length < alphas.length) return { claim, where: "Table 9", verdict: "not run", found: "" };
  const best = means.reduce((a, b) => (b.mean > a.mean ? b : a));
  const found = `best at ${best.alpha}; ${means.map(({ alpha, mean }) => `${alpha}: ${mean.toFixed(2)}`).join(", ")}`;
  if (best.alpha === 0 || best.alpha === 1)
    return { claim, where: "Table 9", verdict: "does not hold", found };
  const ends = [0, 1].map((end) => verdictOf(differences(rows, name(best.alpha), name(end))));
  const sure = ends.every((verdict) => verdict === "holds");
  return { claim, where: "Table 9", verdict: sure ? "holds" : "undecided", found };
}

function failures(runs: readonly Run[]): Claim {
  const claim = "regular fine-tuning fails entirely in some cases";
  const rate = (kind: string) => {
    const own = runs.filter(({ name }) => name.startsWith(kind));
    return { failed: own.filter(({ failed }) => failed).length, all: own.length };
  };
  const [regular, stable] = [rate("regular"), rate("stable")];
  if (regular.all === 0) return { claim, where: "section 3.2", verdict: "not run", found: "" };
  const found = `${regular.failed} of ${regular.all} regular runs, ${stable.failed} of ${stable.all} stable ones`;
  const verdict = regular.failed > 0 ? "holds" : "does not hold";
  return { claim, where: "section 3.2", verdict, found };
}

export interface SectionInput {
  readonly rows: readonly Row[];
  readonly runs: readonly Run[];
  readonly size: Size;
  readonly base: string;
  readonly command: string;
  readonly notes: readonly string[];
  readonly left: number;
  readonly chosen: Readonly<Record<string, number>>;
}

/** The replication's section of docs/results.md; undefined where there is nothing to say yet. */
export function section(input: SectionInput): string | undefined {
  const { rows, runs, size, base, command, notes, left, chosen } = input;
  if (rows.length === 0) return undefined;
  const models = [...new Set(rows.map(({ model }) => model))];
  const tasks = [...new Set(rows.flatMap(({ results }) => results.map(({ task }) => task)))];
  const body = models.map((model) => {
    const own = rows.filter((row) => row.model === model);
    const together = summary(own.flatMap(({ results }) => results));
    const cells = tasks.map((task) => {
      const found = together.tasks[task];
      return found === undefined
        ? "–"
        : withSpread({ mean: 100 * found.mean, sd: found.sd === null ? null : 100 * found.sd });
    });
    return [
      model,
      String(own.length),
      ...cells,
      withSpread(spread(own.map(({ results }) => score(results)))),
    ];
  });
  const metrics = tasks.map((task) => {
    const one = rows.flatMap(({ results }) => results).find((result) => result.task === task)!;
    return `${task} (${one.headline.metric} ${one.headline.higher ? "↑" : "↓"})`;
  });
  const claims = claimsOf(rows, runs, size);
  // With several jobs they end in any order.
  const failed = runs.filter(({ failed: lost }) => lost).sort((a, b) => a.name.localeCompare(b.name));
  return [
    `Real speech (speechocean762, wakewords, barista), starting from \`${base}\`; made by \`${command}\`. Fine-tuning for ${size.tuning.map((task) => `${size.steps[task]} steps on ${task}`).join(", ")}; seeds ${size.seeds.join(", ")}. Probes are voxsmith's miniature suite on frozen models; numbers are per cent on test parts, ± the standard deviation over seeds. The last column is the mean over probes of accuracy or 1 − error rate. None of these numbers can be compared with the paper's, only their order.`,
    "",
    ...notes.map((note) => `- ${note}`),
    ...(notes.length > 0 ? [""] : []),
    markdownTable(["model", "seeds", ...metrics, "mean right ↑"], body),
    "",
    ...(Object.keys(chosen).length > 0
      ? [
          `L2 to the start: lambda of {${size.lambdas.join(", ")}} chosen by the probes' validation parts with seed ${size.seeds[0]}: ${Object.entries(
            chosen,
          )
            .map(([task, lambda]) => `${lambda} for ${task}`)
            .join(", ")}.`,
          "",
        ]
      : []),
    `Fine-tuning runs: ${runs.length}, failed: ${failed.length}${failed.length > 0 ? ` (${failed.map(({ name, why }) => `${name}: ${why}`).join("; ")})` : ""}. A run that ended but is no better than a guess on its validation part counts as failed.`,
    "",
    "A claim holds, or does not, where the mean of the paired differences is farther from 0 than two standard errors over the seeds.",
    "",
    markdownTable(
      ["claim of the paper", "where", "here", "what was found"],
      claims.map(({ claim, where, verdict, found }) => [claim, where, verdict, found]),
    ),
    ...(left > 0 ? ["", `${left} pieces of work have no result yet.`] : []),
    "",
  ].join("\n");
}
