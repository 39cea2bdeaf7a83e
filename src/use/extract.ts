import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { openRecording } from "../audio/file.ts";
import { stem } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import { layOut } from "../weights/safetensors-format.ts";
import type { Inference } from "./inference.ts";
import { type ChunkOptions, hearPieces } from "./long.ts";

/** What was written of one recording: float32 of this shape, [layers, frames, dim] or [frames, dim]. */
export interface Extracted {
  readonly file: string;
  /** Seconds of the recording. */
  readonly seconds: number;
  readonly shape: readonly number[];
  /** Samples at `sampleRate` between two frames. */
  readonly hop: number;
  readonly sampleRate: number;
}

export interface ExtractOptions extends Omit<ChunkOptions, "head" | "onProgress"> {
  readonly onProgress?: (file: string) => (doneSeconds: number, totalSeconds: number) => void;
}

/**
 * Writes the hidden states of recordings that an inference gives: as a NumPy array of one recording (`.npy`), or of any number as
 * a `.safetensors` file with a tensor for each, by the name of its file. Long recordings are heard and written in pieces; the
 * file appears whole or not at all.
 * @throws UserError naming the recording
 */
export async function extractTo(
  out: string,
  files: readonly string[],
  inference: Inference,
  options: ExtractOptions = {},
): Promise<Extracted[]> {
  const plans = await Promise.all(files.map((file) => planOf(file, inference)));
  const { header, places } = out.endsWith(".npy") ? npyLayout(plans) : safetensorsLayout(plans);
  await writePlaced(out, header, async (put) => {
    for (const [i, { file, shape }] of plans.entries()) {
      const [frames, dim] = shape.slice(-2);
      const recording = await openRecording(file, inference.sampleRate);
      try {
        const onProgress = options.onProgress?.(file);
        for await (const piece of hearPieces(inference, recording, file, { ...options, onProgress }))
          for (const [layer, values] of piece.hidden.entries())
            put(places[i] + 4 * dim * (layer * frames + piece.firstFrame), values);
      } finally {
        recording.close();
      }
    }
  });
  return plans;
}

async function planOf(file: string, inference: Inference): Promise<Extracted> {
  const { sampleRate, hop, layers } = inference;
  const recording = await openRecording(file, sampleRate);
  recording.close();
  const frames = inference.frames(recording.samples);
  const seconds = recording.samples / sampleRate;
  if (frames < 1)
    throw new UserError(`${file}: ${seconds.toFixed(3)} s is too short for a single frame of the model`);
  const dim = inference.model.task.model.upstream.hiddenSize;
  return { file, seconds, shape: [...(layers ? [layers] : []), frames, dim], hop, sampleRate };
}

interface Layout {
  readonly header: Uint8Array;
  /** Byte at which each recording's array begins. */
  readonly places: readonly number[];
}

/** NumPy's format 1.0: magic, a Python dict padded to 64 bytes, the array in C order. */
function npyLayout([{ shape }]: readonly Extracted[]): Layout {
  const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
  const size = Math.ceil((10 + dict.length + 1) / 64) * 64;
  const header = new Uint8Array(size).fill(0x20);
  header.set([0x93, ...Buffer.from("NUMPY"), 1, 0]);
  new DataView(header.buffer).setUint16(8, size - 10, true);
  header.set(Buffer.from(dict), 10);
  header[size - 1] = 0x0a;
  return { header, places: [size] };
}

function safetensorsLayout(plans: readonly Extracted[]): Layout {
  const entries = plans.map(({ file, shape }) => ({
    name: stem(file),
    dtype: "F32" as const,
    shape: [...shape],
    data: new Float32Array(0),
  }));
  const { ordered, byteLengths, header } = layOut(entries, {});
  const begins = new Map<string, number>();
  let at = header.length;
  for (const [i, { name }] of ordered.entries()) {
    begins.set(name, at);
    at += byteLengths[i];
  }
  return { header, places: plans.map(({ file }) => begins.get(stem(file))!) };
}

/** Writes a file whose parts come in any order: whole or not at all. */
async function writePlaced(
  path: string,
  header: Uint8Array,
  fill: (put: (at: number, values: Float32Array) => void) => Promise<void>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const file = openSync(temporary, "w");
  const write = (at: number, bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length; )
      done += writeSync(file, bytes, done, Math.min(1 << 30, bytes.length - done), at + done);
  };
  try {
    try {
      write(0, header);
      await fill((at, { buffer, byteOffset, byteLength }) =>
        write(at, new Uint8Array(buffer, byteOffset, byteLength)),
      );
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
