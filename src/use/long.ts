import type { Stretches } from "../audio/decode.ts";
import { UserError } from "../errors.ts";
import type { Heard, Inference } from "./inference.ts";

export interface ChunkOptions {
  /** Longest stretch that the model hears at once, seconds (default 30). */
  readonly chunkSeconds?: number;
  /** What two neighbouring stretches share, seconds (default 6). */
  readonly overlapSeconds?: number;
  /** A CTC head, by objective: cuts are then made where it hears nothing on either side. */
  readonly head?: { readonly name: string; readonly blank: number };
  readonly onProgress?: (doneSeconds: number, totalSeconds: number) => void;
}

/** Consecutive frames of a recording. */
export interface Piece {
  /** The piece's first frame, counted from the beginning of the recording. */
  readonly firstFrame: number;
  readonly frames: number;
  /** By objective of a CTC head: [frames, symbols]. */
  readonly scores: Readonly<Record<string, Float32Array>>;
  /** The hidden states that the inference gives, each [frames, dim]. */
  readonly hidden: readonly Float32Array[];
}

/** A stretch that the model has heard. */
interface Chunk {
  /** Its first frame in the recording. */
  readonly start: number;
  readonly heard: Heard;
  readonly samples: Float32Array;
}

/** Either side of a cut, at least this share of the overlap is heard by both stretches. */
const CONTEXT = 0.25;
/** How much a cut through a symbol, or between two frames of one symbol, counts against silence, dB. */
const [THROUGH_SPEECH, THROUGH_SYMBOL] = [40, 200];

/**
 * Hears a recording of any length: one no longer than a chunk at once, a longer one in chunks that overlap. All chunks lie on one
 * grid of frames. Between two, the frames of one give way to those of the other at the quietest place of what both heard, and
 * with a CTC head at a place where neither hears a symbol, so that none is lost or doubled. Memory does not depend on the length.
 * @throws UserError where the recording is too short for a frame
 */
export async function* hearPieces(
  inference: Inference,
  recording: Stretches,
  name: string,
  options: ChunkOptions = {},
): AsyncGenerator<Piece> {
  const { hop, sampleRate } = inference;
  const { chunkSeconds = 30, overlapSeconds = 6, head, onProgress = () => {} } = options;
  const total = recording.samples;
  if (inference.frames(total) < 1)
    throw new UserError(
      `${name}: ${(total / sampleRate).toFixed(3)} s is too short for a single frame of the model`,
    );
  const inHops = (seconds: number) => Math.max(1, Math.round((seconds * sampleRate) / hop));
  const [size, overlap] = [inHops(chunkSeconds), inHops(overlapSeconds)];
  if (overlap * 2 > size)
    throw new UserError(`chunks of ${chunkSeconds} s cannot overlap by more than half, ${overlapSeconds} s`);
  if (total <= size * hop) {
    const samples = await recording.read(0, total);
    yield pieceOf({ start: 0, heard: await inference.hear(samples), samples }, 0, Infinity, head);
    onProgress(total / sampleRate, total / sampleRate);
    return;
  }
  const prepare = inference.model.audio.normalize ? await normaliser(recording) : undefined;
  let previous: Chunk | undefined;
  let from = 0;
  for (let start = 0; ; start += size - overlap) {
    const rest = total - start * hop;
    // What would be left over is heard along: it has its past then.
    const isLast = rest <= (size + overlap) * hop;
    const samples = await recording.read(start * hop, isLast ? total : (start + size) * hop);
    const heard = await inference.hear(prepare ? samples.map(prepare) : samples, true);
    const chunk: Chunk = { start, heard, samples };
    if (previous !== undefined) {
      const cut = cutOf(previous, chunk, hop, head);
      yield pieceOf(previous, from, cut, head);
      from = cut;
    }
    onProgress(Math.min(total, (start + size) * hop) / sampleRate, total / sampleRate);
    if (isLast) {
      yield pieceOf(chunk, from, Infinity, head);
      return;
    }
    previous = chunk;
  }
}

/** Frames [from, to) of the recording, out of a chunk. */
function pieceOf({ start, heard }: Chunk, from: number, to: number, head: ChunkOptions["head"]): Piece {
  const frames = Math.min(to, start + heard.frames) - from;
  const rows = ({ shape, data }: Heard["hidden"][number]) => {
    const width = shape[shape.length - 1];
    return (data as Float32Array).slice((from - start) * width, (from - start + frames) * width);
  };
  const scores = head === undefined ? {} : { [head.name]: rows(heard.scores[head.name]) };
  return { firstFrame: from, frames, scores, hidden: heard.hidden.map(rows) };
}

/** The frame from which on the later of two chunks counts: quiet, and in no symbol. */
function cutOf(before: Chunk, after: Chunk, hop: number, head: ChunkOptions["head"]): number {
  const end = before.start + before.heard.frames;
  const shared = end - after.start;
  const margin = Math.max(1, Math.floor(shared * CONTEXT));
  const middle = (after.start + end) / 2;
  const [left, right] = [bestOf(before, head), bestOf(after, head)];
  const loudness = loudnessOf(after, shared, hop);
  let cut = Math.floor(middle);
  let least = Infinity;
  for (let frame = after.start + margin; frame <= end - margin; frame++) {
    let cost = loudness[frame - after.start];
    if (head !== undefined) {
      const around = [left(frame - 1), right(frame - 1), left(frame), right(frame)];
      cost += THROUGH_SPEECH * around.filter((symbol) => symbol !== head.blank).length;
      if (left(frame - 1) === right(frame) && right(frame) !== head.blank) cost += THROUGH_SYMBOL;
    }
    // Among equals, the middle: both sides have heard most around it.
    cost += (0.5 * Math.abs(frame - middle)) / shared;
    if (cost < least) [least, cut] = [cost, frame];
  }
  return cut;
}

/** The likeliest symbol of a frame of the recording. */
function bestOf({ start, heard }: Chunk, head: ChunkOptions["head"]): (frame: number) => number {
  if (head === undefined) return () => 0;
  const { shape, data } = heard.scores[head.name];
  const width = shape[2];
  return (frame) => {
    const at = (frame - start) * width;
    let best = 0;
    for (let v = 1; v < width; v++) if (data[at + v] > data[at + best]) best = v;
    return best;
  };
}

/** Energy around the beginning of each of the first frames, over a tenth of a second or so, dB. */
function loudnessOf({ samples }: Chunk, frames: number, hop: number): Float64Array {
  const energies = Float64Array.from({ length: frames }, (_, frame) => {
    let sum = 1e-10;
    for (let i = frame * hop; i < Math.min(samples.length, (frame + 1) * hop); i++) sum += samples[i] ** 2;
    return sum;
  });
  const reach = Math.max(1, Math.round(800 / hop));
  return energies.map((_, frame) => {
    let sum = 0;
    for (let f = Math.max(0, frame - reach); f < Math.min(frames, frame + reach); f++) sum += energies[f];
    return 10 * Math.log10(sum);
  });
}

/** Zero mean and unit variance over the whole recording, which is read once for it: as `normalizeSamples` has it. */
async function normaliser({ samples, sampleRate, read }: Stretches): Promise<(x: number) => number> {
  const block = 60 * sampleRate;
  let [sum, squares] = [0, 0];
  for (let at = 0; at < samples; at += block)
    for (const x of await read(at, Math.min(samples, at + block))) {
      sum += x;
      squares += x * x;
    }
  const mean = sum / samples;
  const scale = 1 / Math.sqrt(Math.max(0, squares / samples - mean * mean) + 1e-7);
  return (x) => (x - mean) * scale;
}
