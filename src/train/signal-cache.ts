import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import type { FrameMatrix } from "../audio/spectra.ts";
import { reason } from "../weights/file.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import { bytesOf } from "../weights/tensor-file.ts";
import { ownVersion } from "./versions.ts";

/** To be raised whenever a signal's values change between releases: entries of another number are never read. */
const SIGNALS_VERSION = 1;

/**
 * Signals of recordings on disk, a file each, named by what they are a function of: samples, sample rate, signal and version.
 * Files appear whole or not at all, so several processes may share a folder, and it may be removed at any time. A folder
 * that cannot be written only costs time.
 */
export class SignalCache {
  private readonly folder: string;
  private readonly log: (line: string) => void;
  private writable = true;

  constructor(folder: string, log: (line: string) => void = () => {}) {
    this.folder = folder;
    this.log = log;
  }

  /** What of a key is the recording's: the same for the same samples, wherever they come from. */
  static recording(samples: Float32Array, sampleRate: number): string {
    return createHash("sha256").update(`${sampleRate} `).update(bytesOf(samples)).digest("hex");
  }

  /** A signal of a recording; undefined where it was not kept, or is damaged. */
  get(signal: string, recording: string): FrameMatrix | undefined {
    const path = this.pathOf(signal, recording);
    if (!existsSync(path)) return undefined;
    try {
      const file = openSafetensors(path);
      try {
        const [frames, dim] = file.infos.get("signal")?.shape ?? [];
        const data = file.readF32("signal");
        return crc32(bytesOf(data)) === Number(file.metadata.crc32) ? { data, frames, dim } : undefined;
      } finally {
        file.close();
      }
    } catch {
      // Removed meanwhile, or cut by a failing disk: it is computed again.
      return undefined;
    }
  }

  put(signal: string, recording: string, { data, frames, dim }: FrameMatrix): void {
    if (!this.writable) return;
    const path = this.pathOf(signal, recording);
    try {
      mkdirSync(dirname(path), { recursive: true });
      const entry = { name: "signal", dtype: "F32" as const, shape: [frames, dim], data };
      writeSafetensors(path, [entry], { crc32: String(crc32(bytesOf(data))) });
    } catch (error) {
      this.writable = false;
      this.log(`signals are not kept for later runs: ${this.folder}: ${reason(error)}`);
    }
  }

  private pathOf(signal: string, recording: string): string {
    const name = createHash("sha256")
      .update(JSON.stringify([ownVersion(), SIGNALS_VERSION, signal, recording]))
      .digest("hex");
    return join(this.folder, name.slice(0, 2), `${name.slice(2, 42)}.safetensors`);
  }
}
