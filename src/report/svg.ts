import type { EChartsOption } from "echarts";
import { type Content, type Html, html, raw } from "./html.ts";
import { colours, themed } from "./theme.ts";

/** Pixels; a figure on a page is drawn once for wide screens and once for phones, so that its text keeps its size. */
export interface Size {
  width: number;
  height: number;
}

export const wide: Size = { width: 760, height: 300 };
export const narrow: Size = { width: 350, height: 270 };
/** Two side by side on a wide screen. */
export const half: Size = { width: 380, height: 270 };

/** Estimated pixels of a text: fonts are not known here, so rather too wide than overlapping. East Asian text is square. */
export const textWidth = (text: string, fontSize = 12): number =>
  [...text].reduce((sum, c) => sum + fontSize * (c.codePointAt(0)! > 0x2e7f ? 1 : 0.6), 0);

/** Draws an ECharts option as an SVG string that names no font and no colour scheme of its own. */
export async function draw(option: EChartsOption, size: Size): Promise<string> {
  // About a second to load: only who draws pays for it.
  const { init, setPlatformAPI } = await import("echarts");
  setPlatformAPI({
    measureText: (text, font) => ({ width: textWidth(text, Number(font?.match(/([\d.]+)px/)?.[1] ?? 12)) }),
  });
  const chart = init(null, null, { renderer: "svg", ssr: true, ...size });
  try {
    chart.setOption({ animation: false, textStyle: { color: colours.ink, fontSize: 12 }, ...option });
    return tidy(chart.renderToSVGString(), size);
  } finally {
    chart.dispose();
  }
}

/** Leaves out what serves interaction only, and numbers that change from one drawing to the next. */
function tidy(svg: string, { width, height }: Size): string {
  const body = svg
    .slice(svg.indexOf(">") + 1)
    .replace(/<style >[\s\S]*?<\/style>\s*/, "")
    .replace(/<defs >\s*<\/defs>\s*/, "")
    .replace(/ (class|pointer-events|ecmeta_\w+)="[^"]*"/g, "")
    .replace(/font-family:[^;"]*;?/g, "")
    .replace(/\n/g, "");
  // Clip paths are named by their own shape, so equal names on one page mean equal things.
  const names = new Map(
    [...body.matchAll(/<clipPath id="(zr\d+-c\d+)"><path d="([^"]*)"/g)].map(([, id, shape]) => [
      id,
      `clip-${shape.replace(/[^\w]+/g, "-")}`,
    ]),
  );
  const named = body.replace(/zr\d+-c\d+/g, (id) => names.get(id) ?? id);
  return themed(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}">${named}`);
}

export interface FigureOptions {
  caption?: Content;
  /** What the figure shows, for readers who cannot see it. */
  label: string;
  sizes?: { wide: Size; narrow: Size };
}

/** A figure drawn for wide screens and for phones; the style sheet shows the one that fits. */
export async function figure(
  render: (size: Size) => string | Promise<string>,
  { caption, label, sizes = { wide, narrow } }: FigureOptions,
): Promise<Html> {
  const drawings: Html[] = [];
  for (const screen of ["wide", "narrow"] as const) {
    const size = sizes[screen];
    const svg = raw(await render(size));
    drawings.push(
      html`<div class="${screen}" style="max-width:${size.width}px" role="img" aria-label="${label}">${svg}</div>`,
    );
  }
  return html`<figure>${drawings}${caption === undefined ? undefined : html`<figcaption>${caption}</figcaption>`}</figure>
`;
}
