import type { Timed, Transcript } from "./transcribe.ts";

/** Formats that tell what was said when, with the ending of their files. */
export const TIMESTAMPS = { srt: "srt", ctm: "ctm", textgrid: "TextGrid" } as const;
export type TimestampFormat = keyof typeof TIMESTAMPS;

/** A transcript in a format; `name` is the recording's in CTM. */
export function formatTimestamps(format: TimestampFormat, transcript: Transcript, name: string): string {
  const { words, symbols, seconds } = transcript;
  if (format === "srt") return formatSrt(words.length > 0 ? words : symbols);
  if (format === "ctm") return formatCtm(words.length > 0 ? words : symbols, name);
  return formatTextGrid(
    [...(words.length > 0 ? [{ name: "words", items: words }] : []), { name: "symbols", items: symbols }],
    seconds,
  );
}

/** A subtitle is at most this long, and ends at a pause: seconds, letters, seconds. */
const [LONGEST, WIDEST, PAUSE] = [6, 84, 0.7];

/** SubRip subtitles. */
function formatSrt(items: readonly Timed[]): string {
  const groups: Timed[][] = [];
  for (const item of items) {
    const group = groups.at(-1);
    const letters = group?.reduce((sum, { text }) => sum + text.length + 1, 0) ?? 0;
    const fits =
      group !== undefined &&
      item.start - group[group.length - 1].end <= PAUSE &&
      item.end - group[0].start <= LONGEST &&
      letters + item.text.length <= WIDEST;
    if (fits) group.push(item);
    else groups.push([item]);
  }
  return groups
    .map((group, i) => {
      const [from, to] = [group[0].start, group[group.length - 1].end].map(clock);
      return `${i + 1}\n${from} --> ${to}\n${group.map(({ text }) => text).join(" ")}\n`;
    })
    .join("\n");
}

function clock(seconds: number): string {
  const ms = Math.round(seconds * 1000);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)},${String(ms % 1000).padStart(3, "0")}`;
}

/** NIST's conversation time marks: recording, channel, start, duration, word, confidence. */
const formatCtm = (items: readonly Timed[], name: string): string =>
  items
    .map(
      ({ text, start, end, score }) =>
        `${name.replace(/\s+/g, "_")} 1 ${start.toFixed(3)} ${(end - start).toFixed(3)} ${text} ${score.toFixed(3)}\n`,
    )
    .join("");

/** Praat's TextGrid, with empty intervals where nothing is. */
function formatTextGrid(
  tiers: readonly { name: string; items: readonly Timed[] }[],
  seconds: number,
): string {
  const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const lines = [
    'File type = "ooTextFile"',
    'Object class = "TextGrid"',
    "",
    "0",
    String(seconds),
    "<exists>",
    String(tiers.length),
  ];
  for (const { name, items } of tiers) {
    const intervals: [number, number, string][] = [];
    let at = 0;
    for (const { text, start, end } of items) {
      if (start > at) intervals.push([at, start, ""]);
      intervals.push([Math.max(at, start), end, text]);
      at = end;
    }
    if (at < seconds || intervals.length === 0) intervals.push([at, seconds, ""]);
    lines.push('"IntervalTier"', quoted(name), "0", String(seconds), String(intervals.length));
    for (const [start, end, text] of intervals) lines.push(String(start), String(end), quoted(text));
  }
  return `${lines.join("\n")}\n`;
}
