import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { type Utterance, writeManifest } from "../corpus/manifest.ts";
import { readers } from "../corpus/readers/index.ts";
import { type ReaderOptions, readCorpus, withDurations } from "../corpus/readers/reader.ts";
import { corpusStats } from "../corpus/stats.ts";
import { UserError } from "../errors.ts";
import { progress } from "../train/progress.ts";
import { newCommand, printResult } from "./command.ts";

interface Options {
  json?: boolean;
  out: string;
  durations: boolean;
  skipBad?: boolean;
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** `voxsmith corpus NAME DIR`, one command for each corpus that can be read, with that corpus' options. */
export function readerCommands(): Command[] {
  return Object.entries(readers).map(([name, reader]) => {
    const command = newCommand(name, `${reader.title}. Expects ${reader.layout}`, [
      `corpus ${name} path/to/${name} --out ${name}.jsonl`,
    ])
      .summary(reader.title)
      .argument("<folder>", "the corpus as it was downloaded and unpacked")
      .requiredOption("--out <manifest>", "the manifest to write (JSON lines)")
      .option("--no-durations", "leave out durations that the corpus itself does not tell (faster)")
      .option("--skip-bad", "leave out and list sound files that are absent or unreadable");
    for (const [option, says] of Object.entries(reader.options))
      command.addOption(new Option(`--${kebab(option)} <value>`, says));
    return command.action(async (folder: string, options: Options & ReaderOptions) => {
      const own = Object.keys(reader.options).filter((option) => options[option] !== undefined);
      const chosen = Object.fromEntries(own.map((option) => [option, options[option]]));
      // A table may be named itself; its sound files are then relative to its folder.
      const isTable = "table" in reader.options && statSync(folder, { throwIfNoEntry: false })?.isFile();
      const { result, text } = isTable
        ? await readInto(name, dirname(folder), options, { ...chosen, table: resolve(folder) })
        : await readInto(name, folder, options, chosen);
      printResult(options, result, text);
    });
  });
}

async function readInto(name: string, folder: string, options: Options, chosen: ReaderOptions) {
  const leftOut: { id: string; message: string }[] = [];
  const skip = (id: string, message: string) => {
    leftOut.push({ id, message });
    process.stderr.write(`left out: ${message}\n`);
  };
  const onMissing = ({ id, audio }: Utterance) => skip(id, `${id}: there is no sound file ${audio}`);
  // Sound files are stored relative to the manifest, which needs them to be absolute first.
  const read = await readCorpus(
    name,
    readers,
    resolve(folder),
    chosen,
    options.skipBad ? onMissing : undefined,
  );
  let utterances = read.map((utterance) => ({ ...utterance, audio: resolve(utterance.audio) }));
  if (options.durations) utterances = await timed(utterances, options.skipBad ? skip : undefined);
  writeManifest(options.out, utterances);
  const { hours, speakers, splits } = corpusStats(utterances);
  const result = {
    out: options.out,
    utterances: utterances.length,
    hours,
    speakers,
    splits: Object.fromEntries(Object.entries(splits).map(([split, own]) => [split, own.utterances])),
    leftOut,
  };
  const length = hours === undefined ? "" : `, ${hours.toFixed(2)} h`;
  const text = `${options.out}: ${utterances.length} utterances${length}, ${speakers} speakers`;
  return { result, text };
}

/** Durations from the files' headers where the corpus does not tell them. */
export async function timed(
  utterances: readonly Utterance[],
  onBad?: (id: string, message: string) => void,
): Promise<Utterance[]> {
  const bar = progress({ label: "durations", total: utterances.length });
  const out: Utterance[] = [];
  let done = 0;
  let probed = false;
  try {
    for (const utterance of utterances) {
      try {
        out.push(...(await withDurations([utterance])));
      } catch (error) {
        if (onBad === undefined || !(error instanceof UserError)) throw error;
        onBad(utterance.id, error.message);
      }
      probed ||= utterance.duration === undefined;
      done++;
      if (probed) bar.update(done);
    }
  } finally {
    bar.end();
  }
  if (out.length === 0) throw new UserError("none of the corpus' sound files can be read");
  return out;
}
