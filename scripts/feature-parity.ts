/**
 * Compares the acoustic features with openSMILE's outputs (../shared/reference: recordings, descriptors by frame, functionals)
 * and writes the tables of docs/features.md:
 *
 *     node --import tsx scripts/feature-parity.ts --write docs/features.md
 *
 * Without --write the tables go to standard output. The comparisons serve the tests too.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type DescriptorTable, egemaps } from "../src/audio/acoustics/egemaps.ts";
import { pretextLabels } from "../src/audio/acoustics/pretext.ts";
import { readAudio } from "../src/audio/file.ts";
import { pearson, spearman } from "../src/metrics/correlation.ts";

/** Agreement of one feature over all frames or all recordings. */
export interface Agreement {
  name: string;
  /** Pearson's r over voiced frames for descriptors, Spearman's rho over recordings for functionals. */
  correlation: number;
  /** Median and 95th percentile of |ours - theirs| / |theirs|. */
  medianRelative: number;
  p95Relative: number;
  values: number;
}

export interface Parity {
  recordings: number;
  descriptors: Agreement[];
  functionals: Agreement[];
  /** Frames whose voicing differs, of all frames. */
  voicingErrors: [wrong: number, of: number];
}

interface Csv {
  names: string[];
  rows: { id: string; values: number[] }[];
}

/** openSMILE's CSV: `;` between columns, an optional quoted name and the frame's time first. */
function readCsv(path: string): Csv {
  const [head, ...lines] = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(";"));
  const skip = head.indexOf("frameTime") + 1;
  return {
    names: head.slice(skip),
    rows: lines.map((cells) => ({
      id: cells[0].replace(/^'|'$/g, ""),
      values: cells.slice(skip).map(Number),
    })),
  };
}

class Pairs {
  readonly ours: number[] = [];
  readonly theirs: number[] = [];

  agreement(name: string, correlate: (x: number[], y: number[]) => number): Agreement {
    const errors = this.theirs.map((value, i) => relativeError(this.ours[i], value)).sort((a, b) => a - b);
    return {
      name,
      correlation: correlate(this.ours, this.theirs),
      medianRelative: errors[errors.length >> 1],
      p95Relative: errors[Math.floor(0.95 * (errors.length - 1))],
      values: errors.length,
    };
  }
}

function relativeError(ours: number, theirs: number): number {
  return ours === theirs ? 0 : Math.abs(ours - theirs) / Math.max(Math.abs(theirs), 1e-9);
}

/** eGeMAPS v02 descriptors and functionals of the recordings in `folder` against the values beside them. */
export async function compareEgemaps(folder: string): Promise<Parity> {
  const functionals = readCsv(join(folder, "eGeMAPSv02_functionals.csv"));
  const byFunctional = new Map(functionals.names.map((name) => [name, new Pairs()]));
  const byDescriptor = new Map<string, Pairs>();
  const voicing: [number, number] = [0, 0];
  for (const { id, values } of functionals.rows) {
    const { samples, sampleRate } = await readAudio(join(folder, "audio", `${id}.wav`));
    const result = egemaps(samples, sampleRate);
    functionals.names.forEach((name, i) => {
      const pairs = byFunctional.get(name)!;
      pairs.ours.push(result.functionals[name]);
      pairs.theirs.push(values[i]);
    });
    collect(
      result.lld,
      readCsv(join(folder, "lld", `${id}.csv`)),
      "F0semitoneFrom27.5Hz_sma3nz",
      byDescriptor,
      voicing,
    );
  }
  return {
    recordings: functionals.rows.length,
    descriptors: [...byDescriptor].map(([name, pairs]) => pairs.agreement(name, pearson)),
    functionals: [...byFunctional].map(([name, pairs]) => pairs.agreement(name, spearman)),
    voicingErrors: voicing,
  };
}

/** The pretext labels against ComParE 2016 descriptors in `folder`/lld; recordings are those of `audioFolder`. */
export async function comparePretext(folder: string, audioFolder: string): Promise<Parity> {
  const byDescriptor = new Map<string, Pairs>();
  const voicing: [number, number] = [0, 0];
  const files = readdirSync(join(folder, "lld"));
  for (const file of files) {
    const { samples, sampleRate } = await readAudio(join(audioFolder, file.replace(/csv$/, "wav")));
    const labels = pretextLabels(samples, sampleRate);
    collect(labels, readCsv(join(folder, "lld", file)), "F0final_sma", byDescriptor, voicing);
  }
  return {
    recordings: files.length,
    descriptors: [...byDescriptor].map(([name, pairs]) => pairs.agreement(name, pearson)),
    functionals: [],
    voicingErrors: voicing,
  };
}

/** Adds the frames of one recording that openSMILE calls voiced. */
function collect(
  table: DescriptorTable,
  reference: Csv,
  voicedBy: string,
  into: Map<string, Pairs>,
  voicing: [number, number],
): void {
  if (reference.rows.length !== table.frames.length) {
    throw new Error(`${table.frames.length} frames where openSMILE has ${reference.rows.length}`);
  }
  const voiceOurs = table.names.indexOf(voicedBy);
  const voiceTheirs = reference.names.indexOf(voicedBy);
  const columns = reference.names.map((name) => table.names.indexOf(name));
  reference.rows.forEach(({ values }, t) => {
    const frame = table.frames[t];
    const voiced = values[voiceTheirs] > 0;
    voicing[1]++;
    if (voiced !== frame[voiceOurs] > 0) voicing[0]++;
    if (!voiced) return;
    reference.names.forEach((name, i) => {
      const pairs = into.get(name) ?? new Pairs();
      into.set(name, pairs);
      pairs.ours.push(frame[columns[i]]);
      pairs.theirs.push(values[i]);
    });
  });
}

/** A Markdown table; the correlation is cut off, not rounded, so that 1 means 1. */
function table(rows: Agreement[], correlation: string): string {
  const cut = (x: number) => (Math.floor(x * 1e5) / 1e5).toFixed(5);
  const percent = (x: number) => (x < 5e-6 ? "< 0.001 %" : `${(100 * x).toFixed(3)} %`);
  return [
    `| feature | ${correlation} | median relative difference | 95th percentile |`,
    "|---|---|---|---|",
    ...rows.map(
      (r) =>
        `| \`${r.name}\` | ${cut(r.correlation)} | ${percent(r.medianRelative)} | ${percent(r.p95Relative)} |`,
    ),
  ].join("\n");
}

async function main(): Promise<void> {
  const root = process.env["VOXSMITH_REFERENCE"] ?? resolve(import.meta.dirname, "../../shared/reference");
  if (!existsSync(join(root, "egemaps")))
    throw new Error(`no reference values in ${root}; set VOXSMITH_REFERENCE`);
  const published = await compareEgemaps(join(root, "egemaps"));
  const labels = await comparePretext(join(root, "compare2016"), join(root, "egemaps", "audio"));
  const [wrong, frames] = published.voicingErrors;
  const sections: Record<string, string> = {
    "egemaps-descriptors": [
      `${published.recordings} recordings, ${published.descriptors[0].values} voiced frames; voicing differs in ${wrong} of ${frames} frames.`,
      table(published.descriptors, "Pearson r"),
    ].join("\n\n"),
    "egemaps-functionals": table(published.functionals, "Spearman rho"),
    pretext: table(labels.descriptors, "Pearson r"),
  };
  const at = process.argv.indexOf("--write");
  const path = at < 0 ? undefined : process.argv[at + 1];
  if (!path) {
    for (const [name, text] of Object.entries(sections)) console.log(`## ${name}\n\n${text}\n`);
    return;
  }
  let page = readFileSync(path, "utf8");
  for (const [name, text] of Object.entries(sections)) {
    const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
    const [from, to] = [page.indexOf(begin), page.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`${path} has no place for ${name}`);
    page = `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
  }
  writeFileSync(path, page);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
