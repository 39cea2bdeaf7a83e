import { formatNumber } from "./format.ts";
import { escapeHtml } from "./html.ts";
import type { Size } from "./svg.ts";
import { colours, themed } from "./theme.ts";

export interface TernaryChart {
  /** Names at the corners: where the first, second and third weight is 1. */
  readonly corners: readonly [string, string, string];
  /** A regular grid of weights that sum to 1, in steps of 1 / `steps`. */
  readonly points: readonly { readonly weights: readonly [number, number, number]; readonly value: number }[];
  readonly steps: number;
  /** A point to mark, as weights. */
  readonly mark?: readonly [number, number, number];
}

/** A value over the triangle of three weights that sum to 1: each grid point's cell in a shade, light where it is low. */
export function ternaryChart(
  { corners, points, steps, mark }: TernaryChart,
  { width, height }: Size,
): string {
  const margin = 44;
  const side = Math.min(width - 2 * margin, ((height - 2 * margin) * 2) / Math.sqrt(3));
  const tall = (side * Math.sqrt(3)) / 2;
  const left = (width - side) / 2;
  const bottom = (height + tall) / 2;
  const at = ([a, b]: readonly number[]) => ({
    x: left + side * (b + a / 2),
    y: bottom - tall * a,
  });
  const values = points.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const radius = (side / steps / 2) * 1.155;
  const cells = points.map(({ weights, value }) => {
    const { x, y } = at(weights);
    const share = high > low ? (value - low) / (high - low) : 0;
    const corner = Array.from({ length: 6 }, (_, i) => {
      const angle = (Math.PI / 3) * i + Math.PI / 6;
      return `${(x + radius * Math.cos(angle)).toFixed(1)},${(y + radius * Math.sin(angle)).toFixed(1)}`;
    });
    return `<polygon points="${corner.join(" ")}" fill="${colours.c1}" fill-opacity="${(0.06 + 0.9 * share).toFixed(3)}"/>`;
  });
  const text = (x: number, y: number, anchor: string, content: string) =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="12" fill="${colours.ink}">${escapeHtml(content)}</text>`;
  const [top, right, origin] = [at([1, 0, 0]), at([0, 1, 0]), at([0, 0, 1])];
  const marked =
    mark === undefined
      ? ""
      : `<circle cx="${at(mark).x.toFixed(1)}" cy="${at(mark).y.toFixed(1)}" r="6" fill="none" stroke="${colours.c2}" stroke-width="2.5"/>`;
  const body = [
    ...cells,
    marked,
    text(top.x, top.y - radius - 8, "middle", corners[0]),
    text(right.x, right.y + radius + 16, "middle", corners[1]),
    text(origin.x, origin.y + radius + 16, "middle", corners[2]),
    text(width - 8, 16, "end", `${formatNumber(low)} (pale) to ${formatNumber(high)}`),
  ].join("");
  return themed(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}">${body}</svg>`);
}
