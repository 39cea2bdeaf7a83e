/** The charts of reports, as SVG strings. Names and labels are plain text; drawing escapes them. */
import type { EChartsOption, SeriesOption } from "echarts";
import { quantile } from "../metrics/special.ts";
import { formatNumber } from "./format.ts";
import { draw, half, type Size, textWidth, wide } from "./svg.ts";
import { colours, seriesColours } from "./theme.ts";

export interface Axis {
  /** What is measured, with its unit: "time (s)". */
  label: string;
  log?: boolean;
  min?: number;
  max?: number;
  format?: (value: number) => string;
}

export interface LineSeries {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** Dashed, to tell it from its solid sister in the same colour. */
  dashed?: boolean;
  /** Index into the palette; default: the series' place. */
  colour?: number;
  /** A thin pale line, left out of the legend: raw values behind a smoothed curve. */
  faint?: boolean;
  /** Shows each point. */
  markers?: boolean;
}

export interface LineChart {
  x: Axis;
  y: Axis;
  series: readonly LineSeries[];
  /** Labelled vertical lines: the best step, a change of the loss. */
  marks?: readonly { x: number; label: string }[];
}

/** Curves over a common axis. Points that are not finite (or not positive on a log axis) leave a gap. */
export function lineChart({ x, y, series, marks = [] }: LineChart, size: Size = wide): Promise<string> {
  const named = series.filter(({ faint, name }) => !faint && name !== "");
  const lines: SeriesOption[] = series.map(({ name, points, dashed, colour, faint, markers }, i) => {
    const stroke = paint(colour ?? i);
    return {
      type: "line",
      // The raw line behind a smoothed one must not lend the legend its paleness.
      name: faint ? undefined : name,
      silent: true,
      data: points.map(([px, py]) => [px, showable(py, y) ? py : null]),
      showSymbol: markers === true || points.length === 1,
      symbol: "circle",
      symbolSize: 5,
      itemStyle: { color: stroke },
      lineStyle: {
        color: stroke,
        width: faint ? 1 : 2,
        opacity: faint ? 0.28 : 1,
        type: dashed ? [6, 4] : "solid",
      },
    };
  });
  if (lines.length > 0 && marks.length > 0)
    Object.assign(lines[0], {
      markLine: {
        silent: true,
        symbol: "none",
        lineStyle: { color: colours.muted, type: [2, 3], width: 1 },
        label: { ...plainText(colours.muted, 11), distance: 4, formatter: "{b}" },
        data: marks.map((mark) => ({ xAxis: mark.x, name: mark.label })),
      },
    });
  return draw(
    {
      ...frame(
        size,
        y.label,
        named.map(({ name }) => name),
        { extra: marks.length > 0 ? 14 : 0 },
      ),
      xAxis: valueAxis(x, size, "x"),
      yAxis: valueAxis(y, size, "y"),
      series: lines,
    },
    size,
  );
}

export interface BarSeries {
  name: string;
  values: readonly number[];
  /** Interval bounds, drawn as whiskers. */
  low?: readonly number[];
  high?: readonly number[];
}

export interface BarChart {
  categories: readonly string[];
  series: readonly BarSeries[];
  value: Axis;
  /** Bars to the right, one row a category: for long names. */
  horizontal?: boolean;
  /** Of a single series, only this category is in full colour. */
  highlight?: number;
}

export function barChart(
  { categories, series, value, horizontal = false, highlight }: BarChart,
  size: Size = wide,
): Promise<string> {
  const format = value.format ?? formatNumber;
  const bars: SeriesOption[] = series.map(({ name, values }, i) => ({
    type: "bar",
    name,
    silent: true,
    barMaxWidth: 34,
    itemStyle: { color: paint(i), borderRadius: 2 },
    data: values.map((v, k) => ({
      value: v,
      itemStyle: { opacity: highlight === undefined || highlight === k ? 1 : 0.4 },
    })),
    label: {
      show: series.length * categories.length <= 24 && !series.some(({ high }) => high),
      position: horizontal ? "right" : "top",
      ...plainText(colours.ink, 12),
      opacity: 1,
      formatter: ({ value: v }) => format(Number(v)),
    },
  }));
  const categoryAxis = {
    type: "category" as const,
    data: [...categories],
    inverse: horizontal,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: colours.rule } },
    axisLabel: { color: colours.ink, fontSize: 12, interval: 0, hideOverlap: !horizontal, margin: 8 },
  };
  const names = series.length > 1 ? series.map(({ name }) => name) : [];
  const layout = frame(size, horizontal ? "" : value.label, names);
  return draw(
    {
      ...layout,
      grid: horizontal
        ? {
            ...(layout.grid as object),
            left: 12 + Math.max(...categories.map((name) => textWidth(name))),
            right: 48,
            top: names.length > 0 ? 30 : 6,
            bottom: 40,
          }
        : layout.grid,
      xAxis: horizontal ? valueAxis(value, size, "x") : categoryAxis,
      yAxis: horizontal ? categoryAxis : valueAxis(value, size, "y"),
      series: [...bars, ...series.flatMap((one, i) => whiskers(one, i, series.length, horizontal))],
    },
    size,
  );
}

/** Interval whiskers over the bars of one series. */
function whiskers(
  { low, high }: BarSeries,
  index: number,
  count: number,
  horizontal: boolean,
): SeriesOption[] {
  if (!low || !high) return [];
  return [
    {
      type: "custom",
      silent: true,
      z: 5,
      encode: horizontal ? { x: [1, 2], y: 0 } : { x: 0, y: [1, 2] },
      data: low.map((v, k) => [k, v, high[k]]),
      renderItem: (_, api) => {
        const at = (v: number) => api.coord(horizontal ? [v, api.value(0)] : [api.value(0), v]);
        const [from, to] = [at(Number(api.value(1))), at(Number(api.value(2)))];
        const shift = api.barLayout({ barMaxWidth: 34, count })?.[index].offsetCenter ?? 0;
        const cap = 4;
        const line = (x1: number, y1: number, x2: number, y2: number) => ({
          type: "line" as const,
          shape: horizontal
            ? { x1, y1: y1 + shift, x2, y2: y2 + shift }
            : { x1: x1 + shift, y1, x2: x2 + shift, y2 },
          style: { stroke: colours.ink, lineWidth: 1.5 },
        });
        const [dx, dy] = horizontal ? [0, cap] : [cap, 0];
        return {
          type: "group",
          children: [
            line(from[0], from[1], to[0], to[1]),
            ...[from, to].map(([x, y]) => line(x - dx, y - dy, x + dx, y + dy)),
          ],
        };
      },
    },
  ];
}

export interface HeatMap {
  rows: readonly string[];
  columns: readonly string[];
  /** values[row][column]; NaN leaves a cell empty. */
  values: readonly (readonly number[])[];
  rowLabel: string;
  columnLabel: string;
  /** Shade of each cell in -1..1 (negative ones take the second colour); default: value over the largest magnitude. */
  shade?: readonly (readonly number[])[];
  format?: (value: number) => string;
}

/** Shaded cells with their values written in, rows from the top. */
export function heatMap(input: HeatMap, size: Size = wide): Promise<string> {
  const { rows, columns, values, rowLabel, columnLabel, format = formatNumber } = input;
  const peak = Math.max(...values.flat().map(Math.abs).filter(Number.isFinite), Number.MIN_VALUE);
  const shade = input.shade ?? values.map((row) => row.map((v) => v / peak));
  const axis = (data: readonly string[], name: string) => ({
    type: "category" as const,
    data: [...data],
    name,
    nameLocation: "middle" as const,
    nameTextStyle: { color: colours.muted, fontSize: 12 },
    axisLine: { show: false },
    axisTick: { show: false },
    splitLine: { show: false },
  });
  const label = { color: colours.ink, fontSize: 12, lineHeight: 14, overflow: "break" as const };
  const { rowSpace, columnSpace, cellWidth, upright } = heatMapLayout(input, size.width);
  return draw(
    {
      grid: { left: rowSpace + 24, right: 8, top: columnSpace + 22, bottom: 8 },
      xAxis: {
        ...axis(columns, columnLabel),
        position: "top",
        nameGap: columnSpace,
        axisLabel: {
          ...label,
          rotate: upright ? 90 : 0,
          width: upright ? undefined : cellWidth - 4,
          interval: cellWidth < 14 ? "auto" : 0,
        },
      },
      yAxis: {
        ...axis(rows, rowLabel),
        inverse: true,
        nameGap: rowSpace,
        nameRotate: 90,
        axisLabel: { ...label, width: rowSpace - 10, interval: "auto" },
      },
      series: [
        {
          type: "custom",
          silent: true,
          data: values.flatMap((row, i) => row.map((v, j) => [j, i, v])),
          renderItem: (_, api) => {
            const [column, row] = [Number(api.value(0)), Number(api.value(1))];
            const value = values[row][column];
            const strength = Math.max(-1, Math.min(1, shade[row][column]));
            const [x, y] = api.coord([column, row]);
            const [width, height] = api.size!([1, 1]) as number[];
            const text = Number.isFinite(value) ? format(value) : "";
            const fits = textWidth(text) < cellWidth;
            return {
              type: "rect",
              shape: {
                x: x - width / 2 + 1,
                y: y - height / 2 + 1,
                width: width - 2,
                height: height - 2,
                r: 3,
              },
              style: {
                fill: strength < 0 ? colours.c2 : colours.c1,
                // Empty cells keep a trace, so that the grid stays visible.
                opacity: Number.isFinite(strength) ? 0.05 + 0.95 * Math.abs(strength) : 0,
              },
              textContent: {
                type: "text",
                style: {
                  text: fits ? text : "",
                  fill: Math.abs(strength) > 0.55 ? colours.paper : colours.ink,
                  fontSize: 13,
                },
              },
              textConfig: { position: "inside" },
            };
          },
        },
      ],
    },
    size,
  );
}

/** The size at which the cells of a heat map are at most `cell` pixels high and no higher than wide. */
export function heatMapSize(input: HeatMap, width: number, cell: number): Size {
  const natural = Math.min(
    width,
    heatMapLayout(input, width).rowSpace + 32 + input.columns.length * cell * 1.9,
  );
  const { columnSpace, cellWidth } = heatMapLayout(input, natural);
  return { width: natural, height: columnSpace + 30 + input.rows.length * Math.min(cell, cellWidth) };
}

function heatMapLayout({ rows, columns }: HeatMap, width: number) {
  const rowSpace = Math.min(width * 0.3, Math.max(...rows.map((name) => textWidth(name))) + 14);
  const cellWidth = (width - rowSpace - 32) / columns.length;
  // Column names break between words, or stand upright where a word is wider than its column.
  const upright = columns.some((name) => name.split(" ").some((word) => textWidth(word) > cellWidth - 4));
  const columnSpace = upright
    ? Math.min(140, Math.max(...columns.map((name) => textWidth(name))) + 10)
    : 14 * Math.max(...columns.map((name) => linesOf(name, cellWidth - 4))) + 10;
  return { rowSpace, columnSpace, cellWidth, upright };
}

export interface ScatterChart {
  x: Axis;
  y: Axis;
  series: readonly { name: string; points: readonly { x: number; y: number; label?: string }[] }[];
}

/** Points whose series differ in colour and shape. */
export function scatter({ x, y, series }: ScatterChart, size: Size = wide): Promise<string> {
  const shapes = ["circle", "triangle", "diamond", "rect", "pin", "arrow"];
  const names = series.length > 1 ? series.map(({ name }) => name) : [];
  return draw(
    {
      ...frame(size, y.label, names, { iconWidth: 10 }),
      xAxis: { ...valueAxis(x, size, "x"), scale: true },
      yAxis: { ...valueAxis(y, size, "y"), scale: true },
      series: series.map(({ name, points }, i) => ({
        type: "scatter",
        name,
        silent: true,
        symbol: shapes[i % shapes.length],
        symbolSize: 8,
        itemStyle: { color: paint(i), opacity: 0.8 },
        label: {
          show: points.some(({ label }) => label),
          position: "right",
          formatter: ({ dataIndex }) => points[dataIndex].label ?? "",
          ...plainText(colours.muted, 11),
        },
        labelLayout: { hideOverlap: true },
        data: points.map((point) => [point.x, point.y]),
      })),
    },
    size,
  );
}

export interface BoxPlot {
  categories: readonly string[];
  /** The values of each category. */
  values: readonly (readonly number[])[];
  y: Axis;
}

/** Box from quartile to quartile, median line, whiskers to the farthest value within 1.5 boxes, the others as points. */
export function boxplot({ categories, values, y }: BoxPlot, size: Size = half): Promise<string> {
  const outliers: [number, number][] = [];
  const boxes = values.map((list, i) => {
    const sorted = list.filter(Number.isFinite).sort((a, b) => a - b);
    if (sorted.length === 0) return [];
    const [q1, median, q3] = [0.25, 0.5, 0.75].map((p) => quantile(sorted, p));
    const reach = 1.5 * (q3 - q1);
    const inside = sorted.filter((v) => v >= q1 - reach && v <= q3 + reach);
    for (const v of sorted) if (v < inside[0] || v > inside[inside.length - 1]) outliers.push([i, v]);
    return [inside[0], q1, median, q3, inside[inside.length - 1]];
  });
  return draw(
    {
      ...frame(size, y.label, []),
      xAxis: {
        type: "category",
        data: [...categories],
        axisTick: { show: false },
        axisLine: { lineStyle: { color: colours.rule } },
        axisLabel: { color: colours.ink, fontSize: 12, hideOverlap: true },
      },
      yAxis: { ...valueAxis(y, size, "y"), scale: true },
      series: [
        {
          type: "boxplot",
          silent: true,
          boxWidth: [6, 36],
          itemStyle: { color: "none", borderColor: colours.c1, borderWidth: 1.5 },
          data: boxes,
        },
        {
          type: "scatter",
          silent: true,
          symbolSize: 5,
          itemStyle: { color: "none", borderColor: colours.c1, borderWidth: 1.2 },
          data: outliers,
        },
      ],
    },
    size,
  );
}

const paint = (i: number): string => seriesColours[i % seriesColours.length];

const showable = (value: number, { log }: Axis) => Number.isFinite(value) && (!log || value > 0);

/** Text without the halo that ECharts draws for contrast with coloured marks. */
const plainText = (color: string, fontSize: number) => ({
  color,
  fontSize,
  textBorderWidth: 0,
  textBorderColor: "none",
});

/** Lines that a label takes when broken between words at `width` pixels. */
function linesOf(text: string, width: number): number {
  let [lines, used] = [1, 0];
  for (const word of text.split(" ")) {
    const space = textWidth(word);
    if (used > 0 && used + 5 + space > width) {
      lines++;
      used = 0;
    }
    used += (used > 0 ? 5 : 0) + space;
  }
  return lines;
}

/** The value axis' title stands above it, unrotated, the legend in the row below. */
function frame(
  size: Size,
  yLabel: string,
  names: readonly string[],
  { extra = 0, iconWidth = 24 } = {},
): EChartsOption {
  let [rows, used] = [names.length > 0 ? 1 : 0, 0];
  for (const name of names) {
    const width = textWidth(name) + iconWidth + 20;
    if (used > 0 && used + width > size.width - 16) {
      rows++;
      used = 0;
    }
    used += width;
  }
  const titleRow = yLabel === "" ? 0 : 20;
  return {
    grid: { left: 56, right: 20, top: titleRow + rows * 20 + 10 + extra, bottom: 44 },
    title:
      yLabel === ""
        ? undefined
        : {
            text: yLabel,
            left: 0,
            top: 0,
            padding: 0,
            textStyle: { ...plainText(colours.muted, 12), fontWeight: "normal" },
          },
    legend: {
      show: names.length > 0,
      data: [...names],
      left: 0,
      top: titleRow,
      padding: 0,
      itemWidth: iconWidth,
      itemHeight: 9,
      itemGap: 14,
      textStyle: { color: colours.ink, fontSize: 12 },
      inactiveColor: colours.muted,
    },
  };
}

function valueAxis({ label, log, min, max, format = formatNumber }: Axis, size: Size, side: "x" | "y") {
  return {
    type: log ? ("log" as const) : ("value" as const),
    min,
    max,
    name: side === "x" ? label : "",
    nameLocation: "middle" as const,
    nameGap: 26,
    nameTextStyle: { color: colours.muted, fontSize: 12 },
    splitNumber: side === "y" ? 5 : size.width > 500 ? 8 : 4,
    axisLine: { show: side === "x", lineStyle: { color: colours.rule } },
    axisTick: { show: false },
    splitLine: { show: side === "y", lineStyle: { color: colours.rule } },
    axisLabel: { color: colours.muted, fontSize: 12, hideOverlap: true, formatter: (v: number) => format(v) },
  };
}
