import { existsSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isAbsolute, join, relative } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { EgemapsVersion } from "../audio/acoustics/egemaps.ts";
import { type Phone, phoneSymbols, readManifest, type Utterance } from "../corpus/manifest.ts";
import { ordered } from "../corpus/ordered.ts";
import { filesBelow } from "../corpus/readers/reader.ts";
import { WorkerPool } from "../corpus/worker-pool.ts";
import { UserError } from "../errors.ts";
import type { PredictionLine } from "../train/finish.ts";
import { progress } from "../train/progress.ts";
import { interruptSignal, newCommand, printResult, whole } from "./command.ts";
import { Listener } from "./features-hear.ts";
import {
  boundToRate,
  extractFeatures,
  type FeatureRows,
  type FeatureSet,
  type FeatureTask,
  featureSets,
} from "./features-sets.ts";
import {
  checkTablePath,
  openTable,
  printTable,
  rowObject,
  type TableColumns,
  type TableWriter,
} from "./features-table.ts";

interface Options {
  json?: boolean;
  set: FeatureSet;
  out?: string;
  lld?: boolean;
  egemaps: EgemapsVersion;
  rate?: number;
  channel?: number;
  recognised?: string;
  model?: string;
  lexicon?: string;
  voice?: string;
  strict?: boolean;
  threads?: number;
}

/** One recording to describe: a file, or an utterance of a manifest. */
interface Input {
  file: string;
  id?: string;
  utterance: Utterance;
  task: Pick<FeatureTask, "audio" | "start" | "end" | "phones" | "canonical" | "recognised">;
}

/** A channel's number, counted from 0. */
function channelNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be a channel's number, counted from 0.");
  return value;
}

/** A recording that was left out, and why. */
interface Skipped {
  file: string;
  id?: string;
  message: string;
}

const endings = [".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".sph", ".nist"];

export function command(): Command {
  return newCommand(
    "features",
    "Acoustic features of recordings as a table: one row a recording, or with --lld one a frame (10 ms). The first column is the file; the others have openSMILE's names. Recordings that cannot be read are left out and listed.",
    [
      "features speech/*.wav --set egemaps --out table.csv",
      "features speech --set mfcc --lld --out frames.npy",
      "features manifest.jsonl --set clinical --model runs/phones --out clinical.csv",
    ],
  )
    .argument("<file...>", "sound files, folders of them, or manifests (*.jsonl)")
    .addOption(
      new Option(
        "--set <name>",
        "88 functionals of eGeMAPS, pretext labels, clinical features, 80 log mel bands, 13 mfcc with derivatives; of pretext, mel and mfcc: mean and standard deviation",
      )
        .choices(featureSets)
        .default("egemaps"),
    )
    .option(
      "--out <table>",
      "table.csv, table.jsonl or table.npy (a structured array); default: CSV on stdout",
    )
    .option("--lld", "the descriptors of each frame instead of statistics over them")
    .addOption(
      new Option("--egemaps <version>", "version of the set").choices(["v02", "v01b"]).default("v02"),
    )
    .option("--rate <hz>", "resample all recordings to this rate first", whole)
    .option("--channel <n>", "a channel counted from 0 (default: the mean of all)", channelNumber)
    .option(
      "--recognised <predictions>",
      "a run's predictions.jsonl with freely recognised phones, for the clinical set's pronunciation features",
    )
    .option(
      "--model <run>",
      "a run with a CTC head of phones that never saw these speakers: what it hears is the recognised phones, and forced alignment finds vowels and rhythm where the manifest has no phone times",
    )
    .option("--lexicon <file>", "with --model: pronunciations of the manifest's text where it has no phones")
    .option("--voice <name>", "with --model: an espeak-ng voice for the same, such as en-us")
    .option("--strict", "stop at the first recording that cannot be read")
    .option("--threads <n>", "worker threads (default: one a core)", whole)
    .action(async (paths: string[], options: Options) => {
      const result = await writeFeatures(paths, options);
      if (result === undefined) process.exitCode = 130;
      else if (options.out !== undefined || options.json) printResult(options, result, summary(result));
    });
}

async function writeFeatures(paths: string[], options: Options) {
  const { set, egemaps: version, lld = false, strict = false, rate: sampleRate, channel, out } = options;
  if (set === "clinical" && lld)
    throw new UserError("--lld: clinical features describe a recording as a whole; leave it out");
  if (options.recognised !== undefined && set !== "clinical")
    throw new UserError("--recognised: only --set clinical has use for recognised phones");
  if (options.model !== undefined && (set !== "clinical" || options.recognised !== undefined))
    throw new UserError("--model: is for --set clinical, without --recognised");
  if (options.model === undefined && (options.lexicon !== undefined || options.voice !== undefined))
    throw new UserError(`--${options.lexicon === undefined ? "voice" : "lexicon"}: needs --model`);
  if (out !== undefined) checkTablePath(out);

  const skipped: Skipped[] = [];
  const recognised = options.recognised === undefined ? undefined : readRecognised(options.recognised);
  const inputs = collectInputs(paths, recognised, strict, (fault) => skipped.push(fault));
  const bar = progress({ label: "features", total: inputs.length });
  const skip = (fault: Skipped) => {
    skipped.push(fault);
    bar.print(`left out: ${fault.message}`);
  };
  for (const { message } of skipped) bar.print(`left out: ${message}`);

  const threads = Math.min(options.threads ?? availableParallelism(), inputs.length);
  // A single thread's worth of work is done here, without the cost of starting one.
  const pool =
    threads > 1
      ? new WorkerPool<FeatureTask, FeatureRows>(import.meta.url, "features-worker", threads)
      : undefined;
  const { model, lexicon, voice } = options;
  const listener = model === undefined ? undefined : await Listener.open(model, { lexicon, voice });
  const run = async ({ task, utterance }: Input) => {
    const phonetics = await listener?.listen(utterance, task);
    const whole: FeatureTask = { ...task, ...phonetics, set, version, lld, sampleRate, channel };
    return pool?.run(whole) ?? extractFeatures(whole);
  };
  const { signal, dispose } = interruptSignal("stopping; no table is written");
  const table = new Table(inputs, out, options.json === true, boundToRate(set));
  let done = 0;
  let recordings = 0;
  try {
    for await (const [input, result] of ordered(inputs, 2 * Math.max(1, threads), run)) {
      if (signal.aborted) return undefined;
      const { file, id } = input;
      const fault = result.status === "rejected" ? result.reason : table.add(input, result.value);
      if (fault instanceof UserError && !strict)
        skip({ file, ...(id !== undefined && { id }), message: fault.message });
      else if (fault !== undefined) throw fault;
      else recordings++;
      bar.update(++done);
      // Lets a signal through while all is computed in this thread.
      if (pool === undefined) await new Promise((resolve) => setImmediate(resolve));
    }
    if (signal.aborted) return undefined;
    if (recordings === 0)
      throw new UserError(
        skipped.length === 1
          ? skipped[0].message
          : `none of the ${skipped.length} recordings can be used; the first: ${skipped[0].message}`,
      );
    table.finish();
  } finally {
    bar.end();
    dispose();
    table.discard();
    await listener?.dispose();
    await pool?.close();
  }
  return {
    set,
    ...(out !== undefined ? { out } : { table: table.collected }),
    rows: table.rows,
    columns: table.width,
    recordings,
    skipped,
  };
}

/** The output, opened with the first row: columns follow from it, and where there is none nothing is written. */
class Table {
  readonly collected: Record<string, string | number | null>[] = [];
  rows = 0;
  width = 0;
  readonly #inputs: readonly Input[];
  readonly #out: string | undefined;
  readonly #collect: boolean;
  readonly #oneRate: boolean;
  #writer: TableWriter | undefined;
  #columns: TableColumns = { texts: [], numbers: [] };
  #first: { file: string; sampleRate: number } | undefined;

  constructor(inputs: readonly Input[], out: string | undefined, json: boolean, oneRate: boolean) {
    this.#inputs = inputs;
    this.#out = out;
    this.#collect = json && out === undefined;
    this.#oneRate = oneRate;
  }

  /** Adds a recording's rows, or says why they do not fit. */
  add({ file, id }: Input, { columns, values, rows, sampleRate }: FeatureRows): UserError | undefined {
    const first = (this.#first ??= { file, sampleRate });
    if (this.#oneRate && first.sampleRate !== sampleRate) {
      return new UserError(
        `${file}: its ${sampleRate} Hz do not go with the ${first.sampleRate} Hz of ${first.file}; --rate ${Math.min(sampleRate, first.sampleRate)} brings all to one rate`,
      );
    }
    if (this.#writer === undefined) this.#open(columns);
    const texts = this.#columns.texts.map(({ name }) => (name === "file" ? file : (id ?? "")));
    for (let t = 0; t < rows; t++)
      this.#writer!.add(texts, values.subarray(t * columns.length, (t + 1) * columns.length));
    this.rows += rows;
    return undefined;
  }

  #open(numbers: string[]): void {
    const width = (texts: string[]) => texts.reduce((most, text) => Math.max(most, [...text].length), 0);
    const ids = this.#inputs.flatMap(({ id }) => id ?? []);
    const texts = [{ name: "file", width: width(this.#inputs.map(({ file }) => file)) }];
    if (ids.length > 0) texts.push({ name: "id", width: width(ids) });
    this.#columns = { texts, numbers };
    this.width = numbers.filter((name) => name !== "frameTime").length;
    if (this.#out !== undefined) this.#writer = openTable(this.#out, this.#columns);
    else if (!this.#collect) this.#writer = printTable(this.#columns);
    else {
      const add: TableWriter["add"] = (cells, values) =>
        this.collected.push(rowObject(this.#columns, cells, values));
      this.#writer = { add, finish() {}, discard() {} };
    }
  }

  finish(): void {
    this.#writer?.finish();
  }

  discard(): void {
    this.#writer?.discard();
  }
}

function collectInputs(
  paths: readonly string[],
  recognised: Map<string, string[]> | undefined,
  strict: boolean,
  onBad: (fault: Skipped) => void,
): Input[] {
  return paths.flatMap((path): Input[] => {
    if (existsSync(path) && statSync(path).isDirectory()) {
      const files = filesBelow(path, ...endings);
      if (files.length === 0)
        throw new UserError(`${path}: no sound files in this folder (${endings.join(", ")})`);
      return files.map((file) => soundFile(join(path, file)));
    }
    if (!path.endsWith(".jsonl")) return [soundFile(path)];
    const utterances = readManifest(path, {
      skipBad: !strict,
      onBad: ({ file, line, message }) => onBad({ file: `${file}:${line}`, message }),
    });
    return utterances.map((utterance) => ofUtterance(utterance, isAbsolute(path), recognised));
  });
}

const soundFile = (file: string): Input => ({
  file,
  utterance: { id: file, audio: file },
  task: { audio: file },
});

function ofUtterance(
  utterance: Utterance,
  absolute: boolean,
  recognised: Map<string, string[]> | undefined,
): Input {
  const { id, start, end, phones } = utterance;
  const file = absolute ? utterance.audio : relative(process.cwd(), utterance.audio);
  const timed = (phones ?? []).filter((phone): phone is Phone => typeof phone !== "string");
  return {
    file,
    id,
    utterance,
    task: {
      audio: file,
      start,
      end,
      ...(timed.length > 0 && { phones: timed.map((p) => ({ start: p.start, end: p.end, label: p.phone })) }),
      canonical: phoneSymbols(utterance),
      recognised: recognised?.get(id),
    },
  };
}

/** The phones that a model heard in each utterance, from the predictions of a run. */
function readRecognised(path: string): Map<string, string[]> {
  if (!existsSync(path)) throw new UserError(`${path}: there is no such file`);
  const heard = new Map<string, string[]>();
  readFileSync(path, "utf8")
    .split("\n")
    .forEach((text, i) => {
      if (text.trim() === "") return;
      let line: PredictionLine;
      try {
        line = JSON.parse(text);
      } catch {
        throw new UserError(`${path}:${i + 1}: not a line of JSON`);
      }
      const sequences = Object.entries(line.answers ?? {}).flatMap(([name, answer]) =>
        answer.kind === "sequence" ? [{ name, answer }] : [],
      );
      const phones = sequences.find(({ name }) => /^phon/.test(name)) ?? sequences[0];
      if (line.id === undefined || phones === undefined)
        throw new UserError(`${path}:${i + 1}: expected a line of predictions.jsonl with recognised phones`);
      heard.set(line.id, phones.answer.heard);
    });
  return heard;
}

function summary({
  out,
  rows,
  columns,
  skipped,
}: {
  out?: string;
  rows: number;
  columns: number;
  skipped: Skipped[];
}): string {
  const left = skipped.length > 0 ? `, ${skipped.length} left out` : "";
  return `${out}: ${rows} ${rows === 1 ? "row" : "rows"} of ${columns} features${left}`;
}
