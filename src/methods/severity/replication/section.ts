import { pairedBootstrap } from "../../../metrics/significance.ts";
import { RAW } from "../study/protocol.ts";
import { severityScores } from "../study/scores.ts";
import { gridValues, markdown, type SystemRow, tableOne, tableTwo } from "../study/tables.ts";
import type { Curves, PartOutcome } from "./part.ts";

/** The replication's section of the results: tables, and each claim of the paper with what was found. */

export interface Claim {
  readonly claim: string;
  readonly verdict: "holds" | "does not hold" | "undecided" | "not run";
  readonly found: string;
}

const percent = (value: number) => (100 * value).toFixed(1);

export function partSection(part: PartOutcome, classes: readonly string[]): string {
  const { grid, final, summaries, left } = part;
  const lines = [`### ${part.title}`, "", part.about, ""];
  if (grid.length > 0)
    lines.push(
      `Grid, one fold, one seed, validation part (the test part is not looked at), ${grid.length} of ${part.settings} settings:`,
      "",
      tableTwo(grid),
      "",
    );
  if (part.best.length > 0)
    lines.push(
      `Best ${part.best.length} on validation: ${part.best.map(({ alpha, e }) => `alpha = ${alpha}, e = ${e}`).join("; ")}.`,
      "",
    );
  if (summaries.length > 0)
    lines.push(
      `Test parts of folds ${part.folds.join(", ")} with seeds ${part.seeds.join(", ")}, speakers never heard; mean ± standard deviation over runs, in percent:`,
      "",
      tableOne(summaries),
      "",
    );
  const claims = claimsOf(part, classes);
  lines.push(
    markdown(
      ["claim of the paper", "here", "what was found"],
      claims.map(({ claim, verdict, found }) => [claim, verdict, found]),
    ),
    "",
  );
  if (left > 0) lines.push(`${left} runs of this part have no result: the time was over first.`, "");
  if (final.some(({ left: some }) => some > 0))
    lines.push("Rows with runs left are means of those that are there.", "");
  return lines.join("\n");
}

/** What the paper says, against what this part found. */
export function claimsOf(part: PartOutcome, classes: readonly string[]): Claim[] {
  const { final, summaries, grid } = part;
  const of = (system: string) => final.find((row) => row.system === system && row.runs.length > 0);
  const [multi, single] = [of("MTL (chosen on validation)"), of("STL")];
  const baselines = summaries.filter(({ input, runs }) => input !== RAW && runs > 0);
  const best = [...baselines].sort((a, b) => b.scores.accuracy!.mean - a.scores.accuracy!.mean)[0];
  const bestRow = best && final.find(({ input, system }) => input === best.input && system === best.system);
  return [
    compared("multi-task grades better than single-task", multi, single, classes),
    compared(
      `multi-task grades better than the best baseline${best ? ` (${best.input}, ${best.system})` : ""}`,
      multi,
      bestRow,
      classes,
    ),
    errorRateClaim(grid),
    middleClaim(grid),
    overfittingClaim(part.curves),
  ];
}

/** Accuracy of two systems over the folds that both have, with a bootstrap over the speakers of the difference. */
function compared(
  claim: string,
  a: SystemRow | undefined,
  b: SystemRow | undefined,
  classes: readonly string[],
): Claim {
  if (a === undefined || b === undefined) return { claim, verdict: "not run", found: "-" };
  const accuracies = ({ runs }: SystemRow) =>
    runs.map(({ answers }) => severityScores(answers, classes).accuracy);
  const mean = (values: number[]) => values.reduce((x, y) => x + y, 0) / values.length;
  // Hit rate of each utterance over the seeds, so that both sides are on the same units.
  const hits = ({ runs }: SystemRow) => {
    const rates = new Map<string, { speaker: string; right: number; asked: number }>();
    for (const { answers } of runs)
      for (const { id, speaker, truth, predicted } of answers) {
        const rate = rates.get(id) ?? { speaker, right: 0, asked: 0 };
        rates.set(id, { speaker, right: rate.right + (truth === predicted ? 1 : 0), asked: rate.asked + 1 });
      }
    return rates;
  };
  const [x, y] = [hits(a), hits(b)];
  const ids = [...x.keys()].filter((id) => y.has(id));
  if (ids.length === 0) return { claim, verdict: "not run", found: "-" };
  const rate = (of: typeof x) => (units: readonly number[]) =>
    mean(units.map((i) => of.get(ids[i])!.right / of.get(ids[i])!.asked));
  const { estimate, low, high, p, drawn } = pairedBootstrap(ids.length, rate(x), rate(y), {
    clusters: ids.map((id) => x.get(id)!.speaker),
    resamples: 2000,
  });
  const verdict = low > 0 ? "holds" : high < 0 || estimate <= 0 ? "does not hold" : "undecided";
  return {
    claim,
    verdict,
    found: `${percent(mean(accuracies(a)))} against ${percent(mean(accuracies(b)))} %; difference ${percent(estimate)} points, 95 % of ${percent(low)} to ${percent(high)} over ${drawn} speakers, p = ${p.toFixed(3)}`,
  };
}

/** The paper: the greater alpha and the later e, the lower the phone error rate. */
function errorRateClaim(grid: PartOutcome["grid"]): Claim {
  const claim = "a greater alpha and a later e lower the phone error rate";
  const { alphas, epochs, values } = gridValues(grid, "per");
  if (alphas.length < 2 || epochs.length < 2 || values.flat().some(Number.isNaN))
    return { claim, verdict: "not run", found: "-" };
  const mean = (list: number[]) => list.reduce((x, y) => x + y, 0) / list.length;
  const byAlpha = alphas.map((_, j) => mean(values.map((row) => row[j])));
  const byE = values.map(mean);
  // Nowhere lower, and higher in the end: rates that are all the same are no fall.
  const rises = (list: number[]) =>
    list.slice(1).every((v, i) => v >= list[i]) && list[list.length - 1] > list[0];
  const [alphaHolds, eHolds] = [rises(byAlpha), rises([...byE].reverse())];
  return {
    claim,
    verdict: alphaHolds && eHolds ? "holds" : "does not hold",
    found: `mean PER for alpha ${alphas.join(", ")}: ${byAlpha.map(percent).join(", ")}; for e ${epochs.join(", ")}: ${byE.map(percent).join(", ")}`,
  };
}

/** The paper: the best accuracy is found in the middle of the grid. */
function middleClaim(grid: PartOutcome["grid"]): Claim {
  const claim = "the best accuracy lies inside the grid, not on its edge";
  const { alphas, epochs, values } = gridValues(grid, "accuracy");
  if (alphas.length < 3 || epochs.length < 3 || values.flat().some(Number.isNaN))
    return { claim, verdict: "not run", found: "-" };
  const top = Math.max(...values.flat());
  const places = epochs.flatMap((e, i) =>
    alphas.flatMap((alpha, j) =>
      values[i][j] === top
        ? [{ alpha, e, inside: i > 0 && i < epochs.length - 1 && j > 0 && j < alphas.length - 1 }]
        : [],
    ),
  );
  return {
    claim,
    verdict: places.every(({ inside }) => inside)
      ? "holds"
      : places.some(({ inside }) => inside)
        ? "undecided"
        : "does not hold",
    found: `${percent(top)} % on validation at ${places.map(({ alpha, e }) => `alpha = ${alpha}, e = ${e}`).join("; ")}`,
  };
}

/** The paper: with the auxiliary task the classification loss on validation rises later and less. */
function overfittingClaim({ single, multi }: Curves): Claim {
  const claim = "with the auxiliary task the classification loss overfits less";
  if (single.length === 0 || multi.length === 0) return { claim, verdict: "not run", found: "-" };
  const rise = (curve: readonly number[]) => curve[curve.length - 1] - Math.min(...curve);
  const mean = (curves: readonly (readonly number[])[]) =>
    curves.map(rise).reduce((x, y) => x + y, 0) / curves.length;
  const [alone, together] = [mean(single), mean(multi)];
  return {
    claim,
    verdict: together < alone ? "holds" : "does not hold",
    found: `from its lowest to its last value the validation loss rises by ${alone.toFixed(2)} nats without (${single.length} runs) and ${together.toFixed(2)} with it (${multi.length} runs)`,
  };
}
