import type { ProtocolOutcome } from "../methods/severity/study/protocol.ts";
import { confusion } from "../methods/severity/study/scores.ts";
import type { Study } from "../methods/severity/study/study.ts";
import {
  type GridCell,
  gridValues,
  type ScoreName,
  type SystemSummary,
} from "../methods/severity/study/tables.ts";
import { type HeatMap, heatMap, heatMapSize } from "./charts.ts";
import { fixed, grouped } from "./format.ts";
import { type Content, type Html, html } from "./html.ts";
import { page, type Section } from "./page.ts";
import { figure, narrow, wide } from "./svg.ts";
import { table } from "./tables.ts";

/** The page of a severity study: Table 1, Table 2 as heat maps, confusions. */
export async function severityStudyPage(study: Study, outcome: ProtocolOutcome): Promise<string> {
  const { recipe, utterances, grades, roles, folds } = study;
  const simulated = utterances.some((utterance) => utterance.simulated);
  const sections: (Section | undefined)[] = [
    systemsSection(outcome.summaries),
    await gridSection(outcome),
    await confusionSection(study, outcome),
    failedSection(outcome),
  ];
  return page({
    title: `Severity study: ${recipe.name}`,
    kicker: "voxsmith · cross-validation over speakers",
    summary: `${grouped(utterances.length)} utterances of ${grades.size} speakers in ${roles.classes.length} grades of ${roles.label} and ${folds} folds. No speaker is in two folds; each fold is tested by models that never heard it, chosen without it.`,
    notices: [
      ...(simulated
        ? [
            html`<strong>Simulated data.</strong> The grades were made by a program; these figures say nothing about patients.`,
          ]
        : []),
      html`<strong>A comparison of methods</strong>, not a validated instrument.`,
    ],
    sections: sections.filter((section) => section !== undefined),
    footer: "Made by voxsmith. This file is complete in itself: it loads nothing from anywhere.",
  });
}

const percent = (value: number | undefined) =>
  value === undefined || !Number.isFinite(value) ? "–" : fixed(100 * value, 1);

function systemsSection(summaries: readonly SystemSummary[]): Section | undefined {
  if (summaries.length === 0) return undefined;
  const number = (label: string) => ({ label, number: true });
  const columns = [
    { label: "Input" },
    { label: "Classifier" },
    ...["Accuracy", "95 % over speakers", "Precision", "Recall", "F1", "kappa", "Spearman"].map(number),
    ...["Speakers: vote", "Speakers: mean", "PER"].map(number),
  ];
  const rows = summaries.map(({ input, system, scores: s, pooled }): Content[] => [
    input,
    system,
    html`<strong>${percent(s.accuracy?.mean)}</strong>`,
    pooled.accuracy === undefined
      ? ""
      : `${percent(pooled.accuracy.low)} to ${percent(pooled.accuracy.high)}`,
    ...(["macroPrecision", "macroRecall", "macroF1"] as const).map((name) => percent(s[name]?.mean)),
    ...(["kappa", "spearman"] as const).map((name) => fixed(s[name]?.mean ?? Number.NaN, 2)),
    ...(["speakerVote", "speakerMean", "per"] as const).map((name) => percent(s[name]?.mean)),
  ]);
  return {
    title: "Systems",
    lead: "Means over folds and seeds of the test parts, in percent; precision, recall and F1 are macro averages; kappa has quadratic weights.",
    body: table({ columns, rows }),
  };
}

function mapOf(cells: readonly GridCell[], name: ScoreName): HeatMap {
  const { alphas, epochs, values } = gridValues(cells, name);
  const known = values.flat().filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return {
    rows: epochs.map((e) => `e = ${e}`),
    columns: alphas.map((alpha) => `α = ${alpha}`),
    values,
    rowLabel: "epochs of CTC alone",
    columnLabel: "weight of CTC",
    // From the lowest to the highest of the grid: differences show, not their distance from zero.
    shade: values.map((row) => row.map((v) => (high > low ? 0.1 + (0.9 * (v - low)) / (high - low) : 0.5))),
    format: (v) => fixed(100 * v, 1),
  };
}

const FIGURES: readonly [file: string, name: ScoreName, title: string][] = [
  ["grid-accuracy.svg", "accuracy", "Accuracy on validation (%)"],
  ["grid-per.svg", "per", "Phone error rate on validation (%)"],
];

const drawable = (cells: readonly GridCell[], name: ScoreName) =>
  gridValues(cells, name).values.flat().some(Number.isFinite);

/** Heat maps of a grid as files of their own. */
export async function gridFigures(cells: readonly GridCell[]): Promise<[file: string, svg: string][]> {
  const figures: [string, string][] = [];
  for (const [file, name] of FIGURES) {
    if (!drawable(cells, name)) continue;
    const map = mapOf(cells, name);
    figures.push([file, await heatMap(map, heatMapSize(map, wide.width, 48))]);
  }
  return figures;
}

async function gridSection({ grid, choices }: ProtocolOutcome): Promise<Section | undefined> {
  if (grid.length === 0) return undefined;
  const figures: Html[] = [];
  for (const [, name, title] of FIGURES) {
    if (!drawable(grid, name)) continue;
    const map = mapOf(grid, name);
    const sizes = { wide: heatMapSize(map, wide.width, 48), narrow: heatMapSize(map, narrow.width, 40) };
    figures.push(await figure((size) => heatMap(map, size), { label: title, caption: title, sizes }));
  }
  const { single } = gridValues(grid, "accuracy");
  return {
    title: "The grid",
    lead: "Validation parts only: no test part takes part in the choice.",
    body: html`${figures}${Number.isFinite(single) ? html`<p>Without the auxiliary task: ${percent(single)} %.</p>` : undefined}
${
  choices.length > 0
    ? table({
        columns: [{ label: "Test fold" }, { label: "Chosen" }, { label: "On validation", number: true }],
        rows: choices.map(({ fold, alpha, e, valid }) => [
          fold,
          `α = ${alpha}, e = ${e}`,
          `${percent(valid)} %`,
        ]),
        compact: true,
      })
    : undefined
}`,
  };
}

async function confusionSection(study: Study, { rows }: ProtocolOutcome): Promise<Section | undefined> {
  const figures: Html[] = [];
  for (const { input, system, runs } of rows) {
    if (runs.length === 0) continue;
    const { labels, counts } = confusion(
      runs.flatMap(({ answers }) => answers),
      study.roles.classes,
    );
    const map: HeatMap = {
      rows: labels,
      columns: labels,
      values: counts,
      shade: counts.map((row) => {
        const total = row.reduce((a, b) => a + b, 0);
        return row.map((n) => (total === 0 ? 0 : n / total));
      }),
      rowLabel: "true",
      columnLabel: "called",
      format: grouped,
    };
    const title = `${input}, ${system}`;
    figures.push(
      await figure((size) => heatMap(map, size), {
        label: `Confusion matrix of ${title}`,
        caption: title,
        sizes: { wide: heatMapSize(map, wide.width / 2, 40), narrow: heatMapSize(map, narrow.width, 40) },
      }),
    );
  }
  if (figures.length === 0) return undefined;
  return {
    title: "Confusions",
    lead: "Test utterances of all folds and seeds; shade is the share of the row.",
    body: html`<div class="half">${figures}</div>`,
  };
}

function failedSection({ failed }: ProtocolOutcome): Section | undefined {
  if (failed.length === 0) return undefined;
  return {
    title: "Failed runs",
    body: table({
      columns: [{ label: "Run" }, { label: "Why" }],
      rows: failed.map(({ name, error }) => [name, error]),
    }),
  };
}
