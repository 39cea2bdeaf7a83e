import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { RunError, UserError } from "../errors.ts";
import type { Reader } from "./readers/reader.ts";
import { unpack } from "./unpack.ts";

export interface FetchOptions {
  /** Archives to get, of corpora that come in several; default all. */
  parts?: readonly string[];
  /** Bytes got so far of the archive under way, and of all of it where the server tells. */
  onProgress?: (part: string, bytes: number, total: number | undefined) => void;
}

/**
 * Downloads a corpus that is free to download, and unpacks it into `folder`, in the layout its reader expects. A folder
 * appears when everything is there, so an interrupted download leaves none.
 *
 * @throws UserError where the corpus has no open download or the folder exists; RunError where the server fails.
 */
export async function fetchCorpus(
  name: string,
  readers: Record<string, Reader>,
  folder: string,
  { parts, onProgress }: FetchOptions = {},
): Promise<void> {
  const download = readers[name]?.download;
  const open = Object.keys(readers).filter((other) => readers[other].download?.archives !== undefined);
  if (download?.archives === undefined) {
    const hint = download === undefined ? "" : `; see ${download.url} for how to get it`;
    throw new UserError(`${name} cannot be fetched${hint}; these can: ${open.join(", ")}`);
  }
  const wanted = parts ?? Object.keys(download.archives);
  const unknown = wanted.find((part) => download.archives![part] === undefined);
  if (unknown !== undefined) {
    throw new UserError(
      `${name} has no part "${unknown}"; its parts are ${Object.keys(download.archives).join(", ")}`,
    );
  }
  if (existsSync(folder))
    throw new UserError(`${folder}: exists already; name a new folder or remove it first`);
  const parent = dirname(resolve(folder));
  mkdirSync(parent, { recursive: true });
  const work = mkdtempSync(join(parent, `.${basename(folder)}-`));
  try {
    const content = join(work, "content");
    mkdirSync(content);
    for (const part of wanted) {
      const archive = join(work, "archive");
      const url = download.archives[part];
      await get(url, archive, (bytes, total) => onProgress?.(part, bytes, total));
      if (/\.csv$/.test(url)) renameSync(archive, join(content, basename(url)));
      else await unpack(archive, content);
    }
    renameSync(withoutWrapper(content), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Archives often hold one folder with everything in it. */
function withoutWrapper(folder: string): string {
  const entries = readdirSync(folder);
  const only = join(folder, entries[0] ?? "");
  return entries.length === 1 && statSync(only).isDirectory() ? only : folder;
}

async function get(
  url: string,
  path: string,
  onProgress: (bytes: number, total?: number) => void,
): Promise<void> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new RunError(
      `${url}: could not be reached (${(error as Error).cause ?? (error as Error).message})`,
    );
  }
  if (!response.ok || response.body === null)
    throw new RunError(`${url}: the server answers ${response.status}`);
  const total = Number(response.headers.get("content-length")) || undefined;
  let bytes = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      onProgress(bytes, total);
      done(null, chunk);
    },
  });
  try {
    await pipeline(Readable.fromWeb(response.body as ReadableStream), counter, createWriteStream(path));
  } catch (error) {
    throw new RunError(`${url}: the download broke off after ${bytes} bytes (${(error as Error).message})`);
  }
  if (total !== undefined && bytes < total && !response.headers.has("content-encoding")) {
    throw new RunError(`${url}: the download broke off after ${bytes} of ${total} bytes`);
  }
}
