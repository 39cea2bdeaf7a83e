import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, extname, join, sep } from "node:path";
import { probeFile } from "../../audio/file.ts";
import { closest, UserError } from "../../errors.ts";
import type { Utterance } from "../manifest.ts";

export type ReaderOptions = Record<string, string | undefined>;

/** A file of a corpus' distribution. */
export interface Archive {
  url: string;
  /** "sha256:" or "md5:" and what it should be, where that is published by the corpus or by a toolkit that checks it. */
  hash?: string;
}

/** Knows one corpus in the form it is distributed in. */
export interface Reader {
  /** What the corpus is, in a line. */
  title: string;
  /** The files it expects below the folder it is given, as the distribution has them. */
  layout: string;
  /** The options it takes, with a sentence each. */
  options: Record<string, string>;
  /** Where it can be had without an application: its page, and the archives that `fetchCorpus` can get by itself. */
  download?: { url: string; licence: string; archives?: Record<string, Archive> };
  /**
   * Reads the corpus. Sound files come out as absolute paths where `folder` is one.
   *
   * @throws UserError where the layout is another, or an option makes no sense.
   */
  read(folder: string, options: ReaderOptions): Utterance[] | Promise<Utterance[]>;
}

/** A path below a corpus folder that must be there; the error tells the layout that was expected. */
export function need(folder: string, path: string, layout: string): string {
  const full = join(folder, path);
  if (existsSync(full)) return full;
  throw new UserError(`${folder}: there is no ${path}; expected ${layout}`);
}

/** The first of several places that exists, or undefined. */
export const firstOf = (folder: string, ...paths: string[]): string | undefined =>
  paths.map((path) => join(folder, path)).find((path) => existsSync(path));

/** Folders directly below a folder, by name. */
export function foldersIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

/** Files below a folder with one of the endings (".wav", in any letter case), as sorted relative paths with "/". */
export function filesBelow(folder: string, ...endings: string[]): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => endings.some((ending) => path.toLowerCase().endsWith(ending)))
    .filter((path) => !basename(path).startsWith("._")) // litter of archives made on a Mac
    .map((path) => path.split(sep).join("/"))
    .sort();
}

/** As `filesBelow`, but it is an error if there are none. */
export function needFiles(folder: string, layout: string, ...endings: string[]): string[] {
  const files = filesBelow(folder, ...endings);
  if (files.length === 0)
    throw new UserError(`${folder}: no ${endings.join(" or ")} files; expected ${layout}`);
  return files;
}

/** A file's name without folder and ending. */
export const stem = (path: string): string => basename(path, extname(path));

/** A number given as an option, or undefined. */
export function numberOption(options: ReaderOptions, name: string): number | undefined {
  const value = options[name];
  if (value === undefined) return undefined;
  const number = Number(value);
  if (value.trim() !== "" && Number.isFinite(number)) return number;
  throw new UserError(`the option ${name} must be a number, not "${value}"`);
}

/** One of several words given as an option. */
export function choiceOption<T extends string>(
  options: ReaderOptions,
  name: string,
  choices: readonly T[],
): T {
  const value = options[name] ?? choices[0];
  if ((choices as readonly string[]).includes(value)) return value as T;
  throw new UserError(`the option ${name} must be one of ${choices.join(", ")}, not "${value}"`);
}

/**
 * Reads a corpus by its reader, and sees to what all of them have in common: options that exist, files that exist.
 *
 * @param onMissing told of sound files that are named by the corpus but absent, which are then left out; without it the
 *   first such is an error
 */
export async function readCorpus(
  name: string,
  readers: Record<string, Reader>,
  folder: string,
  options: ReaderOptions = {},
  onMissing?: (utterance: Utterance) => void,
): Promise<Utterance[]> {
  const reader = readers[name];
  if (reader === undefined) {
    const meant = closest(name, Object.keys(readers));
    const hint =
      meant === undefined ? `known are ${Object.keys(readers).join(", ")}` : `did you mean "${meant}"?`;
    throw new UserError(`no reader for a corpus named "${name}"; ${hint}`);
  }
  if (!existsSync(folder)) throw new UserError(`${folder}: there is no such folder`);
  const unknown = Object.keys(options).find((option) => !(option in reader.options));
  if (unknown !== undefined) {
    const known = Object.keys(reader.options);
    throw new UserError(
      `${name} has no option "${unknown}"; it takes ${known.length > 0 ? known.join(", ") : "none"}`,
    );
  }
  const utterances = await reader.read(folder, options);
  const present = utterances.filter((utterance) => {
    if (existsSync(utterance.audio)) return true;
    if (onMissing === undefined) {
      throw new UserError(
        `${utterance.audio}: the corpus names this sound file (${utterance.id}), but it is not there`,
      );
    }
    onMissing(utterance);
    return false;
  });
  if (present.length === 0) throw new UserError(`${folder}: no utterances found; expected ${reader.layout}`);
  return present;
}

/** Fills in durations from the files' headers where the corpus itself does not tell them. */
export async function withDurations(utterances: readonly Utterance[]): Promise<Utterance[]> {
  const out: Utterance[] = [];
  for (const utterance of utterances) {
    if (utterance.duration !== undefined) out.push(utterance);
    else if (utterance.end !== undefined)
      out.push({ ...utterance, duration: utterance.end - (utterance.start ?? 0) });
    else {
      const { seconds } = await probeFile(utterance.audio);
      out.push({ ...utterance, duration: seconds - (utterance.start ?? 0) });
    }
  }
  return out;
}
