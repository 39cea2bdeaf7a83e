import { existsSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { UserError } from "../../errors.ts";
import type { Utterance } from "../manifest.ts";
import { readRttm } from "./nist.ts";
import { readLines } from "./table.ts";

/** Reads "key value..." lines, as most of Kaldi's files are. */
export function readKeyed(path: string): Map<string, string> {
  return new Map(
    readLines(path).map(({ line, text }) => {
      const match = /^(\S+)(?:\s+(.*))?$/.exec(text.trimEnd());
      if (match === null) throw new UserError(`${path}:${line}: expected "key value"`);
      return [match[1], match[2] ?? ""];
    }),
  );
}

/** Reads LibriSpeech's `.trans.txt`: "utterance-id TEXT". */
export const readTranscripts = readKeyed;

/**
 * Reads a Kaldi data folder: wav.scp and, where present, segments, text, utt2spk, spk2gender and rttm. Of commands in
 * wav.scp ("sph2pipe ... x.wav |", "flac -c -d -s x.flac |") only the sound file's name is taken, since all formats are
 * decoded here anyway. Paths are relative to `root`, where Kaldi's recipes run (default: the folder itself).
 */
export function readKaldi(folder: string, root = folder): Utterance[] {
  const optional = (name: string) => {
    const path = join(folder, name);
    return existsSync(path) ? readKeyed(path) : new Map<string, string>();
  };
  const recordings = new Map(
    [...readKeyed(join(folder, "wav.scp"))].map(([id, entry]) => [
      id,
      audioOf(entry, join(folder, "wav.scp"), root),
    ]),
  );
  const text = optional("text");
  const speakers = optional("utt2spk");
  const genders = optional("spk2gender");
  const rttm = join(folder, "rttm");
  const turns = existsSync(rttm) ? readRttm(rttm) : new Map();
  const segments = [...optional("segments")].map(([id, rest]): Utterance => {
    const [recording, start, end] = rest.split(/\s+/);
    const audio = recordings.get(recording);
    if (audio === undefined) {
      throw new UserError(
        `${join(folder, "segments")}: the recording "${recording}" of ${id} is not in wav.scp`,
      );
    }
    return { id, audio, start: Number(start), end: Number(end) };
  });
  const whole = [...recordings].map(([id, audio]): Utterance => ({ id, audio }));
  return (segments.length > 0 ? segments : whole).map((utterance) => {
    const speaker = speakers.get(utterance.id);
    const gender = speaker === undefined ? undefined : genders.get(speaker);
    return {
      ...utterance,
      ...(speaker !== undefined && { speaker }),
      ...(text.has(utterance.id) && { text: text.get(utterance.id) }),
      ...(gender !== undefined && { labels: { gender } }),
      ...(turns.has(utterance.id) && { turns: turns.get(utterance.id) }),
    };
  });
}

function audioOf(entry: string, path: string, root: string): string {
  const name = entry.endsWith("|")
    ? entry.split(/\s+/).findLast((word) => /\.(wav|flac|sph|mp3|ogg|opus)$/i.test(word))
    : entry;
  if (name === undefined) throw new UserError(`${path}: no sound file in the command "${entry}"`);
  return isAbsolute(name) ? name : resolve(root, name);
}

/**
 * Reads fairseq's `.tsv` (the root folder, then "path<TAB>samples" a line) with the `.ltr`, `.wrd` and `.phn` files
 * beside it. The sample rate gives the duration.
 */
export function readFairseq(tsv: string, sampleRate = 16000): Utterance[] {
  const [first, ...rest] = readLines(tsv);
  if (first === undefined)
    throw new UserError(`${tsv}: the file is empty; its first line should be the root folder`);
  const root = resolve(dirname(tsv), first.text.trim());
  const base = tsv.replace(/\.tsv$/, "");
  const beside = (ending: string) => {
    const path = `${base}.${ending}`;
    if (!existsSync(path)) return undefined;
    const lines = readLines(path);
    if (lines.length !== rest.length) {
      throw new UserError(`${path}: ${lines.length} lines, but ${tsv} names ${rest.length} sound files`);
    }
    return lines.map(({ text }) => text.trim());
  };
  const [letters, words, phones] = [beside("ltr"), beside("wrd"), beside("phn")];
  return rest.map(({ line, text: row }, i) => {
    const [path, samples] = row.split("\t");
    if (!/^\d+$/.test(samples?.trim() ?? ""))
      throw new UserError(`${tsv}:${line}: expected "path<TAB>samples"`);
    const text = words?.[i] ?? letters?.[i].replaceAll(" ", "").split("|").filter(Boolean).join(" ");
    return {
      id: path.replace(/\.[^./]+$/, "").replaceAll("/", "-"),
      audio: resolve(root, path),
      duration: Number(samples) / sampleRate,
      ...(text !== undefined && { text }),
      ...(phones !== undefined && { phones: phones[i].split(/\s+/) }),
    };
  });
}
