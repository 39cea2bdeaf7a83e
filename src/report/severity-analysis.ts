import { countBy } from "../corpus/group.ts";
import type { LayerAnalysis, RunAnalysis } from "../methods/severity/analysis/states.ts";
import { type LineSeries, lineChart, scatter } from "./charts.ts";
import { fixed, grouped } from "./format.ts";
import { type Html, html } from "./html.ts";
import { page, type Section } from "./page.ts";
import { figure, half, narrow } from "./svg.ts";
import { table } from "./tables.ts";

/** The paper's section 4 of one or more runs: maps of representations (Fig. 2), loss curves (Fig. 3), probes by layer. */
export async function analysisPage(runs: readonly RunAnalysis[]): Promise<string> {
  const names = runs.map(({ name, model }) => `${name} (${model} model)`);
  return page({
    title: "What the severity models learned",
    kicker: "voxsmith · analysis",
    summary: `Averaged representations of the training recordings, validation losses and linear probes of ${names.join(" and ")}.`,
    sections: [
      await probeSection(runs),
      await lossSection(runs),
      ...(await Promise.all(runs.map(mapSection))),
    ].filter((section) => section !== undefined),
    footer: "Made by voxsmith. This file is complete in itself: it loads nothing from anywhere.",
  });
}

const small = { wide: half, narrow };

async function probeSection(runs: readonly RunAnalysis[]): Promise<Section> {
  const chart = (title: string, value: (layer: LayerAnalysis) => number, min?: number) =>
    figure(
      (size) =>
        lineChart(
          {
            x: { label: "layer", min: 0 },
            y: { label: title, min },
            series: runs.map(
              ({ name, layers }): LineSeries => ({
                name,
                markers: true,
                points: layers.map((layer) => [layer.layer, value(layer)] as const),
              }),
            ),
          },
          size,
        ),
      { label: `${title} by layer`, caption: title, sizes: small },
    );
  const figures: Html[] = [
    await chart("Probe: accuracy of the grade", ({ probe }) => probe.grade, 0),
    await chart("Silhouette of the grades", ({ silhouette }) => silhouette.grade),
    await chart("Silhouette of the sentences", ({ silhouette }) => silhouette.sentence),
  ];
  if (runs.some(({ layers }) => layers.some(({ probe }) => Number.isFinite(probe.sentence))))
    figures.push(await chart("Probe: accuracy of the sentence", ({ probe }) => probe.sentence, 0));
  const rows = runs.flatMap(({ name, layers }) =>
    layers.map(({ layer, probe, silhouette }) => [
      name,
      layer,
      fixed(probe.grade, 3),
      fixed(probe.sentence, 3),
      fixed(silhouette.grade, 3),
      fixed(silhouette.sentence, 3),
    ]),
  );
  return {
    title: "Layer by layer",
    lead: "A linear probe learns from the training part and is tested on validation speakers. The silhouette, from −1 to 1, says how far the training recordings of one grade (or sentence) lie from the others: the paper finds that multi-task models separate both, single-task models the grades alone.",
    body: html`<div class="half">${figures}</div>${table({
      columns: [
        { label: "Run" },
        ...["Layer", "Probe: grade", "Probe: sentence", "Silhouette: grade", "Silhouette: sentence"].map(
          (label) => ({
            label,
            number: true,
          }),
        ),
      ],
      rows,
    })}`,
  };
}

async function lossSection(runs: readonly RunAnalysis[]): Promise<Section | undefined> {
  const objectives = [...new Set(runs.flatMap(({ losses }) => Object.keys(losses)))];
  const figures: Html[] = [];
  for (const objective of objectives) {
    const series = runs.flatMap(({ name, losses }): LineSeries[] =>
      (losses[objective] ?? []).length === 0 ? [] : [{ name, points: losses[objective] }],
    );
    if (series.length === 0) continue;
    const marks = runs.flatMap(({ joins, name }) =>
      joins > 0 ? [{ x: joins, label: `grading joins (${name})` }] : [],
    );
    figures.push(
      await figure(
        (size) =>
          lineChart(
            {
              x: { label: "step", format: grouped, min: 0 },
              y: { label: `${objective} loss` },
              series,
              marks,
            },
            size,
          ),
        { label: `Validation loss of ${objective}`, caption: `Validation loss of ${objective}` },
      ),
    );
  }
  if (figures.length === 0) return undefined;
  return {
    title: "Validation losses",
    lead: "With and without the auxiliary task, and with grading postponed: where the curve of the grades turns up, it overfits.",
    body: figures,
  };
}

/** The last layer's maps large, those of other layers folded away. */
async function mapSection(run: RunAnalysis): Promise<Section> {
  const { layers, name, model, grades, classes, sentences } = run;
  const ordered = [...layers].reverse();
  const drawn: Html[] = [];
  const often = [...countBy(sentences, (text) => text)].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  // More colours than these nobody tells apart.
  const shown = often
    .filter(([, count]) => count > 1)
    .slice(0, 6)
    .map(([text]) => text);
  for (const layer of ordered)
    drawn.push(html`<h3>Layer ${layer.layer}</h3><div class="half">
${await map(layer.umap, grades, classes, `UMAP by ${run.label}`)}
${shown.length > 1 ? await map(layer.umap, sentences, shown, "UMAP by sentence") : undefined}
${await map(layer.pca, grades, classes, `Principal components by ${run.label}`)}
${shown.length > 1 ? await map(layer.pca, sentences, shown, "Principal components by sentence") : undefined}</div>`);
  const [last, ...rest] = drawn;
  return {
    title: `Representations of ${name}`,
    lead: `The ${model} model's hidden states of ${grades.length} training recordings, each averaged over its frames. UMAP keeps neighbours together; distances between far groups mean little.`,
    body: html`${last}${rest.length > 0 ? html`<details><summary>The ${rest.length} layers below</summary>${rest}</details>` : undefined}`,
  };
}

function map(
  points: readonly (readonly [number, number])[],
  groups: readonly string[],
  names: readonly string[],
  title: string,
): Promise<Html> {
  const bare = { format: () => "" };
  return figure(
    (size) =>
      scatter(
        {
          x: { label: "", ...bare },
          y: { label: "", ...bare },
          series: names.map((name) => ({
            name: name.length > 24 ? `${name.slice(0, 22)}…` : name,
            points: points.flatMap(([x, y], i) => (groups[i] === name ? [{ x, y }] : [])),
          })),
        },
        size,
      ),
    { label: title, caption: title, sizes: small },
  );
}
