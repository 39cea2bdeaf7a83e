import { formatCtm } from "../corpus/formats/nist.ts";
import { formatTextGrid, type Tier } from "../corpus/formats/text-grid.ts";
import type { Timed, Transcript } from "./transcribe.ts";

/** Formats that tell what was said when, with the ending of their files. */
export const TIMESTAMPS = { srt: "srt", ctm: "ctm", textgrid: "TextGrid" } as const;
export type TimestampFormat = keyof typeof TIMESTAMPS;

/** A transcript in a format; `name` is the recording's in CTM. */
export function formatTimestamps(format: TimestampFormat, transcript: Transcript, name: string): string {
  const { words, symbols, seconds } = transcript;
  const items = words.length > 0 ? words : symbols;
  if (format === "srt") return formatSrt(items);
  if (format === "ctm") {
    const recording = name.replace(/\s+/g, "_");
    return formatCtm(
      items.map(({ text, start, end, score }) => ({
        recording,
        channel: "1",
        word: text,
        start,
        end,
        confidence: score,
      })),
    );
  }
  const tier = (called: string, of: readonly Timed[]): Tier => ({
    name: called,
    kind: "interval",
    items: of.map(({ text, start, end }) => ({ label: text, start, end })),
  });
  return formatTextGrid(
    [...(words.length > 0 ? [tier("words", words)] : []), tier("symbols", symbols)],
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
