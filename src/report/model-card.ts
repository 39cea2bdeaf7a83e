import { stringify } from "yaml";
import { fixed, formatDuration, formatNumber, grouped } from "./format.ts";
import type { MetricResult } from "./run-report.ts";

export interface ModelCardInput {
  name: string;
  /** One paragraph: what it does, for whom. */
  summary: string;
  /** SPDX identifier of the weights' licence; left out where unknown, never guessed. */
  license?: string;
  /** ISO 639 codes. */
  language?: readonly string[];
  tags?: readonly string[];
  /** Hub name of the model that this one was adapted from. */
  baseModel?: string;
  /** Hub names of data sets. */
  datasets?: readonly string[];
  /** "audio-classification", "automatic-speech-recognition". */
  pipeline?: string;
  /** Set where speech or labels were made, not observed; a sentence says what. */
  simulated?: boolean | string;
  data?: {
    description: string;
    parts?: readonly { name: string; utterances: number; speakers?: number; seconds?: number }[];
    notes?: readonly string[];
  };
  training?: {
    description?: string;
    /** Hyper-parameters and other facts, in order. */
    facts?: readonly (readonly [name: string, value: string | number])[];
    seconds?: number;
    hardware?: string;
  };
  metrics?: readonly MetricResult[];
  intended?: readonly string[];
  /** What it should not be used for. */
  outOfScope?: readonly string[];
  limits?: readonly string[];
  /** Commands or code that use the model. */
  usage?: { language: string; code: string };
  /** Commands that train it again. */
  reproduce?: readonly string[];
  versions?: Readonly<Record<string, string>>;
}

/** A README.md in the form of a Hugging Face model card: YAML front matter, then what a user of the model must know. */
export function modelCard(input: ModelCardInput): string {
  const { data, training, metrics = [] } = input;
  const parts = [
    `---\n${stringify(frontMatter(input), { lineWidth: 0 })}---`,
    `# ${inline(input.name)}`,
    input.simulated &&
      `> **Simulated data.** ${
        typeof input.simulated === "string"
          ? inline(input.simulated)
          : "Speech or labels were made by a program; the figures say nothing about real speakers."
      }`,
    inline(input.summary),
    input.usage && `## Use\n\n${fence(input.usage.code, input.usage.language)}`,
    list("## Intended use", input.intended),
    list("## Not intended", input.outOfScope),
    data &&
      sections("## Data", [
        inline(data.description),
        data.parts && partsTable(data.parts),
        ...(data.notes ?? []).map(inline),
      ]),
    training &&
      sections("## Training", [
        training.description && inline(training.description),
        training.facts &&
          table(
            ["", ""],
            training.facts.map(([name, value]) => [name, String(value)]),
          ),
        (training.seconds !== undefined || training.hardware) &&
          `Training took ${training.seconds === undefined ? "place" : inline(formatDuration(training.seconds))}${
            training.hardware ? ` on ${inline(training.hardware)}` : ""
          }.`,
      ]),
    metrics.length > 0 && sections("## Evaluation", [metricsTable(metrics), intervalNote(metrics)]),
    list("## Limits", input.limits),
    input.reproduce && `## Making it again\n\n${fence(input.reproduce.join("\n"), "sh")}`,
    input.versions &&
      `Versions: ${Object.entries(input.versions)
        .map(([name, version]) => inline(`${name} ${version}`))
        .join(", ")}.`,
  ];
  return `${parts.filter((part) => part).join("\n\n")}\n`;
}

const hubMetrics: Readonly<Record<string, string>> = {
  "macro f1": "f1",
  "word error rate": "wer",
  "character error rate": "cer",
};

/** The hub's identifier of a metric; "digit: accuracy" is an accuracy. */
function hubMetric(name: string): string {
  const kind = name
    .slice(name.lastIndexOf(":") + 1)
    .trim()
    .toLowerCase();
  return hubMetrics[kind] ?? kind.replace(/[^a-z0-9]+/g, "_");
}

function frontMatter(input: ModelCardInput): object {
  const results = (input.metrics ?? []).map((one) => ({
    type: hubMetric(one.name),
    name: one.name,
    value: one.value,
  }));
  const fields: Record<string, unknown> = {
    license: input.license,
    language: input.language && [...input.language],
    library_name: "voxsmith",
    pipeline_tag: input.pipeline,
    base_model: input.baseModel,
    datasets: input.datasets && [...input.datasets],
    tags: ["voxsmith", "speech", ...(input.tags ?? [])],
    metrics: results.length > 0 ? [...new Set(results.map(({ type }) => type))] : undefined,
    // The hub shows results only with a task and a data set beside them.
    "model-index":
      results.length > 0
        ? [
            {
              name: input.name,
              results: [
                {
                  task: { type: input.pipeline ?? "audio-classification" },
                  dataset: {
                    name: input.datasets?.[0] ?? input.data?.description ?? "unnamed",
                    type: input.datasets?.[0] ?? "other",
                  },
                  metrics: results,
                },
              ],
            },
          ]
        : undefined,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function metricsTable(metrics: readonly MetricResult[]): string {
  const baselines = [...new Set(metrics.flatMap((one) => one.baselines?.map(({ name }) => name) ?? []))];
  const show = (one: MetricResult, value: number | undefined) =>
    value === undefined || Number.isNaN(value)
      ? ""
      : one.percent
        ? `${fixed(100 * value, 1)} %`
        : formatNumber(value);
  return table(
    ["Metric", "Part", "Value", "Interval", ...baselines, "Measured on"],
    metrics.map((one) => [
      one.name,
      one.split ?? "",
      show(one, one.value),
      [one.low, one.high]
        .map((v) => show(one, v))
        .filter(Boolean)
        .join(" to "),
      ...baselines.map((name) => show(one, one.baselines?.find((b) => b.name === name)?.value)),
      one.items ?? "",
    ]),
  );
}

function intervalNote(metrics: readonly MetricResult[]): string | undefined {
  const one = metrics.find(({ low }) => low !== undefined);
  if (!one) return undefined;
  return `Intervals: ${formatNumber(100 * (one.level ?? 0.95))} % bootstrap${one.by ? `, drawn by ${inline(one.by)}` : ""}.`;
}

const partsTable = (parts: NonNullable<NonNullable<ModelCardInput["data"]>["parts"]>) =>
  table(
    ["Part", "Recordings", "Speakers", "Duration"],
    parts.map((part) => [
      part.name,
      grouped(part.utterances),
      part.speakers === undefined ? "" : grouped(part.speakers),
      part.seconds === undefined ? "" : formatDuration(part.seconds),
    ]),
  );

const sections = (title: string, bodies: readonly (string | undefined | false)[]) =>
  [title, ...bodies.filter((body) => body)].join("\n\n");

const list = (title: string, items: readonly string[] | undefined) =>
  items && items.length > 0 && `${title}\n\n${items.map((item) => `- ${inline(item)}`).join("\n")}`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => inline(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${head.map(() => " --- ").join("|")}|`, ...rows.map(line)].join("\n");
}

/** A fence longer than any run of backticks inside. */
function fence(code: string, language: string): string {
  const ticks = "`".repeat(Math.max(3, ...[...code.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${ticks}${language}\n${code}\n${ticks}`;
}

/** Text of users as one line of Markdown: no markup, no HTML. */
const inline = (text: string) => text.replace(/\s*\n\s*/g, " ").replace(/[\\`*_[\]<>#]/g, (c) => `\\${c}`);
