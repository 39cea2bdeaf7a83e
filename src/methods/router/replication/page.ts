import { type LineSeries, lineChart } from "../../../report/charts.ts";
import { type Html, html } from "../../../report/html.ts";
import { page } from "../../../report/page.ts";
import { figure } from "../../../report/svg.ts";
import { conditions, type Findings, type Row, sameAs } from "./section.ts";

/** Rows whose method ends in a sparsity, by what stands before it. */
function bySparsity(rows: readonly Row[]): Map<string, [sparsity: number, error: number][]> {
  const curves = new Map<string, [number, number][]>();
  for (const { method, test } of rows) {
    const [, name, sparsity] = /^(.*) ([\d.]+)$/.exec(method) ?? [];
    if (name !== undefined) curves.set(name, [...(curves.get(name) ?? []), [Number(sparsity), 100 * test]]);
  }
  for (const points of curves.values()) points.sort((a, b) => a[0] - b[0]);
  return curves;
}

/** Error against sparsity: a curve for each way to start masks, or to prune; what has no sparsity is a dashed level. */
function errorCurves(title: string, rows: readonly Row[]): Promise<Html> | undefined {
  const curves = bySparsity(rows);
  if (curves.size === 0) return undefined;
  const all = [...curves.values()].flat().map(([sparsity]) => sparsity);
  const ends = [Math.min(...all), Math.max(...all)];
  const levels = rows.filter(({ method }) => !/ [\d.]+$/.test(method));
  const series: LineSeries[] = [
    ...[...curves].map(([name, points]) => ({ name, points, markers: true })),
    ...levels.map(({ method, test }) => ({
      ...{ name: method, dashed: true },
      points: ends.map((sparsity) => [sparsity, 100 * test] as const),
    })),
  ];
  return figure(
    (size) => lineChart({ x: { label: "sparsity" }, y: { label: "phoneme error rate (%)" }, series }, size),
    {
      caption: title,
      label: `${title}: ${[...curves].map(([name, points]) => `${name} ${points.map(([s, error]) => `${s}: ${error.toFixed(1)}`).join(", ")}`).join("; ")}`,
    },
  );
}

/** The curves of a replication as one HTML file; undefined before there are any. */
export async function curvesPage(
  { grid, pruning, ablations }: Findings,
  facts: readonly (readonly [string, string])[],
): Promise<string | undefined> {
  const masks = conditions(grid).map((condition) =>
    errorCurves(
      `${condition.language}, ${(condition.utterances ?? 0) / 30} min`,
      grid.filter(sameAs(condition)),
    ),
  );
  const modules = ablations.filter(({ method }) => !method.startsWith("layer"));
  const sections = await Promise.all(
    (
      [
        ["Masks by sparsity, and the other methods", masks],
        ["Pruning by sparsity", [errorCurves("all methods", pruning)]],
        ["Modules by sparsity", [errorCurves("what is masked", modules)]],
      ] as const
    ).map(async ([title, figures]) => ({
      title,
      body: (await Promise.all(figures)).filter((each) => each !== undefined),
    })),
  );
  const there = sections.filter(({ body }) => body.length > 0);
  if (there.length === 0) return undefined;
  return page({
    title: "S3-Router in miniature",
    kicker: "Error against sparsity",
    facts: [...facts],
    sections: there,
    footer: html`Made by <code>voxsmith results router</code>. Test parts; one seed.`,
  });
}
