import { closeSync, createReadStream, fstatSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip, inflateRawSync } from "node:zlib";
import { UserError } from "../errors.ts";

/**
 * Unpacks a .zip, .tar, .tar.gz or .tgz archive, told by its first bytes, into a folder. Plain files and folders only;
 * names that point outside are refused.
 *
 * @throws UserError where the archive is damaged, cut off or of another kind.
 */
export async function unpack(archive: string, folder: string): Promise<void> {
  const head = readAt(archive, 0, 4);
  try {
    if (head[0] === 0x50 && head[1] === 0x4b) unzip(archive, folder);
    else if (head[0] === 0x1f && head[1] === 0x8b) await untar(archive, folder, true);
    else await untar(archive, folder, false);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${archive}: the archive is damaged or cut off (${(error as Error).message})`);
  }
}

function readAt(path: string, start: number, bytes: number): Buffer {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(bytes);
    return buffer.subarray(0, readSync(file, buffer, 0, bytes, start));
  } finally {
    closeSync(file);
  }
}

/** Where an entry goes, inside `folder`. */
function placeOf(folder: string, name: string): string {
  const path = normalize(name);
  if (path.startsWith("..") || path.startsWith(sep) || /^[A-Za-z]:/.test(path)) {
    throw new UserError(`the archive has an entry outside its folder: ${name}`);
  }
  return join(folder, path);
}

// The central directory at a zip file's end has every entry's name, sizes and place (PKWARE's APPNOTE, 4.3).
function unzip(archive: string, folder: string): void {
  const file = openSync(archive, "r");
  const read = (start: number, bytes: number) => {
    const buffer = Buffer.alloc(bytes);
    if (readSync(file, buffer, 0, bytes, start) < bytes) throw new Error("it ends early");
    return buffer;
  };
  try {
    const { size } = fstatSync(file);
    const tail = read(Math.max(0, size - 65557), Math.min(size, 65557));
    const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
    if (end < 0) throw new Error("no central directory");
    const entries = tail.readUInt16LE(end + 10);
    const directory = read(tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
    if (entries === 0xffff) throw new Error("it has more than 65534 files (zip64), which is not supported");
    let at = 0;
    for (let i = 0; i < entries; i++) {
      if (directory.readUInt32LE(at) !== 0x02014b50) throw new Error("a wrong entry in the directory");
      const method = directory.readUInt16LE(at + 10);
      const packed = directory.readUInt32LE(at + 20);
      const lengths = [28, 30, 32].map((offset) => directory.readUInt16LE(at + offset));
      const start = directory.readUInt32LE(at + 42);
      const name = directory.toString("utf8", at + 46, at + 46 + lengths[0]);
      at += 46 + lengths[0] + lengths[1] + lengths[2];
      if (name.endsWith("/")) continue;
      const local = read(start, 30);
      const data = read(start + 30 + local.readUInt16LE(26) + local.readUInt16LE(28), packed);
      if (method !== 0 && method !== 8) throw new Error(`packing method ${method}`);
      writeWhole(placeOf(folder, name), method === 8 ? inflateRawSync(data) : data);
    }
  } finally {
    closeSync(file);
  }
}

function writeWhole(path: string, data: Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(path, "w");
  try {
    for (let at = 0; at < data.length; ) at += writeSync(file, data, at);
  } finally {
    closeSync(file);
  }
}

// Headers of 512 bytes, each followed by its data in blocks of 512 (POSIX ustar; GNU's and pax' ways of long names).
async function untar(archive: string, folder: string, packed: boolean): Promise<void> {
  const reader = new TarReader(folder);
  const sink = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) reader.push(chunk);
    reader.finish();
  };
  try {
    if (packed) await pipeline(createReadStream(archive), createGunzip(), sink);
    else await pipeline(createReadStream(archive), sink);
  } finally {
    reader.close();
  }
}

class TarReader {
  readonly #folder: string;
  /** Bytes of a header that has not come whole. */
  #header = Buffer.alloc(0);
  #entry: TarEntry | undefined;
  #longName: string | undefined;
  #ended = false;

  constructor(folder: string) {
    this.#folder = folder;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#ended) {
      if (this.#entry === undefined) {
        const wanted = 512 - this.#header.length;
        this.#header = Buffer.concat([this.#header, chunk.subarray(at, at + wanted)]);
        at += wanted;
        if (this.#header.length < 512) return;
        this.#begin(this.#header);
        this.#header = Buffer.alloc(0);
      } else {
        at += this.#entry.take(chunk.subarray(at));
      }
      if (this.#entry?.complete) this.#end(this.#entry);
    }
  }

  /** Closes the file under way, where the archive broke off in it. */
  close(): void {
    this.#entry?.close();
    this.#entry = undefined;
  }

  finish(): void {
    if (!this.#ended && (this.#entry !== undefined || this.#header.length > 0))
      throw new Error("it ends early");
  }

  #begin(block: Buffer): void {
    if (block.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    const text = (start: number, bytes: number) => untilNull(block.subarray(start, start + bytes));
    let sum = 8 * 32; // the checksum's own field counts as spaces
    block.forEach((byte, i) => {
      if (i < 148 || i >= 156) sum += byte;
    });
    if (sum !== Number.parseInt(text(148, 8).trim(), 8))
      throw new Error("it is no tar archive, or a header is wrong");
    const prefix = text(257, 5) === "ustar" ? text(345, 155) : "";
    const name = this.#longName ?? (prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`);
    const size = Number.parseInt(text(124, 12).trim() || "0", 8);
    const type = text(156, 1);
    const isFile = type === "" || type === "0";
    this.#entry = new TarEntry(type, size, isFile ? placeOf(this.#folder, name) : undefined);
  }

  #end(entry: TarEntry): void {
    this.#entry = undefined;
    entry.close();
    const text = Buffer.concat(entry.kept).toString("utf8");
    if (entry.type === "L") this.#longName = untilNull(Buffer.from(text));
    else if (entry.type === "x") this.#longName = /(?:^|\n)\d+ path=(.*)\n/.exec(text)?.[1];
    else if (entry.type !== "g") this.#longName = undefined;
  }
}

/** The data of one entry, written as it comes, since a recording may be larger than memory allows to collect. */
class TarEntry {
  readonly type: string;
  /** Data of entries that are no files: long names. */
  readonly kept: Buffer[] = [];
  #left: number;
  #padding: number;
  readonly #file: number | undefined;

  constructor(type: string, size: number, path: string | undefined) {
    this.type = type;
    this.#left = size;
    this.#padding = (512 - (size % 512)) % 512;
    if (path === undefined) return;
    mkdirSync(dirname(path), { recursive: true });
    this.#file = openSync(path, "w");
  }

  get complete(): boolean {
    return this.#left === 0 && this.#padding === 0;
  }

  /** Takes what belongs to the entry from the start of `bytes`, and tells how much that was. */
  take(bytes: Buffer): number {
    const data = bytes.subarray(0, this.#left);
    if (this.#file !== undefined) for (let at = 0; at < data.length; ) at += writeSync(this.#file, data, at);
    else if (this.type !== "5") this.kept.push(data);
    this.#left -= data.length;
    const padding = this.#left === 0 ? Math.min(this.#padding, bytes.length - data.length) : 0;
    this.#padding -= padding;
    return data.length + padding;
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }
}

const untilNull = (bytes: Buffer) => bytes.toString("utf8").replace(/\0.*$/s, "");
