import type { ConfusionMatrix, Label } from "../metrics/classification.ts";
import { align, countEdits } from "../metrics/error-rate.ts";
import { barChart, type HeatMap, heatMap, heatMapSize, type LineSeries, lineChart } from "./charts.ts";
import { fixed, formatDuration, formatNumber, grouped } from "./format.ts";
import { type Content, type Html, html } from "./html.ts";
import { page, type Section } from "./page.ts";
import { type Recording, recordingFigure, type TimedSymbol } from "./recording.ts";
import { smooth, thin } from "./series.ts";
import { figure, half, narrow, wide } from "./svg.ts";
import { alignmentKey, alignmentTable, table } from "./tables.ts";

/** One curve of the log: an objective's loss (or `total`) on one part of the corpus. */
export interface Curve {
  /** "total", or the objective's name in the recipe. */
  objective: string;
  split: "train" | "validation";
  points: readonly (readonly [step: number, value: number])[];
}

export interface MetricResult {
  /** "accuracy", "phoneme error rate", ... */
  name: string;
  /** A share (0.82) where `percent` is set, else the plain number. */
  value: number;
  percent?: boolean;
  better?: "higher" | "lower";
  /** Interval and how it was made: `by` speaker or utterance, `level` default 0.95. */
  low?: number;
  high?: number;
  level?: number;
  by?: string;
  /** Which part of the corpus. */
  split?: string;
  /** What it was measured on: "120 utterances", "1,431 phonemes". */
  items?: string;
  /** The same metric of simpler systems: chance, a linear baseline. */
  baselines?: readonly { name: string; value: number }[];
}

export interface Transcript {
  id: string;
  speaker?: string;
  expected: readonly string[];
  heard: readonly string[];
  note?: string;
}

export interface GradedRecording extends Recording {
  id: string;
  speaker?: string;
  /** Class names with probabilities that sum to 1. */
  probabilities?: readonly { label: string; value: number }[];
  truth?: string;
  predicted?: string;
  /** Symbols that should be heard, where the text is known. */
  expected?: readonly string[];
}

export interface RunReportInput {
  title: string;
  summary?: string;
  /** Set where speech or labels are made, not observed; a sentence says what. Always shown first. */
  simulated?: boolean | string;
  /** Other remarks that belong on top. */
  notices?: readonly string[];
  upstream?: string;
  corpus?: string;
  task?: string;
  seed?: number | string;
  /** ISO date or any text. */
  date?: string;
  /** Wall time of the run in seconds. */
  seconds?: number;
  /** voxsmith, onnxruntime, node, ... */
  versions?: Readonly<Record<string, string>>;
  /** Further facts for the head of the page. */
  facts?: readonly (readonly [label: string, value: string])[];
  metrics?: readonly MetricResult[];
  confusion?: readonly (ConfusionMatrix<Label> & { title?: string })[];
  graded?: readonly GradedRecording[];
  /** "phonemes", "characters": what transcripts are made of. */
  symbols?: string;
  transcripts?: readonly Transcript[];
  curves?: readonly Curve[];
  /** Learning rate and objective weights against the step. */
  schedules?: readonly {
    name: string;
    points: readonly (readonly [step: number, value: number])[];
    log?: boolean;
  }[];
  /** Vertical lines in the curves: best step, unfreezing, a change of the loss. */
  marks?: readonly { step: number; label: string }[];
  parts?: readonly { name: string; utterances: number; speakers?: number; seconds?: number }[];
  /** Notes on data and splits. */
  dataNotes?: readonly string[];
  /** Commands that make this run again. */
  reproduce?: readonly string[];
  /** The resolved recipe, as text. */
  recipe?: string;
  environment?: Readonly<Record<string, string>>;
  /** What these results do not show. */
  limits?: readonly string[];
}

/** The page of a training run; every part that the input leaves out is left out of the page. */
export async function runReport(input: RunReportInput): Promise<string> {
  const sections: (Section | undefined)[] = [
    resultsSection(input),
    await confusionSection(input),
    await gradedSection(input),
    transcriptSection(input),
    await learningSection(input),
    dataSection(input),
    reproduceSection(input),
  ];
  const { simulated } = input;
  const notices: Content[] = [...(input.notices ?? [])];
  if (simulated)
    notices.unshift(
      html`<strong>Simulated data.</strong> ${
        typeof simulated === "string"
          ? simulated
          : "Speech or labels in this run were made by a program; the figures say nothing about real speakers."
      }`,
    );
  return page({
    title: input.title,
    kicker: "voxsmith · training run",
    summary: input.summary,
    notices,
    facts: facts(input),
    highlight: tiles(input.metrics ?? []),
    sections: sections.filter((section) => section !== undefined),
    footer: html`Made by voxsmith${input.versions?.voxsmith === undefined ? "" : ` ${input.versions.voxsmith}`}. This file is complete in itself: it loads nothing from anywhere.`,
  });
}

function facts(input: RunReportInput): [string, Content][] {
  const known: [string, Content][] = [
    ["Task", input.task],
    ["Upstream", input.upstream],
    ["Corpus", input.corpus],
    ["Seed", input.seed],
    ["Date", input.date],
    ["Wall time", input.seconds === undefined ? undefined : formatDuration(input.seconds)],
    ...(input.facts ?? []).map(([label, value]): [string, Content] => [label, value]),
  ];
  return known.filter(([, value]) => value !== undefined);
}

const show = ({ percent }: MetricResult, value: number) =>
  percent ? fixed(100 * value, 1) : formatNumber(value);
const unit = ({ percent }: MetricResult) => (percent ? "\u00a0%" : "");
const interval = (one: MetricResult) =>
  one.low === undefined || one.high === undefined || Number.isNaN(one.low)
    ? undefined
    : `${show(one, one.low)} to ${show(one, one.high)}${unit(one)}`;

/** The first metrics, large. */
function tiles(metrics: readonly MetricResult[]): Html | undefined {
  if (metrics.length === 0) return undefined;
  return html`<div class="tiles">${metrics.slice(0, 4).map((one) => {
    const base = one.baselines?.[0];
    return html`<div class="tile"><div class="name">${capital(one.name)}</div><div class="value">${show(one, one.value)}<small>${unit(one)}</small></div>
<div class="range">${interval(one)}${base ? html`${interval(one) ? html`<br>` : ""}${base.name} ${show(one, base.value)}${unit(one)}` : ""}</div></div>
`;
  })}</div>`;
}

const arrows = { higher: "↑", lower: "↓" };

function resultsSection({ metrics = [], limits = [] }: RunReportInput): Section | undefined {
  if (metrics.length === 0) return undefined;
  const baselines = [...new Set(metrics.flatMap((one) => one.baselines?.map(({ name }) => name) ?? []))];
  const has = (key: "split" | "items" | "low") => metrics.some((one) => one[key] !== undefined);
  const columns = [
    { label: "Metric" },
    ...(has("split") ? [{ label: "Part" }] : []),
    { label: "Value", number: true },
    ...(has("low") ? [{ label: "Interval", number: true }] : []),
    ...baselines.map((label) => ({ label: capital(label), number: true })),
    ...(has("items") ? [{ label: "Measured on", number: true }] : []),
  ];
  const rows = metrics.map((one): Content[] => [
    html`${capital(one.name)}${one.better ? html`\u00a0<span class="note">${arrows[one.better]}</span>` : ""}`,
    ...(has("split") ? [one.split] : []),
    html`<strong>${show(one, one.value)}${unit(one)}</strong>`,
    ...(has("low") ? [interval(one)] : []),
    ...baselines.map((name) => {
      const base = one.baselines?.find((b) => b.name === name);
      return base === undefined ? "" : `${show(one, base.value)}${unit(one)}`;
    }),
    ...(has("items") ? [one.items] : []),
  ]);
  const bounded = metrics.find((one) => one.low !== undefined);
  const level = formatNumber(100 * (bounded?.level ?? 0.95));
  return {
    title: "Results",
    body: html`${table({ columns, rows })}
<p class="note">${metrics.some((one) => one.better) ? "↑ higher is better, ↓ lower is better. " : ""}${
      bounded
        ? html`Intervals: ${level}\u00a0% bootstrap${bounded.by ? html`, drawn by ${bounded.by}` : ""}.`
        : ""
    }</p>
${limits.map((text) => html`<p>${text}</p>`)}`,
  };
}

async function confusionSection({ confusion = [] }: RunReportInput): Promise<Section | undefined> {
  if (confusion.length === 0) return undefined;
  const figures: Html[] = [];
  for (const { labels, counts, title } of confusion) {
    const names = labels.map(String);
    const shade = counts.map((row) => {
      const total = row.reduce((a, b) => a + b, 0);
      return row.map((n) => (total === 0 ? 0 : n / total));
    });
    const map: HeatMap = {
      rows: names,
      columns: names,
      values: counts,
      shade,
      rowLabel: "true",
      columnLabel: "called",
      format: grouped,
    };
    figures.push(
      await figure((size) => heatMap(map, size), {
        label: `Confusion matrix${title ? ` of ${title}` : ""}: true classes in rows, called classes in columns`,
        caption: title,
        sizes: { wide: heatMapSize(map, wide.width, 52), narrow: heatMapSize(map, narrow.width, 44) },
      }),
    );
  }
  return {
    title: "Confusions",
    lead: "Each row is a true class; numbers count recordings, and shade is their share of the row.",
    body: figures,
  };
}

async function gradedSection({
  graded = [],
  symbols = "symbols",
}: RunReportInput): Promise<Section | undefined> {
  if (graded.length === 0) return undefined;
  const bodies: Html[] = [];
  for (const one of graded) {
    const heard = one.expected ? marked(one.expected, one.heard ?? []) : one.heard;
    const verdict = [
      one.speaker === undefined ? undefined : html`speaker <b>${one.speaker}</b>`,
      one.predicted === undefined ? undefined : html`called <b>${one.predicted}</b>`,
      one.truth === undefined ? undefined : html`in truth <b>${one.truth}</b>`,
      html`${fixed(one.samples.length / one.sampleRate, 1)} s`,
    ].filter((part) => part !== undefined);
    bodies.push(html`<p class="utterance"><b>${one.id}</b>${verdict.map((part) => html` · ${part}`)}</p>
${await figure((size) => recordingFigure({ ...one, heard }, size), {
  label: `Waveform and spectrogram of ${one.id} with the ${symbols} heard`,
  caption: heard
    ? `Waveform, spectrogram and the ${symbols} heard, each where it was heard; paler means less certain.`
    : "Waveform and spectrogram.",
})}${one.probabilities ? await probabilityFigure(one.probabilities, one.predicted) : undefined}
${
  one.expected
    ? html`<h3>Expected and heard</h3>${alignmentTable(
        one.expected,
        (one.heard ?? []).map(({ symbol }) => symbol),
      )}${alignmentKey}`
    : undefined
}`);
  }
  return {
    title: graded.length === 1 ? "A recording, graded" : "Recordings, graded",
    lead: "Grading is this model's opinion of one recording, not a finding.",
    body: bodies,
  };
}

/** Heard symbols with what the alignment says of each. */
function marked(expected: readonly string[], heard: readonly TimedSymbol[]): TimedSymbol[] {
  const columns = align(
    expected,
    heard.map(({ symbol }) => symbol),
  ).filter(({ op }) => op !== "deletion");
  return heard.map((symbol, i) => ({ ...symbol, op: columns[i].op }));
}

function probabilityFigure(
  probabilities: readonly { label: string; value: number }[],
  predicted: string | undefined,
): Promise<Html> {
  const categories = probabilities.map(({ label }) => label);
  const top = probabilities.reduce((best, { value }, i) => (value > probabilities[best].value ? i : best), 0);
  const called = predicted === undefined ? top : categories.indexOf(predicted);
  const height = 46 + 26 * categories.length;
  return figure(
    (size) =>
      barChart(
        {
          categories,
          series: [{ name: "probability", values: probabilities.map(({ value }) => 100 * value) }],
          value: {
            label: "probability",
            min: 0,
            max: 100,
            format: (v) => `${fixed(v, v > 0 && v < 1 ? 1 : 0)}\u00a0%`,
          },
          horizontal: true,
          highlight: called < 0 ? top : called,
        },
        size,
      ),
    {
      label: `Class probabilities: ${probabilities.map(({ label, value }) => `${label} ${fixed(100 * value, 0)} %`).join(", ")}`,
      sizes: { wide: { width: 760, height }, narrow: { width: narrow.width, height } },
    },
  );
}

/** How many utterances are shown at once; the others unfold. */
const shown = 8;

function transcriptSection({ transcripts = [], symbols = "symbols" }: RunReportInput): Section | undefined {
  if (transcripts.length === 0) return undefined;
  const items = transcripts.map(({ id, speaker, expected, heard, note }) => {
    const { errors } = countEdits(expected, heard);
    const facts = [
      speaker,
      errors === 0
        ? "no errors"
        : `${errors} ${errors === 1 ? "error" : "errors"} in ${expected.length} ${symbols}`,
      note,
    ].filter((fact) => fact !== undefined);
    return html`<div><p class="utterance"><b>${id}</b>${facts.map((fact) => ` · ${fact}`)}</p>
${alignmentTable(expected, heard)}</div>`;
  });
  const rest = items.slice(shown);
  return {
    title: "What it heard",
    lead: `Expected ${symbols} above, heard ones below, aligned with the fewest edits.`,
    body: html`<div class="utterances">${items.slice(0, shown)}</div>${alignmentKey}${
      rest.length > 0
        ? html`<details><summary>${rest.length} more</summary><div class="utterances">${rest}</div></details>`
        : undefined
    }`,
  };
}

async function learningSection(input: RunReportInput): Promise<Section | undefined> {
  const { curves = [], schedules = [] } = input;
  if (curves.length === 0 && schedules.length === 0) return undefined;
  const marks = (input.marks ?? []).map(({ step, label }) => ({ x: step, label }));
  const objectives = [...new Set(curves.map(({ objective }) => objective))];
  const x = { label: "step", format: grouped, min: 0 };
  const small = { wide: half, narrow };
  const lossFigure = (objective: string, sizes?: typeof small) =>
    figure(
      (size) =>
        lineChart(
          { x, y: { label: `${objective} loss` }, series: lossSeries(curves, objective, size.width), marks },
          size,
        ),
      { label: `${objective} loss against the training step`, sizes },
    );
  const figures: Html[] = [];
  const main = objectives.includes("total") ? "total" : objectives[0];
  if (main !== undefined) figures.push(await lossFigure(main));
  const others: Html[] = [];
  for (const objective of objectives) if (objective !== main) others.push(await lossFigure(objective, small));
  for (const { name, points, log } of schedules)
    others.push(
      await figure(
        (size) =>
          lineChart(
            {
              x,
              y: { label: name, log, min: log ? undefined : 0 },
              series: [{ name: "", points: thin(points, size.width) }],
            },
            size,
          ),
        { label: `${name} against the training step`, sizes: small },
      ),
    );
  if (others.length > 0) figures.push(html`<div class="half">${others}</div>`);
  const smoothed = curves.some(({ points }) => smooth(points) !== points);
  return {
    title: "Learning",
    lead: html`Loss on training batches (solid) and on validation recordings (dashed)${smoothed ? "; training losses are averaged over neighbouring steps, the raw ones stand pale behind" : ""}.`,
    body: figures,
  };
}

function lossSeries(curves: readonly Curve[], objective: string, width: number): LineSeries[] {
  return curves
    .filter((curve) => curve.objective === objective)
    .flatMap(({ split, points }): LineSeries[] => {
      const validation = split === "validation";
      const line = {
        name: split,
        dashed: validation,
        colour: validation ? 1 : 0,
        markers: validation && points.length <= 30,
      };
      const curve = validation ? points : smooth(points);
      const trend = { ...line, points: thin(curve, width) };
      return curve === points
        ? [trend]
        : [{ ...trend, faint: true, dashed: false, points: thin(points, width) }, trend];
    });
}

function dataSection({ parts = [], dataNotes = [], corpus }: RunReportInput): Section | undefined {
  if (parts.length === 0 && dataNotes.length === 0) return undefined;
  const speakers = parts.some((part) => part.speakers !== undefined);
  const seconds = parts.some((part) => part.seconds !== undefined);
  return {
    title: "Data",
    lead: corpus,
    body: html`${
      parts.length === 0
        ? undefined
        : table({
            columns: [
              { label: "Part" },
              { label: "Recordings", number: true },
              ...(speakers ? [{ label: "Speakers", number: true }] : []),
              ...(seconds ? [{ label: "Duration", number: true }] : []),
            ],
            rows: parts.map((part) => [
              capital(part.name),
              grouped(part.utterances),
              ...(speakers ? [part.speakers === undefined ? "" : grouped(part.speakers)] : []),
              ...(seconds ? [part.seconds === undefined ? "" : formatDuration(part.seconds)] : []),
            ]),
          })
    }${dataNotes.map((note) => html`<p>${note}</p>`)}`,
  };
}

function reproduceSection({
  reproduce = [],
  recipe,
  environment,
  versions,
}: RunReportInput): Section | undefined {
  const rows = Object.entries({ ...versions, ...environment });
  if (reproduce.length === 0 && recipe === undefined && rows.length === 0) return undefined;
  return {
    title: "Making it again",
    body: html`${reproduce.length === 0 ? undefined : html`<pre>${reproduce.join("\n")}</pre>`}
${rows.length === 0 ? undefined : table({ columns: [{ label: "Environment" }, { label: "" }], rows, compact: true })}
${recipe === undefined ? undefined : html`<details><summary>The whole recipe</summary><pre>${recipe}</pre></details>`}`,
  };
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
