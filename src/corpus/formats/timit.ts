import { UserError } from "../../errors.ts";
import type { Phone } from "../manifest.ts";
import { readLines } from "./table.ts";

/** Reads TIMIT's `.PHN` or `.WRD`: first sample, sample after the last, label; in seconds at `sampleRate` Hz. */
export function readTimitLabels(path: string, sampleRate = 16000): Phone[] {
  return readLines(path).map(({ line, text }) => {
    const [start, end, ...label] = text.trim().split(/\s+/);
    if (!/^\d+$/.test(start) || !/^\d+$/.test(end ?? "") || label.length === 0) {
      throw new UserError(`${path}:${line}: expected "first-sample end-sample label"`);
    }
    return { phone: label.join(" "), start: Number(start) / sampleRate, end: Number(end) / sampleRate };
  });
}

/** Which of TIMIT's 61 phones count as one (K.-F. Lee and H.-W. Hon, 1989); all others stand for themselves. */
const folds: Record<string, string> = {
  ...fold("aa", "ao"),
  ...fold("ah", "ax ax-h"),
  ...fold("er", "axr"),
  ...fold("hh", "hv"),
  ...fold("ih", "ix"),
  ...fold("l", "el"),
  ...fold("m", "em"),
  ...fold("n", "en nx"),
  ...fold("ng", "eng"),
  ...fold("sh", "zh"),
  ...fold("uw", "ux"),
  ...fold("sil", "pcl tcl kcl bcl dcl gcl h# pau epi"),
};

function fold(into: string, phones: string): Record<string, string> {
  return Object.fromEntries(phones.split(" ").map((phone) => [phone, into]));
}

/** Folds TIMIT's 61 phones to the 39 that phone error rates are measured on; the glottal stop "q" is left out. */
export function foldTimitPhones<T extends string | Phone>(phones: readonly T[]): T[] {
  return phones.flatMap((item) => {
    const name = typeof item === "string" ? item : item.phone;
    if (name === "q") return [];
    const folded = folds[name] ?? name;
    const renamed = typeof item === "string" ? folded : Object.assign({}, item, { phone: folded });
    return [renamed as T];
  });
}
