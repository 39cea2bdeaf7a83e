import { lineChart } from "../../report/charts.ts";
import { html } from "../../report/html.ts";
import { markdownTable } from "../../report/markdown.ts";
import { page } from "../../report/page.ts";
import { figure } from "../../report/svg.ts";
import { table } from "../../report/tables.ts";
import type { AdaptedTask, AdaptReport, Point } from "./superb-tasks.ts";

/** Rates in per cent, other metrics (BLEU) as they are. */
const shown = (value: number): string => (Math.abs(value) <= 1 ? (100 * value).toFixed(2) : value.toFixed(2));

const HEADER = ["task", "weights", "masks", "optimal sparsity", "test by sparsity", "validation by sparsity"];

function rowOf({ task, metric, higher, curve, chosen, weights }: AdaptedTask, masks: boolean): string[] {
  const of = (point: Point | undefined) => (point === undefined ? "–" : shown(point.metrics[metric]));
  const each = (value: (point: Point) => number | undefined) =>
    curve
      .map((point) => `${point.sparsity}: ${value(point) === undefined ? "–" : shown(value(point)!)}`)
      .join(", ");
  return [
    `${task} (${metric} ${higher ? "↑" : "↓"})`,
    of(weights),
    ...(masks
      ? [
          of(chosen),
          chosen === undefined ? "–" : String(chosen.sparsity),
          each(({ metrics }) => metrics[metric]),
          each(({ valid }) => valid),
        ]
      : ["–", "–", "–", "–"]),
  ];
}

const rowsOf = ({ tasks, train }: AdaptReport) => tasks.map((task) => rowOf(task, train === "masks"));

/** S3-Router's Table 5 as far as it is there: weights against masks at the sparsity that validation chose. */
export const tableOf = (report: AdaptReport): string => markdownTable(HEADER, rowsOf(report));

/** The table with a curve over sparsities for each task, as one HTML file. */
export async function taskPage(report: AdaptReport): Promise<string> {
  const { model, tasks, train, seed, left } = report;
  const curves = tasks.filter(({ curve }) => train === "masks" && curve.length > 1);
  const charts = curves.map(({ task, metric, curve, chosen, weights }) => {
    const points = (value: (point: Point) => number) =>
      curve.map((point) => [point.sparsity, value(point)] as const);
    const ends = [curve[0].sparsity, curve.at(-1)!.sparsity];
    const series = [
      { name: "masks, test", points: points(({ metrics }) => metrics[metric]), markers: true },
      ...(curve.every(({ valid }) => valid !== undefined)
        ? [
            {
              ...{ name: "masks, validation", points: points(({ valid }) => valid!), dashed: true },
              ...{ colour: 0, markers: true },
            },
          ]
        : []),
      ...(weights === undefined
        ? []
        : [
            {
              ...{ name: "weights, test", colour: 1 },
              points: ends.map((sparsity) => [sparsity, weights.metrics[metric]] as const),
            },
          ]),
    ];
    const marks = chosen === undefined ? [] : [{ x: chosen.sparsity, label: "chosen" }];
    return figure(
      (size) => lineChart({ x: { label: "sparsity" }, y: { label: metric }, series, marks }, size),
      {
        caption: task,
        label: `${task}: ${metric} by sparsity, ${curve.map((each) => `${each.sparsity}: ${shown(each.metrics[metric])}`).join(", ")}`,
      },
    );
  });
  const columns = HEADER.map((label, i) => ({ label, number: i > 0 && i < 4 }));
  return page({
    title: `SUPERB's tasks on ${model.name}`,
    kicker: "S3-Router, Table 5",
    facts: [
      ["model", model.name],
      ["trains", train],
      ["seed", String(seed)],
      ["not finished", left.length === 0 ? "none" : left.join(", ")],
    ],
    sections: [
      {
        title: "Tasks",
        lead: "Test metrics, rates in per cent; the sparsity is the one whose validation metric is best. Weights stand beside them where `--train weights` was run with the same seed and updates.",
        body: table({ columns, rows: rowsOf(report) }),
      },
      ...(charts.length > 0 ? [{ title: "By sparsity", body: await Promise.all(charts) }] : []),
    ],
    footer: html`Made by <code>voxsmith superb ${model.name} --train ${train}</code>.`,
  });
}
