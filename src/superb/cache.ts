import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { bytesOf } from "../weights/tensor-file.ts";

/**
 * Hidden states of one recording as they are kept: each frame of each layer has zero mean and unit variance over its
 * channels (what SUPERB's weighted sum is taken of), as halves; mean and scale of each frame stand beside them, so
 * that value * scale + mean is the hidden state itself.
 */
export interface Features {
  readonly layers: number;
  readonly frames: number;
  readonly dim: number;
  /** Halves [layers, frames, dim]. */
  readonly values: Uint16Array;
  /** [layers, frames] */
  readonly mean: Float32Array;
  readonly scale: Float32Array;
}

/** Bytes that a recording of so many frames takes: 1 MB per second of speech for a base model (13 x 768 at 50 Hz). */
export const featureBytes = (layers: number, frames: number, dim: number): number =>
  layers * frames * (2 * dim + 8);

interface Entry {
  pack: string;
  offset: number;
  layers: number;
  frames: number;
  dim: number;
  crc: number;
}

/** What a name in a model's folder is. */
const PACK = ".pack";
const INDEX = ".index";
const IN_USE = "in-use-";

/**
 * Hidden states on disk: a folder for each model (by the hash of its weights), in it entries by the hash of the audio,
 * in an entry the layers one after the other. Every process appends to a pack of its own and writes an entry's line
 * into the index after its bytes, so a kill loses at most what was being written; a checksum finds what a disk lost.
 * Several processes may share a folder.
 */
export class FeatureCache {
  /** Bytes that this cache may take, models that were cached earlier included. */
  readonly limit: number;
  private readonly root: string;
  private readonly folder: string;
  private readonly entries = new Map<string, Entry>();
  private readonly files = new Map<string, number>();
  private readonly own = `${process.pid}-${Date.now().toString(36)}`;
  private ownSize = 0;
  private size: number;
  private full = false;

  constructor(root: string, model: string, limit: number) {
    this.root = root;
    this.limit = limit;
    this.folder = join(root, model);
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(join(this.folder, IN_USE + process.pid), "");
    const now = new Date();
    utimesSync(this.folder, now, now);
    for (const name of readdirSync(this.folder)) if (name.endsWith(INDEX)) this.readIndex(name);
    this.size = modelFolders(root).reduce((sum, folder) => sum + bytesIn(folder), 0);
  }

  has(key: string): boolean {
    return this.entries.has(key);
  }

  /** Bytes that can still be written, counting other models' entries as gone where they may be removed. */
  room(): number {
    return this.limit - this.size + this.removable().reduce((sum, folder) => sum + bytesIn(folder), 0);
  }

  /** The features of a recording; undefined where there are none, or damaged ones. */
  get(key: string): Features | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    const { layers, frames, dim, pack, offset, crc } = entry;
    const bytes = new Uint8Array(featureBytes(layers, frames, dim));
    let got = 0;
    try {
      const file = this.open(pack);
      while (got < bytes.length) {
        const more = readSync(file, bytes, got, bytes.length - got, offset + got);
        if (more === 0) break;
        got += more;
      }
    } catch {
      // Another process made room by removing this pack.
    }
    if (got < bytes.length || crc32(bytes) !== crc) {
      this.entries.delete(key);
      return undefined;
    }
    const values = new Uint16Array(bytes.buffer, 0, layers * frames * dim);
    // Halves may end between two floats.
    const rest = bytes.slice(values.byteLength);
    const floats = new Float32Array(rest.buffer);
    const count = layers * frames;
    return {
      ...{ layers, frames, dim, values },
      ...{ mean: floats.subarray(0, count), scale: floats.subarray(count) },
    };
  }

  /** Keeps the features of a recording, unless that would exceed the limit. */
  put(key: string, features: Features): boolean {
    if (this.entries.has(key)) return true;
    const { layers, frames, dim, values, mean, scale } = features;
    const wanted = featureBytes(layers, frames, dim);
    if (this.full || !this.makeRoom(wanted)) {
      this.full = true;
      return false;
    }
    const bytes = Buffer.concat([values, mean, scale].map(bytesOf));
    const entry: Entry = {
      ...{ pack: this.own + PACK, offset: this.ownSize, layers, frames, dim },
      crc: crc32(bytes),
    };
    const file = this.open(entry.pack, true);
    for (let done = 0; done < bytes.length; )
      done += writeSync(file, bytes, done, bytes.length - done, entry.offset + done);
    appendFileSync(join(this.folder, this.own + INDEX), `${JSON.stringify([key, entry])}\n`);
    this.ownSize += bytes.length;
    this.size += bytes.length;
    this.entries.set(key, entry);
    return true;
  }

  close(): void {
    for (const file of this.files.values()) closeSync(file);
    this.files.clear();
    rmSync(join(this.folder, IN_USE + process.pid), { force: true });
  }

  private open(pack: string, write = false): number {
    let file = this.files.get(pack);
    if (file === undefined) {
      file = openSync(join(this.folder, pack), write ? "w+" : "r");
      this.files.set(pack, file);
    }
    return file;
  }

  private readIndex(name: string): void {
    for (const line of readFileSync(join(this.folder, name), "utf8").split("\n")) {
      try {
        const [key, entry] = JSON.parse(line) as [string, Entry];
        this.entries.set(key, entry);
      } catch {
        // The last line of a process that was killed while it wrote.
      }
    }
  }

  /** Folders of other models that no living process uses, the one unused longest first. */
  private removable(): string[] {
    return modelFolders(this.root)
      .filter((folder) => folder !== this.folder && !inUse(folder))
      .sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs);
  }

  private makeRoom(wanted: number): boolean {
    if (this.size + wanted <= this.limit) return true;
    // Nothing is removed for what would not fit even then.
    if (wanted > this.room()) return false;
    for (const folder of this.removable()) {
      this.size -= bytesIn(folder);
      rmSync(folder, { recursive: true, force: true });
      if (this.size + wanted <= this.limit) return true;
    }
    return false;
  }
}

/** Folders of models: nothing else in the cache's folder is ever counted or removed. */
function modelFolders(root: string): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^[0-9a-f]{32}$/.test(entry.name))
    .map((entry) => join(root, entry.name));
}

const bytesIn = (folder: string): number =>
  readdirSync(folder)
    .filter((name) => name.endsWith(PACK))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

function inUse(folder: string): boolean {
  return readdirSync(folder)
    .filter((name) => name.startsWith(IN_USE))
    .some((name) => {
      try {
        process.kill(Number(name.slice(IN_USE.length)), 0);
        return true;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === "EPERM";
      }
    });
}
