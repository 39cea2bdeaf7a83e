import type { Spread } from "../../metrics/spread.ts";
import { barChart, heatMap, heatMapSize, lineChart } from "../../report/charts.ts";
import { fixed, formatNumber } from "../../report/format.ts";
import { type Html, html } from "../../report/html.ts";
import { page, type Section } from "../../report/page.ts";
import { figure, narrow, wide } from "../../report/svg.ts";
import { table } from "../../report/tables.ts";
import type { AlphaPoint } from "./alpha-sweep.ts";
import type { PartDistance } from "./distance.ts";
import type { Summary, TaskSummary } from "./probing.ts";

/** What the analysis of fine-tuned and merged models shows; sections without data are left out. */
export interface Analysis {
  readonly title: string;
  readonly facts: readonly (readonly [label: string, value: string])[];
  readonly notices?: readonly string[];
  /** The pre-trained model first. */
  readonly models: readonly { readonly name: string; readonly summary: Summary }[];
  /** One curve or several. */
  readonly curves: readonly { readonly name: string; readonly points: readonly AlphaPoint[] }[];
  readonly distances: readonly { readonly model: string; readonly parts: readonly PartDistance[] }[];
  /** After each stage of sequential fine-tuning, what every task comes to. */
  readonly stages: readonly { readonly name: string; readonly summary: Summary }[];
  readonly command: string;
}

/** The page of an analysis: one HTML file that needs nothing beside itself. */
export async function analysisPage(analysis: Analysis): Promise<string> {
  const sections: (Section | undefined)[] = [
    beforeAfter(analysis),
    await againstAlpha(analysis),
    await distances(analysis),
    await layerProfiles(analysis),
    await forgetting(analysis),
  ];
  return page({
    title: analysis.title,
    kicker: "Fine-tuning and merging",
    facts: analysis.facts,
    notices: analysis.notices,
    sections: sections.filter((section) => section !== undefined),
    footer: html`Made by <code>${analysis.command}</code>.`,
  });
}

/** `94.12 ± 0.40`, in per cent where the metric is a rate. */
export function shown({ mean, sd }: Spread, factor = 1, digits = 2): string {
  return `${fixed(factor * mean, digits)}${sd === null ? "" : ` ± ${fixed(factor * sd, digits)}`}`;
}

const isRate = ({ mean }: TaskSummary) => Math.abs(mean) <= 2;

function beforeAfter({ models }: Analysis): Section | undefined {
  if (models.length === 0) return undefined;
  const [{ summary: base }] = models;
  const tasks = Object.keys(base.tasks);
  const columns = [
    { label: "model" },
    ...tasks.map((task) => ({
      label: `${task}, ${base.tasks[task].metric} ${base.tasks[task].higher ? "↑" : "↓"}`,
      number: true,
    })),
    { label: "mean of what is right ↑", number: true },
    ...(base.superb === undefined ? [] : [{ label: "SUPERB score ↑", number: true }]),
  ];
  const rows = models.map(({ name, summary }) => [
    name,
    ...tasks.map((task) => {
      const own = summary.tasks[task];
      return own === undefined ? "–" : shown(own, isRate(own) ? 100 : 1);
    }),
    shown(summary.mean),
    ...(base.superb === undefined ? [] : [summary.superb === undefined ? "–" : fixed(summary.superb, 2)]),
  ]);
  return {
    title: "Before and after",
    lead: "Each task's main metric on the test part, in per cent, with the standard deviation over seeds where there are several. The last column is the mean over tasks of accuracy or 1 − error rate.",
    body: table({ columns, rows }),
  };
}

async function againstAlpha({ curves }: Analysis): Promise<Section | undefined> {
  if (curves.length === 0) return undefined;
  const figures: Html[] = [];
  const series = curves.map(({ name, points }) => ({
    name,
    points: points.map(({ alpha, summary }): [number, number] => [alpha, summary.mean.mean]),
    markers: true,
  }));
  const axis = { label: "alpha: 0 is the pre-trained model, 1 the fine-tuned one", min: 0, max: 1 };
  figures.push(
    await figure((size) => lineChart({ x: axis, y: { label: "mean of what is right (%)" }, series }, size), {
      label: `Mean over tasks against alpha: ${curves.map(said).join("; ")}`,
    }),
  );
  for (const { name, points } of curves) {
    const tasks = Object.keys(points[0]?.summary.tasks ?? {});
    const lines = tasks.map((task) => ({
      name: task,
      points: points.map(({ alpha, summary }): [number, number] => {
        const { mean, higher } = summary.tasks[task];
        return [alpha, 100 * (higher ? mean : 1 - mean)];
      }),
      markers: true,
    }));
    figures.push(
      await figure((size) => lineChart({ x: axis, y: { label: "right (%)" }, series: lines }, size), {
        caption: `${name}: each task`,
        label: `Each task against alpha for ${name}`,
      }),
    );
  }
  return {
    title: "Score against alpha",
    lead: "How a representation changes on the straight line from the pre-trained to the fine-tuned weights.",
    body: figures,
  };
}

const said = ({ name, points }: Analysis["curves"][number]) =>
  `${name} ${points.map(({ alpha, summary }) => `${alpha}: ${fixed(summary.mean.mean, 1)}`).join(", ")}`;

async function distances({ distances: all }: Analysis): Promise<Section | undefined> {
  if (all.length === 0) return undefined;
  const categories = [...new Set(all.flatMap(({ parts }) => parts.map(({ part }) => part)))];
  const relative = (parts: readonly PartDistance[], part: string) =>
    100 * (parts.find((each) => each.part === part)?.relative ?? Number.NaN);
  const series = all.map(({ model, parts }) => ({
    name: model,
    values: categories.map((part) => relative(parts, part)),
  }));
  return {
    title: "Distance per layer",
    lead: "Euclidean distance of a part's weights from where they started, in per cent of their length there.",
    body: await figure(
      (size) =>
        barChart({ categories, series, value: { label: "moved (%)", min: 0, format: formatNumber } }, size),
      { label: `Relative weight distance of ${categories.join(", ")}` },
    ),
  };
}

async function layerProfiles({ models }: Analysis): Promise<Section | undefined> {
  const tasks = Object.keys(models[0]?.summary.tasks ?? {});
  const layers = Math.max(
    0,
    ...models.flatMap(({ summary }) => Object.values(summary.tasks).map((t) => t.layerWeights.length)),
  );
  if (tasks.length === 0 || layers < 2) return undefined;
  const rows = models.flatMap(({ name, summary }) =>
    tasks
      .filter((task) => summary.tasks[task] !== undefined)
      .map((task) => ({
        name: `${task}, ${name}`,
        values: summary.tasks[task].layerWeights,
      })),
  );
  const map = {
    rows: rows.map(({ name }) => name),
    columns: Array.from({ length: layers }, (_, i) => String(i)),
    values: rows.map(({ values }) => [...values]),
    rowLabel: "task and model",
    columnLabel: "hidden state, 0 is the transformer's input",
    format: (value: number) => fixed(value, 2),
  };
  return {
    title: "Layer weights",
    lead: "The share that each task's probe learned to give to each hidden state.",
    body: await figure((size) => heatMap(map, size), {
      label: "Learned layer weights: tasks and models in rows, hidden states in columns",
      sizes: { wide: heatMapSize(map, wide.width, 34), narrow: heatMapSize(map, narrow.width, 30) },
    }),
  };
}

async function forgetting({ stages }: Analysis): Promise<Section | undefined> {
  if (stages.length < 2) return undefined;
  const tasks = Object.keys(stages[0].summary.tasks);
  const right = ({ summary }: Analysis["stages"][number], task: string) => {
    const { mean, higher } = summary.tasks[task];
    return 100 * (higher ? mean : 1 - mean);
  };
  const map = {
    rows: stages.map(({ name }) => name),
    columns: tasks,
    values: stages.map((stage) => tasks.map((task) => right(stage, task))),
    // Against the first stage: what was gained, and in the second colour what was forgotten.
    shade: stages.map((stage) =>
      tasks.map((task) => Math.max(-1, Math.min(1, (right(stage, task) - right(stages[0], task)) / 20))),
    ),
    rowLabel: "after",
    columnLabel: "task (% right)",
    format: (value: number) => fixed(value, 1),
  };
  return {
    title: "Forgetting",
    lead: "What each task comes to after each stage; shades are the difference to the first row, 20 points being full.",
    body: await figure((size) => heatMap(map, size), {
      label: "Stages in rows, tasks in columns, per cent right in the cells",
      sizes: { wide: heatMapSize(map, wide.width, 46), narrow: heatMapSize(map, narrow.width, 40) },
    }),
  };
}
