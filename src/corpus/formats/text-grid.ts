import { readFileSync } from "node:fs";
import { UserError } from "../../errors.ts";
import type { Phone } from "../manifest.ts";

/** A tier of a Praat TextGrid: intervals, or points (whose start and end are the same). Seconds. */
export interface Tier {
  name: string;
  kind: "interval" | "point";
  items: { label: string; start: number; end: number }[];
}

/**
 * Reads a Praat TextGrid, in the long or the short form, UTF-8 or UTF-16, with all items, also those with empty labels.
 *
 * @throws UserError with the file where it ends early or is something else.
 */
export function readTextGrid(path: string): Tier[] {
  const bytes = readFileSync(path);
  const wide = (bytes[0] === 0xfe && bytes[1] === 0xff) || (bytes[0] === 0xff && bytes[1] === 0xfe);
  const text = wide
    ? new TextDecoder(bytes[0] === 0xfe ? "utf-16be" : "utf-16le").decode(bytes)
    : new TextDecoder().decode(bytes);
  if (!/ooTextFile/.test(text.slice(0, 200)) || !/TextGrid/.test(text.slice(0, 400))) {
    throw new UserError(
      `${path}: not a Praat TextGrid (File type = "ooTextFile", Object class = "TextGrid")`,
    );
  }
  // Both forms are the same values in the same order; the long one has names around them. Left are strings, numbers
  // that stand alone, and flags.
  const values: (string | number)[] = [];
  const pattern = /"((?:[^"]|"")*)"|(?<=^|\s)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?=\s|$)|<exists>/g;
  for (const match of text.matchAll(pattern)) {
    if (match[1] !== undefined) values.push(match[1].replaceAll('""', '"'));
    else if (match[2] !== undefined) values.push(Number(match[2]));
  }
  let at = 0;
  const next = <T extends "string" | "number">(type: T): T extends "string" ? string : number => {
    const value = values[at++];
    if (typeof value === type) return value as T extends "string" ? string : number;
    throw new UserError(`${path}: the TextGrid ends early or is damaged after ${at - 1} values`);
  };
  while (typeof values[at] === "string") at++; // file type and object class
  next("number"); // start and end of the whole
  next("number");
  return Array.from({ length: next("number") }, () => {
    const kind = next("string") === "IntervalTier" ? "interval" : "point";
    const name = next("string");
    next("number");
    next("number");
    const items = Array.from({ length: next("number") }, () => {
      const start = next("number");
      const end = kind === "interval" ? next("number") : start;
      return { label: next("string"), start, end };
    });
    return { name, kind, items };
  });
}

/** A Praat TextGrid (long form) of interval tiers over so many seconds; what no item covers becomes an empty interval. */
export function formatTextGrid(tiers: readonly Tier[], seconds: number): string {
  const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const lines = [
    'File type = "ooTextFile"',
    'Object class = "TextGrid"',
    "",
    "xmin = 0",
    `xmax = ${seconds}`,
    "tiers? <exists>",
    `size = ${tiers.length}`,
    "item []:",
  ];
  tiers.forEach(({ name, items }, t) => {
    const intervals = withoutGaps(items, seconds);
    lines.push(
      `    item [${t + 1}]:`,
      '        class = "IntervalTier"',
      `        name = ${quoted(name)}`,
      "        xmin = 0",
      `        xmax = ${seconds}`,
      `        intervals: size = ${intervals.length}`,
    );
    intervals.forEach(({ label, start, end }, i) => {
      lines.push(
        `        intervals [${i + 1}]:`,
        `            xmin = ${start}`,
        `            xmax = ${end}`,
        `            text = ${quoted(label)}`,
      );
    });
  });
  return `${lines.join("\n")}\n`;
}

function withoutGaps(items: Tier["items"], seconds: number): Tier["items"] {
  const out: Tier["items"] = [];
  let at = 0;
  for (const item of items) {
    if (item.start > at) out.push({ label: "", start: at, end: item.start });
    out.push(item);
    at = item.end;
  }
  if (at < seconds || out.length === 0) out.push({ label: "", start: at, end: seconds });
  return out;
}

/** Labels that forced aligners give to silence. */
const silence = new Set(["", "sil", "sp", "<eps>", "<sil>"]);

/**
 * Words and phones of a Montreal Forced Aligner TextGrid (tiers "words" and "phones", by themselves or after a speaker's
 * name), without silence. Seconds.
 */
export function readAlignment(path: string): {
  words: { word: string; start: number; end: number }[];
  phones: Phone[];
} {
  const tiers = readTextGrid(path);
  const itemsOf = (name: string) => {
    const tier = tiers.find((t) => t.name === name || t.name.endsWith(` - ${name}`));
    if (tier === undefined) {
      throw new UserError(`${path}: no tier "${name}"; it has ${tiers.map((t) => t.name).join(", ")}`);
    }
    return tier.items.filter(({ label }) => !silence.has(label.toLowerCase()));
  };
  return {
    words: itemsOf("words").map(({ label, start, end }) => ({ word: label, start, end })),
    phones: itemsOf("phones").map(({ label, start, end }) => ({ phone: label, start, end })),
  };
}
