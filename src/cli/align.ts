import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { formatCtm } from "../corpus/formats/nist.ts";
import { formatTextGrid } from "../corpus/formats/text-grid.ts";
import { readLexicon } from "../corpus/lexicon.ts";
import { type Phone, readManifest, type Utterance, writeManifest } from "../corpus/manifest.ts";
import { stem } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import { progress } from "../train/progress.ts";
import { Aligner, type Alignment } from "../use/align.ts";
import { writeAtomically } from "../weights/file.ts";
import { newCommand, printResult, whole } from "./command.ts";
import { makeFolder } from "./corpus-folder.ts";

interface Options {
  json?: boolean;
  model: string;
  out: string;
  text?: string;
  phones?: string;
  head?: string;
  lexicon?: string;
  voice?: string;
  reach?: number;
  strict?: boolean;
  threads?: number;
}

interface Aligned {
  utterance: Utterance;
  alignment: Alignment;
}

export function command(): Command {
  return newCommand(
    "align",
    "Finds when each phone and word of a known text was spoken, by forced alignment with the CTC head of a trained run: phones where the head hears phones, words where they are known. Text comes from manifests, from --text, or from a file beside each recording (recording.lab or recording.txt). Recordings that cannot be aligned are left out and listed.",
    [
      "align manifest.jsonl --model runs/demo --out aligned.jsonl",
      'align speech.wav --model runs/demo --text "the small boat" --voice en-us --out speech.TextGrid',
      "align speech/*.wav --model runs/phones --lexicon cmudict.txt --out speech.ctm",
    ],
  )
    .argument("<file...>", "sound files or manifests (*.jsonl)")
    .requiredOption("--model <run>", "the folder of a run with a CTC head")
    .requiredOption(
      "--out <path>",
      "a manifest (.jsonl), a .ctm, a .TextGrid for a single recording, or a folder of TextGrids",
    )
    .option("--text <words>", "what is said in the one recording given")
    .option("--phones <symbols>", "its phones instead, with spaces between them")
    .option("--head <objective>", "the CTC head, where the model has several")
    .option("--lexicon <file>", "pronunciations (CMUdict's form), for text and a head of phones")
    .option("--voice <name>", "an espeak-ng voice that gives the phones of a text, such as en-us")
    .option("--reach <seconds>", "of the silence around a symbol's peak, what counts as the symbol", reach)
    .option("--strict", "stop at the first recording that cannot be aligned")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .action(async (files: string[], options: Options) => {
      const inputs = collect(files, options);
      const kind = kindOf(options.out, inputs.length);
      const { model, head, voice, reach, threads } = options;
      const lexicon = options.lexicon === undefined ? undefined : readLexicon(options.lexicon);
      const aligner = await Aligner.open(model, { head, voice, reach, threads, lexicon });
      const skipped: { id: string; message: string }[] = [];
      let aligned: Aligned[];
      try {
        aligned = await alignAll(aligner, inputs, options.strict === true, (fault) => skipped.push(fault));
      } finally {
        await aligner.dispose();
      }
      await write(options.out, kind, aligned);
      const compared = differences(aligned);
      const phones = aligned.reduce((sum, { alignment }) => sum + alignment.phones.length, 0);
      const words = aligned.reduce((sum, { alignment }) => sum + alignment.words.length, 0);
      const result = { out: options.out, utterances: aligned.length, phones, words, skipped, ...compared };
      const left = skipped.length > 0 ? `, ${skipped.length} left out` : "";
      const difference =
        compared && compared.boundaries > 0
          ? `\nbounds of phones differ from the manifest's by ${compared.medianMs} ms in the median, ${compared.within50msPercent} % by at most 50 ms`
          : "";
      printResult(
        options,
        result,
        `${options.out}: ${aligned.length} utterances, ${phones} phones, ${words} words${left}${difference}`,
      );
    });
}

function reach(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0))
    throw new InvalidArgumentError("It must be a number of seconds, 0 or more.");
  return value;
}

function collect(files: readonly string[], { text, phones }: Options): Utterance[] {
  const given = text !== undefined || phones !== undefined;
  if (given && (files.length > 1 || files[0].endsWith(".jsonl")))
    throw new UserError(`--${text === undefined ? "phones" : "text"}: is for a single recording`);
  const all = files.flatMap((file): Utterance[] => {
    if (file.endsWith(".jsonl")) return readManifest(file);
    const audio = resolve(file);
    if (!existsSync(audio)) throw new UserError(`${file}: there is no such file`);
    const said = given ? text : beside(file);
    return [
      {
        id: stem(file),
        audio,
        ...(said !== undefined && { text: said }),
        ...(phones !== undefined && { phones: phones.split(/\s+/).filter(Boolean) }),
      },
    ];
  });
  const ids = new Set<string>();
  for (const { id, audio } of all) {
    if (ids.has(id)) throw new UserError(`${audio}: there are two recordings named "${id}"`);
    ids.add(id);
  }
  return all;
}

/** The transcript beside a recording, as the Montreal Forced Aligner expects it. */
function beside(file: string): string {
  const base = file.slice(0, file.length - extname(file).length);
  const found = [".lab", ".txt"].map((ending) => `${base}${ending}`).find((path) => existsSync(path));
  if (found === undefined)
    throw new UserError(
      `${file}: what is said in it is not known; give --text, or write it into ${base}.lab or ${base}.txt`,
    );
  return readFileSync(found, "utf8").trim();
}

type Kind = "manifest" | "ctm" | "grid" | "folder";

function kindOf(out: string, recordings: number): Kind {
  const ending = extname(out).toLowerCase();
  if (ending === ".jsonl") return "manifest";
  if (ending === ".ctm") return "ctm";
  if (ending !== ".textgrid" && ending !== "")
    throw new UserError(
      `--out ${out}: must end in .jsonl, .ctm or .TextGrid, or be the name of a folder for TextGrids`,
    );
  if (ending === "") {
    if (existsSync(out)) throw new UserError(`${out}: exists already; name a new folder or remove it first`);
    return "folder";
  }
  if (recordings === 1) return "grid";
  throw new UserError(
    `--out ${out}: one TextGrid cannot hold ${recordings} recordings; name a folder, a .ctm or a .jsonl`,
  );
}

async function alignAll(
  aligner: Aligner,
  inputs: readonly Utterance[],
  strict: boolean,
  onBad: (fault: { id: string; message: string }) => void,
): Promise<Aligned[]> {
  const bar = progress({ label: "aligning", total: inputs.length });
  const aligned: Aligned[] = [];
  let first: string | undefined;
  try {
    for (const [i, utterance] of inputs.entries()) {
      try {
        aligned.push({ utterance, alignment: await aligner.align(utterance) });
      } catch (error) {
        if (strict || !(error instanceof UserError)) throw error;
        first ??= error.message;
        onBad({ id: utterance.id, message: error.message });
        bar.print(`left out: ${error.message}`);
      }
      bar.update(i + 1);
    }
  } finally {
    bar.end();
  }
  if (aligned.length > 0) return aligned;
  throw new UserError(
    inputs.length === 1
      ? first!
      : `none of the ${inputs.length} recordings can be aligned; the first: ${first}`,
  );
}

/** To tenths of a millisecond: no aligner knows more. */
const rounded = <T extends { start: number; end: number }>({ start, end, ...rest }: T) => ({
  ...rest,
  start: Math.round(1e4 * start) / 1e4,
  end: Math.round(1e4 * end) / 1e4,
});

async function write(out: string, kind: Kind, aligned: readonly Aligned[]): Promise<void> {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(resolve(path)), { recursive: true });
    writeAtomically(path, (bytes) => bytes(new TextEncoder().encode(text)));
  };
  if (kind === "manifest") writeManifest(out, aligned.map(toUtterance));
  else if (kind === "ctm") put(out, aligned.map(toCtm).join(""));
  else if (kind === "grid") put(out, toGrid(aligned[0]));
  else
    await makeFolder(out, async (work) => {
      for (const each of aligned)
        put(join(work, `${each.utterance.id.replaceAll("/", "_")}.TextGrid`), toGrid(each));
    });
}

const plain = <T extends { score: number }>({ score: _, ...rest }: T) => rest;

function toUtterance({ utterance, alignment }: Aligned): Utterance {
  const phones = alignment.phones.map(plain).map(rounded);
  const words = alignment.words.map(plain).map(rounded);
  return {
    ...utterance,
    duration: utterance.duration ?? alignment.seconds,
    ...(phones.length > 0 && { phones }),
    ...(words.length > 0 && { words }),
  };
}

/** Phones where there are any, else words; times count from the recording's own start. */
function toCtm({ utterance, alignment }: Aligned): string {
  const { start: offset = 0 } = utterance;
  const { phones, words } = alignment;
  const items = phones.length > 0 ? phones.map(({ phone, ...rest }) => ({ word: phone, ...rest })) : words;
  return formatCtm(
    items.map(({ word, start, end, score }) => ({
      recording: utterance.start === undefined ? utterance.id : stem(utterance.audio),
      channel: "1",
      word,
      start: offset + start,
      end: offset + end,
      confidence: score,
    })),
  );
}

function toGrid({ alignment: { phones, words, seconds } }: Aligned): string {
  const tier = (name: string, items: { label: string; start: number; end: number }[]) => ({
    name,
    kind: "interval" as const,
    items: items.map(rounded),
  });
  return formatTextGrid(
    [
      ...(words.length > 0
        ? [
            tier(
              "words",
              words.map(({ word, start, end }) => ({ label: word, start, end })),
            ),
          ]
        : []),
      ...(phones.length > 0
        ? [
            tier(
              "phones",
              phones.map(({ phone, start, end }) => ({ label: phone, start, end })),
            ),
          ]
        : []),
    ],
    Math.round(1e4 * seconds) / 1e4,
  );
}

/** How far the bounds of phones lie from those that the manifest had, where it had any. */
function differences(
  aligned: readonly Aligned[],
): { boundaries: number; medianMs: number; within50msPercent: number } | undefined {
  const apart = aligned.flatMap(({ utterance, alignment }) => {
    const known = (utterance.phones ?? []).filter((phone): phone is Phone => typeof phone !== "string");
    if (known.length === 0 || known.length !== alignment.phones.length) return [];
    return known.map(({ start }, i) => Math.abs(1000 * (start - alignment.phones[i].start)));
  });
  if (apart.length === 0) return undefined;
  apart.sort((a, b) => a - b);
  return {
    boundaries: apart.length,
    medianMs: Math.round(apart[apart.length >> 1]),
    within50msPercent: Math.round((100 * apart.filter((ms) => ms <= 50).length) / apart.length),
  };
}
