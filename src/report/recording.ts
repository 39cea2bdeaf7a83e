/** One recording drawn over time: waveform, spectrogram and the symbols heard, in lines like a score. */
import type { EditOp } from "../metrics/error-rate.ts";
import { fixed } from "./format.ts";
import { escapeHtml } from "./html.ts";
import { opacityPng } from "./png.ts";
import { spectrogram } from "./spectrogram.ts";
import type { Size } from "./svg.ts";
import { colours, themed } from "./theme.ts";

/** A symbol with its place in time. */
export interface TimedSymbol {
  symbol: string;
  startSeconds: number;
  endSeconds: number;
  /** Posterior in 0..1; weak ones are drawn paler. */
  score?: number;
  /** How it fits what was expected; anything but a match is marked. */
  op?: EditOp;
}

/**
 * For the eye: CTC emits a symbol in one or two frames and blanks between, so each is drawn from half-way after the one
 * before to half-way before the next, but at most 60 ms beyond its own frames.
 */
export function drawnSymbols(heard: readonly TimedSymbol[]): TimedSymbol[] {
  const reach = 0.06;
  return heard.map((symbol, i) => {
    const before = heard[i - 1]?.endSeconds ?? 0;
    const after = heard[i + 1]?.startSeconds ?? Number.POSITIVE_INFINITY;
    return {
      ...symbol,
      startSeconds: Math.max(symbol.startSeconds - reach, (before + symbol.startSeconds) / 2),
      endSeconds: Math.min(symbol.endSeconds + reach, (symbol.endSeconds + after) / 2),
    };
  });
}

export interface Recording {
  /** Mono, full scale 1. */
  samples: Float32Array;
  sampleRate: number;
  heard?: readonly TimedSymbol[];
}

const left = 34;
const [waveHeight, spectrumHeight, symbolHeight, axisHeight] = [48, 104, 24, 22];

/**
 * Waveform, spectrogram (kHz) and symbols above a time axis. Long recordings are broken into lines, at most eight: past about
 * 30 s symbols crowd.
 */
export function recordingFigure(recording: Recording, size: Size): string {
  const { samples, sampleRate, heard = [] } = recording;
  const seconds = samples.length / sampleRate;
  const width = size.width - left - 2;
  const lines = Math.max(1, Math.min(8, Math.ceil(seconds / (width / 180))));
  const lineSeconds = Math.max(seconds / lines, 1e-3);
  const lineHeight = waveHeight + spectrumHeight + (heard.length > 0 ? symbolHeight : 0) + axisHeight + 14;
  const image = spectrogram(samples, sampleRate);
  let peak = 1e-4;
  for (const v of samples) peak = Math.max(peak, Math.abs(v));

  const parts: string[] = [];
  for (let line = 0; line < lines; line++) {
    const [from, to] = [line * lineSeconds, (line + 1) * lineSeconds];
    const x = (t: number) => left + Math.max(0, Math.min(1, (t - from) / lineSeconds)) * width;
    let top = line * lineHeight + 2;
    parts.push(waveform(samples, sampleRate, from, to, peak, width, top));
    top += waveHeight;
    parts.push(spectrum(image, from, to, width, top));
    top += spectrumHeight;
    if (heard.length > 0) {
      // A symbol over a line's edge stands in the line that has its middle.
      const middle = (s: TimedSymbol) => Math.min((s.startSeconds + s.endSeconds) / 2, seconds - 1e-9);
      const inside = heard.filter((s) => middle(s) >= from && middle(s) < to);
      parts.push(...inside.map((s) => symbolBox(s, x(s.startSeconds), x(s.endSeconds), top)));
      top += symbolHeight;
    }
    parts.push(timeAxis(from, to, x, top));
  }
  const height = lines * lineHeight;
  return themed(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${height}" font-size="12">${parts.join("")}</svg>`,
  );
}

/** The envelope: from the lowest to the highest sample of each half pixel. */
function waveform(
  samples: Float32Array,
  sampleRate: number,
  from: number,
  to: number,
  peak: number,
  width: number,
  top: number,
): string {
  const columns = Math.round(width);
  const middle = top + waveHeight / 2;
  const scale = (waveHeight / 2 - 3) / peak;
  let path = "";
  for (let column = 0; column < columns; column++) {
    const start = Math.floor((from + ((to - from) * column) / columns) * sampleRate);
    const end = Math.max(start + 1, Math.floor((from + ((to - from) * (column + 1)) / columns) * sampleRate));
    let [low, high] = [0, 0];
    for (let i = start; i < Math.min(end, samples.length); i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    path += `M${left + column + 0.5} ${(middle - high * scale - 0.4).toFixed(1)}V${(middle - low * scale + 0.4).toFixed(1)}`;
  }
  return `<path d="${path}" stroke="${colours.c1}" fill="none"/>`;
}

function spectrum(
  { opacity, columns, bins, step, topHz }: ReturnType<typeof spectrogram>,
  from: number,
  to: number,
  width: number,
  top: number,
): string {
  const first = Math.min(columns - 1, Math.round(from / step));
  const count = Math.max(1, Math.min(columns, Math.round(to / step)) - first);
  const crop = new Uint8Array(bins * count);
  for (let b = 0; b < bins; b++)
    crop.set(opacity.subarray(b * columns + first, b * columns + first + count), b * count);
  const data = Buffer.from(opacityPng(crop, count, bins)).toString("base64");
  const ticks = [0, 2, 4, 6, 8].filter((kHz) => kHz * 1000 < topHz);
  return [
    `<image class="ink-image" href="data:image/png;base64,${data}" x="${left}" y="${top}" width="${width}" height="${spectrumHeight}" preserveAspectRatio="none"/>`,
    `<rect x="${left}" y="${top}" width="${width}" height="${spectrumHeight}" fill="none" stroke="${colours.rule}"/>`,
    ...ticks.map((kHz) => {
      const y = top + spectrumHeight * (1 - (kHz * 1000) / topHz);
      return `<text x="${left - 6}" y="${(y + (kHz === 0 ? 0 : 4)).toFixed(1)}" text-anchor="end" fill="${colours.muted}">${kHz}</text>`;
    }),
    `<text x="${left - 6}" y="${top - 4}" text-anchor="end" fill="${colours.muted}" font-size="11">kHz</text>`,
  ].join("");
}

const edges: Record<EditOp, { colour: string; dash: string }> = {
  match: { colour: colours.muted, dash: "" },
  substitution: { colour: colours.c2, dash: "" },
  deletion: { colour: colours.c4, dash: "4 3" },
  insertion: { colour: colours.c1, dash: "2 2" },
};

function symbolBox(
  { symbol, score = 1, op = "match" }: TimedSymbol,
  x0: number,
  x1: number,
  top: number,
): string {
  const { colour, dash } = edges[op];
  const width = Math.max(x1 - x0, 1);
  const opacity = (0.35 + 0.65 * Math.max(0, Math.min(1, score))).toFixed(2);
  const ink = op === "match" ? colours.ink : colour;
  return [
    `<rect x="${x0.toFixed(1)}" y="${top + 3}" width="${width.toFixed(1)}" height="${symbolHeight - 5}" rx="3" fill="${colour}" fill-opacity="0.08" stroke="${colour}"${dash && ` stroke-dasharray="${dash}"`}/>`,
    `<text x="${(x0 + width / 2).toFixed(1)}" y="${top + symbolHeight - 7}" text-anchor="middle" fill="${ink}" opacity="${opacity}"${op === "match" ? "" : ' font-weight="700"'}>${escapeHtml(symbol)}</text>`,
  ].join("");
}

function timeAxis(from: number, to: number, x: (t: number) => number, top: number): string {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].find((s) => x(from + s) - x(from) >= 44) ?? 60;
  const ticks: string[] = [];
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + 1e-9; k++) {
    const at = Math.min(Math.max(x(k * step), left + 8), x(to) - 14);
    const unit = ticks.length === 0 ? " s" : "";
    ticks.push(
      `<text x="${at.toFixed(1)}" y="${top + 15}" text-anchor="middle" fill="${colours.muted}">${fixed(k * step, step < 0.1 ? 2 : step < 1 ? 1 : 0)}${unit}</text>`,
    );
  }
  return ticks.join("");
}
