import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { UserError } from "../errors.ts";
import {
  type Audio,
  type AudioInfo,
  type ByteSource,
  type DecodeOptions,
  decodeSource,
  openStretches,
  probeSource,
  type Stretches,
} from "./decode.ts";
import { resample, resampledStretches } from "./resample.ts";

export interface ReadOptions extends Omit<DecodeOptions, "name"> {
  /** Hz to resample to; the recording's own rate where absent. */
  sampleRate?: number;
}

/**
 * Reads a recording, or a segment of it, and resamples it. Errors are sentences that name `path`.
 * Of WAV and SPHERE files only the bytes of the segment are read. Resampling takes what lies outside a segment as silence.
 */
export async function readAudio(path: string, options: ReadOptions = {}): Promise<Audio> {
  const { sampleRate, ...rest } = options;
  const audio = await withFile(path, (source) => decodeSource(source, { ...rest, name: path }));
  if (sampleRate === undefined || sampleRate === audio.sampleRate) return audio;
  return { ...audio, samples: resample(audio.samples, audio.sampleRate, sampleRate), sampleRate };
}

/** Rate, channels and duration of a recording without decoding it. */
export function probeFile(path: string): Promise<AudioInfo> {
  return withFile(path, async (source) => probeSource(source, path));
}

/** A recording to read stretch by stretch, at the rate asked for. Close it when done. */
export interface OpenRecording extends Stretches {
  close(): void;
}

/** Opens a recording of any length: of WAV, SPHERE and FLAC files, only what is asked for is decoded. */
export async function openRecording(path: string, sampleRate: number): Promise<OpenRecording> {
  const [file, size] = openPath(path);
  try {
    const stretches = resampledStretches(await openStretches(fileSource(file, size), path), sampleRate);
    return { ...stretches, close: () => closeSync(file) };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

async function withFile<T>(path: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const [file, size] = openPath(path);
  try {
    return await use(fileSource(file, size));
  } finally {
    closeSync(file);
  }
}

function openPath(path: string): [descriptor: number, size: number] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw new UserError(
      `${path}: ${reasons[(error as NodeJS.ErrnoException).code ?? ""] ?? (error as Error).message}`,
    );
  }
  const stat = fstatSync(file);
  if (stat.isFile()) return [file, stat.size];
  closeSync(file);
  throw new UserError(`${path}: this is not a file`);
}

const reasons: Record<string, string> = {
  ENOENT: "there is no such file",
  EACCES: "no permission to read it",
  EISDIR: "this is a folder, not a recording",
  ENOTDIR: "there is no such file",
};

/** Headers and short files are served from the first block, which is read once. */
const block = 65536;

function fileSource(file: number, size: number): ByteSource {
  const read = (start: number, end: number): Uint8Array => {
    const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
    let filled = 0;
    while (filled < bytes.length) {
      const count = readSync(file, bytes, filled, bytes.length - filled, start + filled);
      if (count === 0) break; // the file shrank while it was read
      filled += count;
    }
    return bytes.subarray(0, filled);
  };
  const head = read(0, block);
  return { size, read: (start, end) => (end <= head.length ? head.subarray(start, end) : read(start, end)) };
}
