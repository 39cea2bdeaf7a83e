import { random } from "../../random.ts";
import { rms, silenceBelow } from "./frames.ts";
import { framesPerSecond } from "./pitch-marks.ts";
import type { SourceFilter } from "./source-filter.ts";
import type { Clock } from "./voice.ts";

// Silence between and within words.

/**
 * Lengthens pauses and puts new ones where the voice is weakest anyway, with the recording's own background noise in
 * them, so that a pause is not betrayed by digital silence.
 */
export function withPauses(
  spoken: Float32Array,
  clock: Clock,
  loudness: Float32Array,
  { hop, sampleRate }: SourceFilter,
  depth: number,
  seed: number | string,
): { samples: Float32Array; timeOf: (seconds: number) => number } {
  const chance = random(seed, "pauses");
  const pauses = weakPoints(loudness)
    .map((frame) => ({ at: Math.round(clock.toOutput(frame * hop)), wanted: chance.next() < 0.7 * depth }))
    .map((p) => ({ ...p, samples: Math.round(sampleRate * (0.06 + 0.35 * depth * (0.4 + chance.next()))) }))
    .filter((p) => p.wanted && p.at < spoken.length);
  const noise = backgroundLevel(spoken, hop);
  const fade = Math.round(0.004 * sampleRate);
  const pieces: Float32Array[] = [];
  let from = 0;
  for (const { at: to, samples } of pauses) {
    pieces.push(faded(spoken.slice(from, to), from > 0, true, fade));
    pieces.push(Float32Array.from({ length: samples }, () => noise * chance.normal()));
    from = to;
  }
  pieces.push(faded(spoken.slice(from), from > 0, false, fade));
  const timeOf = (seconds: number) => {
    const place = clock.toOutput(seconds * sampleRate);
    const paused = pauses.reduce((sum, p) => sum + (p.at < place ? p.samples : 0), 0);
    return (place + paused) / sampleRate;
  };
  return { samples: joined(pieces), timeOf };
}

/** Frames of least loudness, clearly below what surrounds them, at least 0.2 s apart and inside the speech. */
function weakPoints(loudness: Float32Array): number[] {
  const reach = Math.round(0.1 * framesPerSecond);
  const loud = silenceBelow(loudness) + 10;
  const first = loudness.findIndex((level) => level > loud);
  const last = loudness.findLastIndex((level) => level > loud);
  const found: number[] = [];
  for (let frame = first + reach; frame < last - reach; frame++) {
    const around = loudness.subarray(frame - reach, frame + reach + 1);
    const lowest = Math.min(...around);
    if (
      loudness[frame] === lowest &&
      Math.max(...around) - lowest > 9 &&
      frame - (found.at(-1) ?? -99) >= 2 * reach
    ) {
      found.push(frame);
    }
  }
  return found;
}

function faded(piece: Float32Array, start: boolean, end: boolean, samples: number): Float32Array {
  for (let i = 0; i < Math.min(samples, piece.length); i++) {
    if (start) piece[i] *= i / samples;
    if (end) piece[piece.length - 1 - i] *= i / samples;
  }
  return piece;
}

function joined(pieces: Float32Array[]): Float32Array {
  const out = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** Level of the quietest twentieth of frames (root mean square). */
function backgroundLevel(samples: Float32Array, hop: number): number {
  const levels: number[] = [];
  for (let i = 0; i + hop <= samples.length; i += hop) levels.push(rms(samples.subarray(i, i + hop)));
  levels.sort((a, b) => a - b);
  return levels[Math.floor(levels.length / 20)] ?? 0;
}
