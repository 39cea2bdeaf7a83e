/**
 * Shows that each clinical feature moves with its dimension of the simulator: real recordings are spoken again at five depths
 * of one dimension at a time, and the features are computed from what comes out. Writes the figure and the table of
 * docs/features.md:
 *
 *     node --import tsx scripts/clinical-movement.ts --write docs
 *
 * With `--model RUN --heard MANIFEST`, a run with a CTC head of phones and recordings that it recognises well, pronunciation is
 * measured as well, on 40 of their test part. Recordings are found through
 * VOXSMITH_DATA: sentences of speechocean762, one a speaker, and the digits two, three and five of FSDD, whose vowels are /u/, /i/ and
 * the beginning of /ai/, for the vowel space. The movement is computed here for the test, too.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { type ClinicalFeatures, clinicalFeatures } from "../src/audio/acoustics/clinical/clinical.ts";
import { pronunciation } from "../src/audio/acoustics/clinical/pronunciation.ts";
import { vowelFormants } from "../src/audio/acoustics/clinical/vowel-formants.ts";
import {
  type VowelMeasure,
  type VowelSpace,
  vowelSpace,
} from "../src/audio/acoustics/clinical/vowel-space.ts";
import { encodeWav } from "../src/audio/decode.ts";
import { readAudio } from "../src/audio/file.ts";
import { groupBy } from "../src/corpus/group.ts";
import { phoneSymbols, readManifest, type Utterance } from "../src/corpus/manifest.ts";
import { type Dimension, simulateSpeech, unchanged } from "../src/corpus/severity.ts";
import { framesPerSecond, trackPitch } from "../src/corpus/simulator/pitch-marks.ts";
import { Aligner } from "../src/use/align.ts";

export const depths = [0, 0.25, 0.5, 0.75, 1];

/** What a dimension should do to a feature: raise it or lower it. */
export interface Expectation {
  dimension: Dimension;
  feature: keyof ClinicalFeatures;
  direction: 1 | -1;
  /** What the feature is measured on. */
  on: "sentences" | "vowels" | "recognition";
}

export const expectations: readonly Expectation[] = [
  { dimension: "slowRate", feature: "articulationRate_perSec", direction: -1, on: "sentences" },
  { dimension: "slowRate", feature: "duration_s", direction: 1, on: "sentences" },
  { dimension: "longPauses", feature: "pauseShare_percent", direction: 1, on: "sentences" },
  { dimension: "longPauses", feature: "speechRate_perSec", direction: -1, on: "sentences" },
  { dimension: "monopitch", feature: "f0Range_semitones", direction: -1, on: "sentences" },
  { dimension: "monopitch", feature: "f0Stddev_Hz", direction: -1, on: "sentences" },
  { dimension: "vowelCentralization", feature: "vsa", direction: -1, on: "vowels" },
  { dimension: "vowelCentralization", feature: "fcr", direction: 1, on: "vowels" },
  { dimension: "vowelCentralization", feature: "f2Ratio", direction: -1, on: "vowels" },
  { dimension: "impreciseConsonants", feature: "pcc", direction: -1, on: "recognition" },
  { dimension: "hypernasality", feature: "pct", direction: -1, on: "recognition" },
  { dimension: "breathiness", feature: "hnr_dB", direction: -1, on: "sentences" },
  { dimension: "roughness", feature: "jitterLocal_percent", direction: 1, on: "sentences" },
  { dimension: "roughness", feature: "shimmerLocal_percent", direction: 1, on: "sentences" },
  { dimension: "tremor", feature: "level_stddev_dB", direction: 1, on: "sentences" },
  { dimension: "tremor", feature: "f0Stddev_Hz", direction: 1, on: "sentences" },
];

/** Values of one feature over the depths of one dimension. */
export interface Movement extends Expectation {
  /** One row a recording or speaker [rows][depths]. */
  values: number[][];
}

interface Sound {
  id: string;
  samples: Float32Array;
  sampleRate: number;
}

/** One sentence of medium length of each of so many speakers, women and men in turn; undefined where there is no data. */
export async function sentences(
  data: string,
  speakers: number,
): Promise<(Sound & { utterance: Utterance })[]> {
  const all = readManifest(join(data, "speechocean762/manifest.jsonl")).filter(
    ({ duration }) => duration! >= 3 && duration! <= 7,
  );
  const bySpeaker = [...groupBy(all, (u) => u.speaker!).values()].map(([first]) => first);
  const [women, men] = ["f", "m"].map((gender) => bySpeaker.filter((u) => u.labels!.gender === gender));
  const chosen = women.flatMap((u, i) => [u, men[i]]).slice(0, speakers);
  return Promise.all(
    chosen.map(async (utterance) => ({ id: utterance.id, utterance, ...(await readAudio(utterance.audio)) })),
  );
}

/** Movements of the features that a recording has by itself. */
export function sentenceMovements(sounds: readonly Sound[], at: readonly number[] = depths): Movement[] {
  const wanted = expectations.filter(({ on }) => on === "sentences");
  const tables = new Map<Dimension, ClinicalFeatures[][]>();
  for (const dimension of new Set(wanted.map((e) => e.dimension))) {
    const rows = sounds.map(({ id, samples, sampleRate }) =>
      at.map((depth) => clinicalFeatures(changed(samples, sampleRate, dimension, depth, id), sampleRate)),
    );
    tables.set(dimension, rows);
  }
  return wanted.map((expected) => ({
    ...expected,
    values: tables.get(expected.dimension)!.map((row) => row.map((features) => features[expected.feature])),
  }));
}

const changed = (samples: Float32Array, rate: number, dimension: Dimension, depth: number, seed: string) =>
  depth === 0 ? samples : simulateSpeech(samples, rate, { ...unchanged, [dimension]: depth }, seed).samples;

/** Digits whose vowel is a corner of the vowel space, and where in the voiced stretch it is. */
const corners: Record<string, { label: string; from: number; to: number }> = {
  "2": { label: "uw", from: 0.2, to: 1 },
  "3": { label: "iy", from: 0.5, to: 1 },
  "5": { label: "aa", from: 0.05, to: 0.45 },
};

/** So many of each corner's digits, by speaker. */
export async function cornerDigits(
  data: string,
  each: number,
): Promise<Map<string, (Sound & { digit: string })[]>> {
  const all = readManifest(join(data, "fsdd/manifest.jsonl"));
  const out = new Map<string, (Sound & { digit: string })[]>();
  for (const [speaker, own] of groupBy(all, (u) => u.speaker!)) {
    const chosen = Object.keys(corners).flatMap((digit) =>
      own
        .filter((u) => String(u.labels!.digit) === digit)
        .slice(0, each)
        .map((u) => ({ u, digit })),
    );
    const sounds = chosen.map(async ({ u, digit }) => ({ id: u.id, digit, ...(await readAudio(u.audio)) }));
    out.set(speaker!, await Promise.all(sounds));
  }
  return out;
}

/** Movements of the vowel space, one row a speaker. */
export function vowelMovements(
  speakers: ReadonlyMap<string, readonly (Sound & { digit: string })[]>,
  at: readonly number[] = depths,
): Movement[] {
  const spaces = [...speakers.values()].map((sounds) =>
    at.map((depth): VowelSpace => {
      const vowels = sounds.flatMap(({ id, digit, samples, sampleRate }): VowelMeasure[] => {
        const { label, from, to } = corners[digit];
        const [start, end] = longestVoiced(samples, sampleRate);
        const phones = [
          { label, start: start + from * (end - start), end: start + to * (end - start) },
          { label: "sil", start: end, end: end + 0.01 },
        ];
        const spoken = changed(samples, sampleRate, "vowelCentralization", depth, id);
        // FSDD's speakers are men, recorded at 8 kHz: four formants below 4 kHz, a fifth above.
        return vowelFormants(spoken, sampleRate, phones, { maxHz: 5000 });
      });
      return vowelSpace(vowels);
    }),
  );
  return expectations
    .filter(({ on }) => on === "vowels")
    .map((expected) => ({
      ...expected,
      values: spaces.map((row) => row.map((space) => space[expected.feature as keyof VowelSpace])),
    }));
}

/** Seconds of the longest voiced stretch. */
function longestVoiced(samples: Float32Array, sampleRate: number): [start: number, end: number] {
  const f0 = trackPitch(samples, sampleRate);
  let best: [number, number] = [0, 0];
  for (let t = 0; t < f0.length; ) {
    let end = t;
    while (end < f0.length && f0[end] > 0) end++;
    if (end - t > best[1] - best[0]) best = [t, end];
    t = end + 1;
  }
  return [best[0] / framesPerSecond, best[1] / framesPerSecond];
}

/** Recordings from the test part of a manifest, evenly over it. */
async function every(manifest: string, count = 40): Promise<(Sound & { utterance: Utterance })[]> {
  const test = readManifest(manifest).filter(({ split }) => split === "test");
  const chosen = Array.from({ length: count }, (_, i) => test[Math.floor((i * test.length) / count)]);
  return Promise.all(
    chosen.map(async (utterance) => ({ id: utterance.id, utterance, ...(await readAudio(utterance.audio)) })),
  );
}

/** Movements of percent correct phones, pooled over all recordings (one row), by what a run's model hears. */
async function recognitionMovements(
  sounds: readonly (Sound & { utterance: Utterance })[],
  run: string,
): Promise<Movement[]> {
  const aligner = await Aligner.open(run);
  const scratch = join(process.env["TMPDIR"] ?? "/tmp", `voxsmith-movement-${process.pid}.wav`);
  const out: Movement[] = [];
  for (const expected of expectations.filter(({ on }) => on === "recognition")) {
    const values: number[] = [];
    for (const depth of depths) {
      const heard: string[] = [];
      const wanted: string[] = [];
      for (const { id, samples, sampleRate, utterance } of sounds) {
        const spoken = changed(samples, sampleRate, expected.dimension, depth, id);
        writeFileSync(scratch, encodeWav(spoken, sampleRate));
        heard.push(...(await aligner.recognise({ ...utterance, audio: scratch })));
        wanted.push(...phoneSymbols(utterance)!);
      }
      values.push(pronunciation(heard, wanted)[expected.feature as "pcc" | "pct"]);
    }
    out.push({ ...expected, values: [values] });
  }
  await aligner.dispose();
  return out;
}

const median = (x: readonly number[]) => {
  const sorted = x.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted.length % 2 === 1
    ? sorted[sorted.length >> 1]
    : (sorted[sorted.length / 2 - 1] + sorted[sorted.length / 2]) / 2;
};

/** Medians over recordings, one a depth. */
export const medians = ({ values }: Movement): number[] =>
  values[0].map((_, d) => median(values.map((row) => row[d])));

/** Share of recordings whose feature at the greatest depth lies on the expected side of where it was, 0 to 1. */
export const shareMoved = ({ values, direction }: Movement): number =>
  values.filter((row) => direction * (row[row.length - 1] - row[0]) > 0).length / values.length;

// The figure: a panel a movement, a thin line a recording, a thick one for the medians.

const panel = { width: 176, height: 132, left: 38, top: 34, gap: 14, columns: 4 };

export function figure(movements: readonly Movement[]): string {
  const rows = Math.ceil(movements.length / panel.columns);
  const width = panel.columns * (panel.width + panel.gap) + panel.gap;
  const height = rows * (panel.height + panel.gap) + panel.gap;
  const drawn = movements.map((movement, i) => {
    const x = panel.gap + (i % panel.columns) * (panel.width + panel.gap);
    const y = panel.gap + Math.floor(i / panel.columns) * (panel.height + panel.gap);
    return `<g transform="translate(${x} ${y})">${drawPanel(movement)}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui,sans-serif" font-size="10"><title>Clinical features over the depth of simulated dimensions</title><rect width="${width}" height="${height}" fill="#fefefe"/>
${drawn.join("\n")}
</svg>
`;
}

function drawPanel(movement: Movement): string {
  const { values, dimension, feature } = movement;
  const all = values.flat().filter(Number.isFinite);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const [w, h] = [panel.width - panel.left - 6, panel.height - panel.top - 16];
  const x = (d: number) => (panel.left + depths[d] * w).toFixed(1);
  const y = (v: number) => (panel.top + h - ((v - low) / (high - low || 1)) * h).toFixed(1);
  const line = (row: readonly number[], style: string) =>
    `<polyline fill="none" ${style} points="${row
      .map((v, d) => (Number.isFinite(v) ? `${x(d)},${y(v)}` : ""))
      .join(" ")
      .trim()}"/>`;
  const text = (tx: number | string, ty: number | string, said: string, style = "") =>
    `<text x="${tx}" y="${ty}" fill="#5c6773" ${style}>${said}</text>`;
  return [
    text(0, 10, dimension, 'font-weight="600"'),
    text(0, 23, feature),
    text(panel.left - 4, panel.top + 8, short(high), 'text-anchor="end" font-size="9"'),
    text(panel.left - 4, panel.top + h, short(low), 'text-anchor="end" font-size="9"'),
    text(panel.left, panel.height - 4, "0", 'text-anchor="middle" font-size="9"'),
    text(panel.left + w, panel.height - 4, "1", 'text-anchor="middle" font-size="9"'),
    `<path d="M${panel.left} ${panel.top}v${h}h${w}" fill="none" stroke="#dde2e7"/>`,
    ...values.map((row) => line(row, 'stroke="#0067a5" stroke-width="0.7" opacity="0.35"')),
    line(medians(movement), 'stroke="#c8530a" stroke-width="2"'),
  ].join("");
}

const short = (x: number) =>
  Math.abs(x) >= 1e4 ? `${Math.round(x / 1000)} k` : Number(x.toPrecision(3)).toString();

export function table(movements: readonly Movement[]): string {
  const cells = movements.map((movement) => {
    const m = medians(movement).map(short);
    const { dimension, feature, direction, values } = movement;
    const moved =
      values.length > 1 ? `${Math.round(100 * shareMoved(movement))} % of ${values.length}` : "pooled";
    return `| ${dimension} | \`${feature}\` | ${direction > 0 ? "up" : "down"} | ${m.join(" | ")} | ${moved} |`;
  });
  return [
    `| dimension | feature | should go | ${depths.join(" | ")} | went there |`,
    `|---|---|---|${depths.map(() => "---|").join("")}---|`,
    ...cells,
  ].join("\n");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      write: { type: "string" },
      model: { type: "string" },
      heard: { type: "string" },
      speakers: { type: "string", default: "24" },
    },
  });
  const data = process.env["VOXSMITH_DATA"] ?? resolve(import.meta.dirname, "../../shared/data");
  const spoken = await sentences(data, Number(values.speakers));
  const movements = [
    ...sentenceMovements(spoken),
    ...vowelMovements(await cornerDigits(data, 10)),
    ...(values.model === undefined
      ? []
      : await recognitionMovements(await every(values.heard!), values.model)),
  ];
  const order = (m: Movement) =>
    expectations.findIndex((e) => e.dimension === m.dimension && e.feature === m.feature);
  movements.sort((a, b) => order(a) - order(b));
  const written = table(movements);
  if (values.write === undefined) {
    console.log(written);
    return;
  }
  writeFileSync(join(values.write, "clinical-movement.svg"), figure(movements));
  const page = join(values.write, "features.md");
  const marks = ["<!-- begin movement -->", "<!-- end movement -->"];
  if (!existsSync(page) || !readFileSync(page, "utf8").includes(marks[0]))
    throw new Error(`${page} has no place for the table (${marks[0]})`);
  const text = readFileSync(page, "utf8");
  const [before, after] = [text.slice(0, text.indexOf(marks[0])), text.slice(text.indexOf(marks[1]))];
  writeFileSync(page, `${before}${marks[0]}\n${written}\n${after}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
