import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { closest, quote, UserError } from "../errors.ts";

/** A phone with its place in the utterance, seconds from the utterance's start. */
export interface Phone {
  phone: string;
  start: number;
  end: number;
}

/** A word: bare, with its phones, or with its place in the utterance (seconds from the utterance's start). */
export type Word = string | [string, string[]] | { word: string; start: number; end: number };

/** Who speaks when, in recordings with several speakers (seconds from the utterance's start). */
export interface Turn {
  speaker: string;
  start: number;
  end: number;
}

/** One line of a manifest. Corpora of every origin are read into this form and nothing else. */
export interface Utterance {
  id: string;
  /** Absolute path in memory; in the file, relative to the manifest's folder. */
  audio: string;
  /** The part of the file that is meant, in seconds; the whole file where absent. */
  start?: number;
  end?: number;
  /** Seconds of the utterance (of the part, where `start` and `end` are given). */
  duration?: number;
  speaker?: string;
  text?: string;
  /** Text in the target language of a translation corpus. */
  translation?: string;
  phones?: string[] | Phone[];
  words?: Word[];
  turns?: Turn[];
  labels?: Record<string, string | number>;
  slots?: Record<string, string>;
  split?: string;
  /** True where speech is synthetic and its grade comes from the simulator: never to be read as clinical data. */
  simulated?: boolean;
}

/** A fault of a manifest: where it is and a whole sentence about it. */
export interface ManifestFault {
  file: string;
  line: number;
  message: string;
}

export interface ReadManifestOptions {
  /** Leave faulty lines out instead of throwing at the first one. */
  skipBad?: boolean;
  /** Told of each line left out. */
  onBad?: (fault: ManifestFault) => void;
}

type Check = [test: (value: unknown) => boolean, wanted: string];

const isText = (v: unknown): v is string => typeof v === "string";
const isSeconds = (v: unknown) => typeof v === "number" && Number.isFinite(v) && v >= 0;
const isObject = (v: unknown): v is Record<string, unknown> =>
  typeof v === "object" && v !== null && !Array.isArray(v);
const isList = (v: unknown, item: (x: unknown) => boolean) => Array.isArray(v) && v.every(item);
const isInterval = (v: unknown, name: string) =>
  isObject(v) && isText(v[name]) && isSeconds(v.start) && isSeconds(v.end);
const isWord = (v: unknown) =>
  isText(v) ||
  (Array.isArray(v) && v.length === 2 && isText(v[0]) && isList(v[1], isText)) ||
  isInterval(v, "word");
const isMap = (v: unknown, value: (x: unknown) => boolean) => isObject(v) && Object.values(v).every(value);
const isLabel = (v: unknown) => isText(v) || (typeof v === "number" && Number.isFinite(v));

const text: Check = [isText, "a string"];
const seconds: Check = [isSeconds, "a number of seconds, 0 or more"];
const fields: Record<keyof Utterance, Check> = {
  id: [(v) => isText(v) && v !== "", "a string that is not empty"],
  audio: [(v) => isText(v) && v !== "", "the path of a sound file, relative to the manifest's folder"],
  start: seconds,
  end: seconds,
  duration: seconds,
  speaker: text,
  text,
  translation: text,
  phones: [
    (v) => isList(v, isText) || isList(v, (p) => isInterval(p, "phone")),
    'a list of strings or of {"phone", "start", "end"}',
  ],
  words: [(v) => isList(v, isWord), 'a list of strings, of [word, [phones]] or of {"word", "start", "end"}'],
  turns: [(v) => isList(v, (t) => isInterval(t, "speaker")), 'a list of {"speaker", "start", "end"}'],
  labels: [(v) => isMap(v, isLabel), "an object whose values are strings or numbers"],
  slots: [(v) => isMap(v, isText), "an object whose values are strings"],
  split: text,
  simulated: [(v) => typeof v === "boolean", "true or false"],
};

/** What is wrong with one parsed line, as the end of a sentence, or undefined. */
function faultOf(value: unknown): string | undefined {
  if (!isObject(value))
    return `expected a JSON object such as {"id": ..., "audio": ...}, not ${quote(value)}`;
  for (const name of ["id", "audio"]) if (!(name in value)) return `the field "${name}" is missing`;
  for (const [name, given] of Object.entries(value)) {
    const check = (fields as Record<string, Check | undefined>)[name];
    // Columns of one's own are welcome; what looks like a slip of the pen is not.
    if (check === undefined) {
      const meant = closest(name, Object.keys(fields));
      if (meant !== undefined) return `the field "${name}" is unknown; did you mean "${meant}"?`;
    } else if (!check[0](given)) {
      return `the field "${name}" must be ${check[1]}, not ${quote(isText(given) ? given : JSON.stringify(given))}`;
    }
  }
  const { start, end } = value as { start?: number; end?: number };
  if (end !== undefined && end <= (start ?? 0))
    return `"end" (${end}) must come after "start" (${start ?? 0})`;
  return undefined;
}

/**
 * Reads a JSON-lines manifest (a file, or a folder that holds `manifest.jsonl`). Paths of sound files come out
 * absolute, and each is checked to exist; ids are unique.
 *
 * @throws UserError at the first fault (with file and line), unless `skipBad`; and where no line is usable.
 */
export function readManifest(path: string, options: ReadManifestOptions = {}): Utterance[] {
  const file = manifestFile(path);
  const folder = dirname(resolve(file));
  const seen = new Map<string, number>();
  const utterances: Utterance[] = [];
  let faults = 0;
  const lines = readFileSync(file, "utf8")
    .replace(/^\uFEFF/, "")
    .split("\n");
  lines.forEach((content, index) => {
    if (content.trim() === "") return;
    const line = index + 1;
    const result = parseLine(content, folder, seen);
    if (!isText(result)) {
      seen.set(result.id, line);
      utterances.push(result);
      return;
    }
    const message = `${file}:${line}: ${result}`;
    if (!options.skipBad) throw new UserError(message);
    faults++;
    options.onBad?.({ file, line, message });
  });
  if (utterances.length === 0) {
    throw new UserError(
      `${file}: no usable utterance${faults > 0 ? ` (${faults} faulty lines left out)` : ""}`,
    );
  }
  return utterances;
}

/** The utterance of one line, or what is wrong with it. */
function parseLine(content: string, folder: string, seen: Map<string, number>): Utterance | string {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    return `not a line of JSON: ${quote(content.trim())}`;
  }
  const fault = faultOf(value);
  if (fault !== undefined) return fault;
  const utterance = value as Utterance;
  const first = seen.get(utterance.id);
  if (first !== undefined) return `the id ${quote(utterance.id)} was already used in line ${first}`;
  const audio = resolve(folder, utterance.audio);
  if (!existsSync(audio)) return `the sound file ${quote(utterance.audio, 200)} does not exist in ${folder}`;
  return { ...utterance, audio };
}

function manifestFile(path: string): string {
  if (!existsSync(path)) throw new UserError(`${path}: no such manifest`);
  if (!statSync(path).isDirectory()) return path;
  const inside = join(path, "manifest.jsonl");
  if (existsSync(inside)) return inside;
  throw new UserError(
    `${path}: the folder holds no manifest.jsonl; make one with "voxsmith corpus NAME DIR"`,
  );
}

/** Writes a manifest whole or not at all (a temporary file, then a rename); sound files become relative paths. */
export function writeManifest(path: string, utterances: readonly Utterance[]): void {
  const folder = dirname(resolve(path));
  const lines = utterances.map((utterance) => {
    const audio = isAbsolute(utterance.audio)
      ? relative(folder, utterance.audio).split(sep).join("/")
      : utterance.audio;
    return `${JSON.stringify({ ...utterance, audio })}\n`;
  });
  mkdirSync(folder, { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, lines.join(""));
  renameSync(temporary, path);
}

/** The phone symbols of an utterance, with or without times, or undefined where it has none. */
export function phoneSymbols(utterance: Utterance): string[] | undefined {
  return utterance.phones?.map((p) => (isText(p) ? p : p.phone));
}
