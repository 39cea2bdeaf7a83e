import { UserError } from "../../errors.ts";
import type { Turn } from "../manifest.ts";
import { readLines } from "./table.ts";

/** A word of a CTM file. Seconds. */
export interface CtmWord {
  recording: string;
  channel: string;
  word: string;
  start: number;
  end: number;
  confidence?: number;
}

/** Reads NIST CTM: recording, channel, start, duration, word, and perhaps a confidence; `;;` begins a comment. */
export function readCtm(path: string): CtmWord[] {
  return records(path, 5, "recording channel start duration word").map(({ line, cells }) => {
    const [recording, channel, from, lasts, word, confidence] = cells;
    const start = seconds(path, line, from);
    const end = start + seconds(path, line, lasts);
    const known =
      confidence === undefined || Number.isNaN(Number(confidence)) ? undefined : Number(confidence);
    return { recording, channel, word, start, end, ...(known !== undefined && { confidence: known }) };
  });
}

/** NIST CTM of words or phones, times with three decimals. */
export function formatCtm(words: readonly CtmWord[]): string {
  return words
    .map(({ recording, channel, word, start, end, confidence }) => {
      const rest = confidence === undefined ? "" : ` ${confidence.toFixed(3)}`;
      return `${recording} ${channel} ${start.toFixed(3)} ${(end - start).toFixed(3)} ${word}${rest}\n`;
    })
    .join("");
}

/** A segment of an STM file. Seconds. */
export interface StmSegment {
  recording: string;
  channel: string;
  speaker: string;
  start: number;
  end: number;
  /** The condition labels without their brackets, such as "o,f0,male". */
  conditions: string;
  text: string;
}

/** Reads NIST STM: recording, channel, speaker, start, end, perhaps <labels>, then text. */
export function readStm(path: string): StmSegment[] {
  return records(path, 5, "recording channel speaker start end <labels> text").map(({ line, cells }) => {
    const [recording, channel, speaker, from, to, ...rest] = cells;
    const conditions = /^<.*>$/.test(rest[0] ?? "") ? rest.shift()!.slice(1, -1) : "";
    const [start, end] = [seconds(path, line, from), seconds(path, line, to)];
    return { recording, channel, speaker, start, end, conditions, text: rest.join(" ") };
  });
}

/** Reads RTTM: who speaks when, by recording. Seconds. */
export function readRttm(path: string): Map<string, Turn[]> {
  const turns = new Map<string, Turn[]>();
  for (const { line, cells } of records(
    path,
    8,
    "SPEAKER recording channel start duration <NA> <NA> speaker",
  )) {
    if (cells[0] !== "SPEAKER") continue;
    const start = seconds(path, line, cells[3]);
    const turn = { speaker: cells[7], start, end: start + seconds(path, line, cells[4]) };
    const list = turns.get(cells[1]);
    if (list === undefined) turns.set(cells[1], [turn]);
    else list.push(turn);
  }
  return turns;
}

function records(path: string, least: number, form: string): { line: number; cells: string[] }[] {
  return readLines(path)
    .filter(({ text }) => !text.startsWith(";;"))
    .map(({ line, text }) => {
      const cells = text.trim().split(/\s+/);
      if (cells.length < least) throw new UserError(`${path}:${line}: expected "${form}"`);
      return { line, cells };
    });
}

function seconds(path: string, line: number, value: string): number {
  const number = Number(value);
  if (Number.isFinite(number) && number >= 0) return number;
  throw new UserError(`${path}:${line}: "${value}" is not a time in seconds`);
}
