import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { stem } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import { fitLanguageModel, openLanguageModel } from "../train/language-model.ts";
import { formatTimestamps, TIMESTAMPS, type TimestampFormat } from "../use/timestamps.ts";
import { Transcriber, type Transcript } from "../use/transcribe.ts";
import { writeAtomically } from "../weights/file.ts";
import { newCommand, printResult, whole } from "./command.ts";
import { secondsHeard } from "./seconds-heard.ts";

interface Options {
  json?: boolean;
  model: string;
  head?: string;
  lm?: string;
  lexicon?: string;
  lmWeight?: number;
  wordScore?: number;
  beam?: number;
  timestamps?: TimestampFormat;
  out?: string;
  chunk: number;
  overlap: number;
  threads?: number;
}

export function command(): Command {
  return newCommand(
    "transcribe",
    "Writes down what is said in recordings of any length, with the CTC head of a run or of a model in Hugging Face's form.",
    [
      "transcribe speech.wav --model runs/fsdd-digits",
      "transcribe lecture.flac --model wav2vec2-base-960h --lm words.arpa --timestamps srt --out lecture.srt",
      "transcribe speech/*.wav --model runs/demo --timestamps textgrid --out grids",
    ],
  )
    .argument("<file...>", "recordings")
    .requiredOption(
      "--model <model>",
      "a run, a model's folder, a checkpoint or a name of the hub, with a CTC head",
    )
    .option("--head <objective>", "the CTC head, where a run has several")
    .option("--lm <file>", "an n-gram model over words or over the head's own symbols, ARPA or compiled")
    .option("--lexicon <file>", "spellings in the head's symbols, `word symbol symbol ...` a line")
    .option(
      "--lm-weight <n>",
      "how much the n-gram model counts (default: 1 for words, 0.5 for symbols)",
      real,
    )
    .option("--word-score <n>", "added for each word, or symbol (default: 0)", real)
    .option(
      "--beam <n>",
      "hypotheses that survive a frame (default: 50 with --lm, else the best path)",
      whole,
    )
    .addOption(
      new Option("--timestamps <format>", "tell what was said when").choices(Object.keys(TIMESTAMPS)),
    )
    .option("--out <path>", "a file, or for several recordings a folder (default: standard output)")
    .option("--chunk <seconds>", "longest stretch that the model hears at once", positive, 30)
    .option("--overlap <seconds>", "what two stretches share", positive, 6)
    .option("--threads <n>", "processor threads (default: the run's, or all)", whole)
    .action(run);
}

async function run(files: string[], options: Options): Promise<void> {
  const { model, head, beam, threads, timestamps } = options;
  if (options.lexicon !== undefined && options.lm === undefined)
    throw new UserError("--lexicon: spells the words of an n-gram model; give it with --lm");
  for (const file of files) if (!existsSync(file)) throw new UserError(`${file}: there is no such file`);
  checkNames(files, options);
  const ngrams = options.lm === undefined ? undefined : await openLanguageModel(options.lm);
  const { lm, lmWeight: weight, wordScore, lexicon } = options;
  const transcriber = await Transcriber.open(model, {
    threads,
    head,
    beam,
    log: (line) => process.stderr.write(`${line}\n`),
    languageModel: ngrams && ((v) => fitLanguageModel(ngrams, lm!, v, { weight, wordScore, lexicon })),
  });
  for (const note of transcriber.notes) process.stderr.write(`${note}\n`);
  const results: ({ file: string; out?: string } & Transcript)[] = [];
  try {
    for (const file of files) {
      const transcript = await transcriber.transcribe(file, {
        chunkSeconds: options.chunk,
        overlapSeconds: options.overlap,
        onProgress: secondsHeard(file),
      });
      const text =
        timestamps === undefined
          ? `${transcript.text}\n`
          : formatTimestamps(timestamps, transcript, stem(file));
      const out = outOf(file, files, options);
      if (out !== undefined) writeAtomically(out, (put) => put(Buffer.from(text)));
      else if (!options.json)
        process.stdout.write(files.length > 1 && timestamps === undefined ? `${file}\t${text}` : text);
      results.push({ file, ...(out !== undefined && { out }), ...transcript });
    }
  } finally {
    await transcriber.dispose();
  }
  if (options.json) printResult(options, { model, transcripts: results }, "");
}

/** Two recordings of one name would be written over each other. */
function checkNames(files: readonly string[], { out, timestamps }: Options): void {
  if (files.length < 2) return;
  if (timestamps !== undefined && timestamps !== "ctm" && out === undefined)
    throw new UserError(`--timestamps ${timestamps}: of several recordings needs --out with a folder`);
  if (out === undefined) return;
  const names = files.map(stem);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserError(`there are two recordings named "${twice}"; write them one by one`);
  if (existsSync(out) && !statSync(out).isDirectory())
    throw new UserError(`--out ${out}: must be a folder where there are several recordings`);
  mkdirSync(out, { recursive: true });
}

function outOf(file: string, files: readonly string[], { out, timestamps }: Options): string | undefined {
  if (out === undefined) return undefined;
  const ending = timestamps === undefined ? "txt" : TIMESTAMPS[timestamps];
  const isFolder = files.length > 1 || (existsSync(out) && statSync(out).isDirectory());
  return isFolder ? join(out, `${stem(file)}.${ending}`) : out;
}

function positive(text: string): number {
  if (!(Number(text) > 0)) throw new InvalidArgumentError("It must be a number of seconds above 0.");
  return Number(text);
}

function real(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}
