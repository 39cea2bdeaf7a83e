import { heatMap, heatMapSize, scatter } from "../../report/charts.ts";
import { html, raw } from "../../report/html.ts";
import { page } from "../../report/page.ts";
import { figure, narrow, textWidth, wide } from "../../report/svg.ts";
import { colours } from "../../report/theme.ts";
import type { MaskAnalysis } from "./analyse.ts";
import type { Join, Similarity } from "./mask-similarity.ts";

const fixed = (value: number) => value.toFixed(3);

/** The analysis as one page: heat maps of each layer, the dendrogram, and masks beside inventories. */
export async function analysisPage(analysis: MaskAnalysis): Promise<string> {
  const { tasks, layers, inventories } = analysis;
  const map = (values: readonly (readonly number[])[], caption: string) => {
    // The diagonal is 1 by definition and would take all the shade.
    const shown = values.map((row, i) => row.map((value, j) => (i === j ? Number.NaN : value)));
    const input = {
      ...{ rows: tasks, columns: tasks, values: shown, rowLabel: "", columnLabel: "" },
      format: (value: number) => value.toFixed(2),
    };
    return figure((size) => heatMap(input, size), {
      label: caption,
      caption,
      sizes: { wide: heatMapSize(input, wide.width, 40), narrow: heatMapSize(input, narrow.width, 30) },
    });
  };
  const heat = (part: Similarity) => map(part.phi, `${part.part}: phi, ${part.weights} weights`);
  const sections = [
    {
      title: "Layers",
      lead: "Phi between the masks of each pair of tasks: 0 is what masks drawn by chance have, 1 is the same mask.",
      body: await Promise.all(layers.map(heat)),
    },
    {
      title: "Dendrogram",
      lead: "Average linkage over 1 - phi, averaged over the layers.",
      body: raw(dendrogram(tasks, analysis.clusters)),
    },
  ];
  if (inventories !== undefined) {
    const { associations, similarity, combine, languages } = inventories;
    const [first] = layers;
    const points = tasks.flatMap((a, i) =>
      tasks.slice(0, i).map((b, j) => ({ x: similarity[i][j], y: first.cosine[i][j], label: `${a}-${b}` })),
    );
    sections.push({
      title: "Masks and phoneme inventories",
      lead: `Cosine of PHOIBLE inventories (${languages.map(({ language, sources, phonemes }) => `${language}: ${phonemes} phonemes of ${sources} inventories`).join(", ")}; combined by ${combine}) against the cosine of the masks of ${first.part}.`,
      body: [
        await figure(
          (size) =>
            scatter(
              {
                x: { label: "inventory cosine" },
                y: { label: "mask cosine" },
                series: [{ name: "pairs", points }],
              },
              size,
            ),
          { label: "Mask similarity against inventory similarity, a point for each pair of languages" },
        ),
        html`<table><thead><tr><th>part</th><th>measure</th><th>Pearson</th><th>p</th><th>Spearman</th><th>p</th></tr></thead><tbody>${associations.map(
          ({ part, measure, pearson, spearman }) =>
            html`<tr><td>${part}</td><td>${measure}</td><td>${fixed(pearson.value)}</td><td>${fixed(pearson.p)}</td><td>${fixed(spearman.value)}</td><td>${fixed(spearman.p)}</td></tr>`,
        )}</tbody></table>`,
        await map(similarity, "Cosine of phoneme inventories"),
      ],
    });
  }
  return page({
    title: "What masks say",
    kicker: "S3-Router mask analysis",
    summary: `Masks of ${tasks.length} tasks over one backbone: ${tasks.join(", ")}.`,
    sections,
  });
}

const ROW = 22;

/** A dendrogram with the items in rows and distance growing to the right. */
export function dendrogram(items: readonly string[], joins: readonly Join[]): string {
  const order: number[] = [];
  const visit = (node: number) => {
    if (node < items.length) order.push(node);
    else for (const child of [joins[node - items.length].a, joins[node - items.length].b]) visit(child);
  };
  visit(items.length + joins.length - 1);
  const names = Math.max(...items.map((item) => textWidth(item))) + 12;
  const [width, height] = [560, ROW * items.length + 24];
  const most = Math.max(...joins.map(({ distance }) => distance), Number.MIN_VALUE);
  const at = (distance: number) => names + ((width - names - 60) * Math.max(0, distance)) / most;
  const places = new Map(order.map((item, row) => [item, { x: at(0), y: ROW * (row + 0.5) }]));
  const lines = joins.map(({ a, b, distance }, i) => {
    const [p, q] = [places.get(a)!, places.get(b)!];
    const x = at(distance);
    places.set(items.length + i, { x, y: (p.y + q.y) / 2 });
    return `<path d="M${p.x.toFixed(1)} ${p.y}H${x.toFixed(1)}V${q.y}H${q.x.toFixed(1)}" fill="none" stroke="currentColor"/>`;
  });
  const labels = order.map(
    (item, row) =>
      `<text x="${names - 8}" y="${ROW * (row + 0.5) + 4}" text-anchor="end" font-size="12" fill="currentColor">${escapeXml(items[item])}</text>`,
  );
  const scale = `<text x="${at(most).toFixed(1)}" y="${height - 6}" text-anchor="middle" font-size="11" fill="${colours.muted}">${most.toFixed(3)}</text><text x="${at(0)}" y="${height - 6}" text-anchor="middle" font-size="11" fill="${colours.muted}">0</text>`;
  return `<svg viewBox="0 0 ${width} ${height}" style="max-width:${width}px" role="img" aria-label="Dendrogram of ${escapeXml(items.join(", "))}">${lines.join("")}${labels.join("")}${scale}</svg>`;
}

const escapeXml = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
