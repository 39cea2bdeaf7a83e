import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Command } from "commander";
import { type CorpusFault, corpusCheck } from "../corpus/check.ts";
import { downloadFolder, fetchCorpus } from "../corpus/fetch.ts";
import { readAlignment } from "../corpus/formats/text-grid.ts";
import { readManifest, type Utterance, writeManifest } from "../corpus/manifest.ts";
import { readers } from "../corpus/readers/index.ts";
import { filesBelow, stem } from "../corpus/readers/reader.ts";
import { type CorpusStats, corpusStats } from "../corpus/stats.ts";
import { frequentWords, sampleHours } from "../corpus/subsets.ts";
import { synthesizeCorpus } from "../corpus/synthetic-corpus.ts";
import { UserError } from "../errors.ts";
import { progress } from "../train/progress.ts";
import { newCommand, printResult, whole } from "./command.ts";
import { makeFolder } from "./corpus-folder.ts";
import { finite } from "./corpus-options.ts";
import { timed } from "./corpus-read.ts";

interface Json {
  json?: boolean;
}

/** What a corpus has. */
export function statsCommand(): Command {
  return newCommand("stats", "Says what a manifest has: hours, speakers, labels, phones, splits.", [
    "corpus stats manifest.jsonl",
  ])
    .summary("say what a manifest has")
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .action(async (path: string, options: Json) => {
      const stats = corpusStats(await timed(readManifest(path)));
      printResult(options, stats, statsText(stats));
    });
}

function statsText(stats: CorpusStats): string {
  const { hours, seconds, splits, labels, phones } = stats;
  const row = (name: string, value: string | number) => `${name.padEnd(12)} ${value}`;
  const of = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([value, count]) => `${value} ${count}`)
      .join(", ");
  return [
    row("utterances", stats.utterances),
    row("hours", hours?.toFixed(2) ?? "not known"),
    ...(seconds === undefined
      ? []
      : [
          row(
            "seconds",
            `${seconds.shortest.toFixed(2)} to ${seconds.longest.toFixed(2)}, median ${seconds.median.toFixed(2)}`,
          ),
        ]),
    row("speakers", stats.speakers),
    row("with text", stats.withText),
    row("with phones", stats.withPhones),
    ...(phones.length > 0 ? [row("phones", `${phones.length}: ${phones.join(" ")}`)] : []),
    ...Object.entries(labels).map(([name, values]) =>
      "from" in values && "to" in values && Object.keys(values).length === 2
        ? row(name, `${values.from} to ${values.to}`)
        : row(name, of(values as Record<string, number>)),
    ),
    ...Object.entries(splits).map(([name, own]) =>
      row(name, `${own.utterances} utterances, ${own.hours?.toFixed(2) ?? "?"} h, ${own.speakers} speakers`),
    ),
    ...(stats.simulated > 0 ? [row("simulated", `${stats.simulated} (no clinical data)`)] : []),
  ].join("\n");
}

/** Faults of a corpus; exit status 1 where there are any. */
export function checkCommand(): Command {
  return newCommand(
    "check",
    "Decodes every recording of a manifest and lists what is wrong: missing, unreadable, of another rate or duration, clipped, silent, the same sound twice, speakers on both sides of a split. Exits with 1 if anything is.",
    ["corpus check manifest.jsonl"],
  )
    .summary("find missing, unreadable, clipped, silent and duplicate recordings, and speakers in two splits")
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .option("--rate <hz>", "the rate that every recording should have (default: that of most)", whole)
    .option("--threads <n>", "worker threads (default: one a core, at most 4)", whole)
    .action(async (path: string, options: Json & { rate?: number; threads?: number }) => {
      const faults: { kind: CorpusFault["kind"] | "manifest"; ids: string[]; message: string }[] = [];
      const onBad = ({ message }: { message: string }) =>
        faults.push({
          kind: /the sound file .* does not exist/.test(message) ? "missing" : "manifest",
          ids: [],
          message,
        });
      let utterances: Utterance[] = [];
      try {
        utterances = readManifest(path, { skipBad: true, onBad });
      } catch (error) {
        if (faults.length === 0) throw error;
      }
      const bar = progress({ label: "checking", total: utterances.length });
      const { rate: sampleRate, threads } = options;
      const onProgress = (done: number) => bar.update(done);
      try {
        faults.push(...(await corpusCheck(utterances, { sampleRate, threads, onProgress })));
      } finally {
        bar.end();
      }
      const ok = faults.length === 0;
      const verdict = ok
        ? `${utterances.length} utterances, nothing wrong`
        : `${faults.length} ${faults.length === 1 ? "fault" : "faults"} in ${utterances.length} utterances`;
      printResult(
        options,
        { ok, utterances: utterances.length, faults },
        [...faults.map(({ kind, message }) => `${kind.padEnd(10)} ${message}`), verdict].join("\n"),
      );
      if (!ok) process.exitCode = 1;
    });
}

interface SynthOptions extends Json {
  speakers?: number;
  utterances?: number;
  voice?: string;
  sentences?: string;
  seed?: number;
  rate?: number;
  graded?: boolean;
  threads?: number;
}

/** A corpus of synthetic speech. */
export function synthCommand(): Command {
  return newCommand(
    "synth",
    "Makes a corpus of synthetic speech with espeak-ng: speakers, sentences, phones with times, a speaker-independent split. The same options give the same files.",
    ["corpus synth digits-and-more --speakers 10 --utterances 20 --voice de"],
  )
    .summary("make a corpus of synthetic speech")
    .argument("<folder>", "the folder to make")
    .option("--speakers <n>", "speakers (default: 20)", whole)
    .option("--utterances <n>", "utterances of each (default: 12)", whole)
    .option("--voice <name>", "espeak-ng's voice, which is the language (default: en-us)")
    .option("--sentences <file>", "sentences to speak, one a line (default: built-in ones)")
    .option("--seed <n>", "draws speakers and sentences (default: 1)", whole)
    .option("--rate <hz>", "sample rate (default: 16000)", whole)
    .option("--graded", "give each speaker one of five grades of simulated dysarthria")
    .option("--threads <n>", "worker threads (default: one a core, at most 4)", whole)
    .action(async (folder: string, options: SynthOptions) => {
      const { json: _, rate: sampleRate, sentences: file, ...rest } = options;
      const sentences = file === undefined ? undefined : readSentences(file);
      const stats = await makeFolder(folder, async (work) => {
        let bar: ReturnType<typeof progress> | undefined;
        const made = await synthesizeCorpus({ ...rest, sampleRate, sentences }, work, (done, total) => {
          bar ??= progress({ label: "speaking", total });
          bar.update(done);
        }).finally(() => bar?.end());
        return corpusStats(made);
      });
      const { utterances, hours = 0, speakers, simulated } = stats;
      printResult(
        options,
        { out: join(folder, "manifest.jsonl"), utterances, hours, speakers, simulated },
        `${join(folder, "manifest.jsonl")}: ${utterances} utterances, ${(60 * hours).toFixed(1)} min, ${speakers} speakers`,
      );
    });
}

function readSentences(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new UserError(`--sentences ${path}: there is no such file`);
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (lines.length === 0) throw new UserError(`--sentences ${path}: the file is empty`);
  return lines;
}

/** Downloads of corpora that need no application. */
export function fetchCommand(): Command {
  const open = Object.entries(readers).filter(([, { download }]) => download?.archives !== undefined);
  return newCommand(
    "fetch",
    `Downloads and unpacks a corpus that is free to download: ${open.map(([name]) => name).join(", ")}. Its licence is yours to keep. An interrupted download goes on when the same command is run again; archives are checked against their published hashes.`,
    ["corpus fetch fsdd fsdd", "corpus fetch librispeech LibriSpeech --parts dev-clean"],
  )
    .summary("download a corpus that is free to download")
    .argument("<name>", "the corpus")
    .argument("<folder>", "the folder to make")
    .option("--parts <names>", "only these of its archives, with commas")
    .option("--mirror <url>", "take the archives, of the same names, from this address")
    .action(async (name: string, folder: string, options: Json & { parts?: string; mirror?: string }) => {
      const from = options.mirror === undefined ? readers : mirrored(options.mirror);
      const show = byteProgress();
      const onSignal = (signal: NodeJS.Signals) => {
        process.stderr.write(
          `\nstopped; what arrived is kept in ${downloadFolder(folder)}: the same command goes on there\n`,
        );
        process.exit(signal === "SIGINT" ? 130 : 143);
      };
      process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
      const parts = options.parts?.split(",");
      const archives = await fetchCorpus(name, from, folder, { parts, onProgress: show.update }).finally(
        () => {
          show.end();
          process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
        },
      );
      const { licence, url } = readers[name].download!;
      const next = `voxsmith corpus ${name} ${folder} --out ${name}.jsonl`;
      const checks = archives.map(({ part, hash, verified }) =>
        verified ? `${part}: ${hash}, as published` : `${part}: ${hash}; no hash of it is published`,
      );
      printResult(
        options,
        { name, folder, licence, url, archives, next },
        [`${folder}: ${name}, licence ${licence} (${url})`, ...checks, `go on with: ${next}`].join("\n"),
      );
    });
}

function mirrored(mirror: string): typeof readers {
  if (!/^https?:\/\//.test(mirror))
    throw new UserError(`--mirror ${mirror}: must be an address that begins with http:// or https://`);
  const moved = (url: string) => `${mirror.replace(/\/+$/, "")}/${basename(url)}`;
  return Object.fromEntries(
    Object.entries(readers).map(([name, reader]) => {
      const { download } = reader;
      if (download?.archives === undefined) return [name, reader];
      const archives = Object.fromEntries(
        Object.entries(download.archives).map(([part, archive]) => [
          part,
          { ...archive, url: moved(archive.url) },
        ]),
      );
      return [name, { ...reader, download: { ...download, archives } }];
    }),
  );
}

/** Progress of downloads in megabytes; servers do not always say how many there are. */
function byteProgress() {
  let current: string | undefined;
  let bar: ReturnType<typeof progress> | undefined;
  let told = 0;
  return {
    update(part: string, bytes: number, total: number | undefined) {
      const megabytes = Math.floor(bytes / 1e6);
      if (part !== current) {
        bar?.end();
        current = part;
        told = 0;
        bar =
          total === undefined || total < 1e6
            ? undefined
            : progress({ label: `fetching ${part}, MB:`, total: Math.floor(total / 1e6) });
      }
      if (bar !== undefined) bar.update(megabytes);
      else if (megabytes >= told + 10) {
        told = megabytes;
        process.stderr.write(`fetching ${part}: ${megabytes} MB\n`);
      }
    },
    end: () => bar?.end(),
  };
}

/** A random part of a corpus. */
export function sampleCommand(): Command {
  return newCommand("sample", "Takes a random part of a manifest of so many hours.", [
    "corpus sample tedlium.jsonl --hours 100 --out tedlium-100h.jsonl",
  ])
    .summary("take a random part of so many hours")
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .requiredOption("--hours <n>", "hours to take", finite)
    .requiredOption("--out <manifest>", "the manifest to write")
    .option("--keep-speakers", "take at least one utterance of every speaker")
    .option("--seed <n>", "draws the utterances (default: 1)", whole, 1)
    .action(
      async (
        path: string,
        options: Json & { hours: number; out: string; keepSpeakers?: boolean; seed: number },
      ) => {
        const { hours, out, seed, keepSpeakers } = options;
        if (hours <= 0) throw new UserError(`--hours ${hours}: must be above 0`);
        const utterances = await timed(readManifest(path));
        const part = sampleHours(utterances, hours, seed, keepSpeakers ? (u) => u.speaker : undefined);
        writeManifest(out, part);
        printResult(
          options,
          { out, utterances: part.length, of: utterances.length },
          `${out}: ${part.length} of ${utterances.length} utterances`,
        );
      },
    );
}

/** Words and phones with times, from Praat TextGrids. */
export function alignmentsCommand(): Command {
  return newCommand(
    "alignments",
    "Adds words and phones with times to a manifest, from the Montreal Forced Aligner's TextGrids: ID.TextGrid or the sound file's name, anywhere below a folder. Utterances without one are left as they are.",
    ["corpus alignments librispeech.jsonl LibriSpeech-alignments --out aligned.jsonl"],
  )
    .summary("add words and phones with times from TextGrids")
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .argument("<folder>", "the folder of the TextGrids")
    .requiredOption("--out <manifest>", "the manifest to write")
    .action((path: string, folder: string, options: Json & { out: string }) => {
      const grids = new Map(
        filesBelow(folder, ".textgrid").map((file) => [stem(file), join(folder, file)] as const),
      );
      if (grids.size === 0) throw new UserError(`${folder}: no TextGrid files there`);
      let aligned = 0;
      const utterances = readManifest(path).map((utterance): Utterance => {
        const grid = grids.get(utterance.id) ?? grids.get(stem(utterance.audio));
        if (grid === undefined) return utterance;
        aligned++;
        return { ...utterance, ...readAlignment(grid) };
      });
      const { out } = options;
      if (aligned === 0)
        throw new UserError(`${folder}: none of its TextGrids has the name of an utterance of ${path}`);
      writeManifest(out, utterances);
      printResult(
        options,
        { out, aligned, utterances: utterances.length },
        `${out}: ${aligned} of ${utterances.length} utterances aligned`,
      );
    });
}

/** Words as classes. */
export function wordsCommand(): Command {
  return newCommand(
    "words",
    "Makes a manifest of frequent words, each occurrence an utterance with the word as its label, from a manifest with word times.",
    ["corpus words aligned.jsonl --out words.jsonl"],
  )
    .summary("take frequent words as utterances of their own")
    .argument("<manifest>", "a manifest, or a folder with manifest.jsonl in it")
    .requiredOption("--out <manifest>", "the manifest to write")
    .option("--least <n>", "occurrences that a word must have", whole, 300)
    .option("--each <n>", "occurrences to take of each", whole, 300)
    .option("--letters <n>", "letters that a word must have", whole, 5)
    .action((path: string, options: Json & { out: string; least: number; each: number; letters: number }) => {
      const { out, least } = options;
      const segments = frequentWords(readManifest(path), options);
      if (segments.length === 0)
        throw new UserError(`${path}: no word with times occurs ${least} times; --least lowers the bar`);
      writeManifest(out, segments);
      const words = new Set(segments.map((u) => u.text)).size;
      printResult(
        options,
        { out, words, utterances: segments.length },
        `${out}: ${segments.length} occurrences of ${words} words`,
      );
    });
}
