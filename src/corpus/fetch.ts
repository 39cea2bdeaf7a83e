import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join, resolve } from "node:path";
import { download, hashOfFile, NetworkError } from "../download.ts";
import { RunError, UserError } from "../errors.ts";
import type { Archive, Reader } from "./readers/reader.ts";
import { unpack } from "./unpack.ts";

export interface FetchOptions {
  /** Archives to get, of corpora that come in several; default all. */
  parts?: readonly string[];
  /** Bytes got so far of the archive under way, and of all of it where the server tells. */
  onProgress?: (part: string, bytes: number, total: number | undefined) => void;
  /** How often to try before giving up (default 5). */
  attempts?: number;
}

/** An archive that was fetched. */
export interface FetchedArchive {
  part: string;
  url: string;
  /** "sha256:" or "md5:" and the hash of what arrived. */
  hash: string;
  /** True where that is the published hash, false where none is published. */
  verified: boolean;
}

/** Where a download into `folder` keeps what arrived until everything has. */
export const downloadFolder = (folder: string): string => `${resolve(folder)}.download`;

/**
 * Downloads a corpus that is free to download, and unpacks it into `folder`, in the layout its reader expects. A folder
 * appears when everything is there. What arrives before is kept in `downloadFolder(folder)`: after an interruption the same
 * call goes on there, byte by byte within an archive where the server knows ranges. Archives are checked against their
 * published hashes before they are unpacked; one that was put there by hand is taken as well.
 *
 * @throws UserError where the corpus has no open download or the folder exists; RunError where the server fails or an
 *   archive arrives damaged.
 */
export async function fetchCorpus(
  name: string,
  readers: Record<string, Reader>,
  folder: string,
  { parts, onProgress, attempts }: FetchOptions = {},
): Promise<FetchedArchive[]> {
  const archives = archivesOf(name, readers);
  const wanted = parts ?? Object.keys(archives);
  const unknown = wanted.find((part) => archives[part] === undefined);
  if (unknown !== undefined) {
    throw new UserError(
      `${name} has no part "${unknown}"; its parts are ${Object.keys(archives).join(", ")}`,
    );
  }
  if (existsSync(folder))
    throw new UserError(`${folder}: exists already; name a new folder or remove it first`);
  const work = downloadFolder(folder);
  const content = join(work, name);
  mkdirSync(content, { recursive: true });
  const fetched: FetchedArchive[] = [];
  try {
    for (const part of wanted) {
      const done = join(work, `${name}-${part}.json`);
      if (!existsSync(done)) {
        const progress = (bytes: number, total?: number) => onProgress?.(part, bytes, total);
        const got = await fetchArchive(name, part, archives[part], work, content, progress, attempts);
        writeFileSync(`${done}.tmp`, JSON.stringify(got));
        renameSync(`${done}.tmp`, done);
        rmSync(archivePath(work, name, archives[part]), { force: true });
      }
      fetched.push(JSON.parse(readFileSync(done, "utf8")));
    }
    renameSync(withoutWrapper(content), folder);
    rmSync(work, { recursive: true });
    return fetched;
  } finally {
    removeEmpty(content, work);
  }
}

function archivesOf(name: string, readers: Record<string, Reader>): Record<string, Archive> {
  const page = readers[name]?.download;
  if (page?.archives !== undefined) return page.archives;
  const open = Object.keys(readers).filter((other) => readers[other].download?.archives !== undefined);
  const hint = page === undefined ? "" : `; see ${page.url} for how to get it`;
  throw new UserError(`${name} cannot be fetched${hint}; these can: ${open.join(", ")}`);
}

const archivePath = (work: string, name: string, { url }: Archive) =>
  join(work, `${name}-${basename(new URL(url).pathname)}`);

/** Gets one archive whole, checks it and unpacks it. */
async function fetchArchive(
  name: string,
  part: string,
  archive: Archive,
  work: string,
  content: string,
  onProgress: (bytes: number, total?: number) => void,
  attempts: number | undefined,
): Promise<FetchedArchive> {
  const { url, hash: published } = archive;
  const path = archivePath(work, name, archive);
  if (!existsSync(path)) {
    const partial = `${path}.part`;
    const request = (headers: Record<string, string>) => ask(url, headers);
    await download({ what: url, request, partial, onProgress, attempts }).catch((error) => {
      throw error instanceof NetworkError ? new RunError(`${error.message}; ${advice(path)}`) : error;
    });
    renameSync(partial, path);
  }
  const algorithm = published?.split(":")[0] ?? "sha256";
  const hash = `${algorithm}:${await hashOfFile(path, algorithm)}`;
  if (published !== undefined && hash !== published) {
    rmSync(path);
    throw new RunError(
      `${url}: arrived damaged (${hash} instead of ${published}); it was deleted, run the same command again`,
    );
  }
  try {
    if (/\.csv$/.test(path)) renameSync(path, join(content, basename(new URL(url).pathname)));
    else await unpack(path, content);
  } catch (error) {
    rmSync(path, { force: true });
    // What other archives brought stays.
    if (!readdirSync(work).some((file) => file.endsWith(".json"))) rmSync(content, { recursive: true });
    throw error;
  }
  return { part, url, hash, verified: published !== undefined };
}

/** What helps where the network does not. */
function advice(path: string): string {
  const partial = `${path}.part`;
  return existsSync(partial)
    ? `the ${statSync(partial).size} bytes that arrived are kept in ${partial}: the same command goes on there`
    : `without a network, bring the archive from another machine as ${path} and run the same command, or name a mirror`;
}

async function ask(url: string, headers: Record<string, string>): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { headers });
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause?.code ?? (error as Error).message;
    throw new NetworkError(`${url} cannot be reached (${cause})`);
  }
  const { status } = response;
  // 416: what we have of it is all, or too much.
  if (status < 400 || status === 416) return response;
  await response.body?.cancel();
  const message = `${url}: the server answers ${status}`;
  throw status === 429 || status >= 500 ? new NetworkError(message) : new RunError(message);
}

/** Archives often hold one folder with everything in it. */
function withoutWrapper(folder: string): string {
  const entries = readdirSync(folder);
  const only = join(folder, entries[0] ?? "");
  return entries.length === 1 && statSync(only).isDirectory() ? only : folder;
}

function removeEmpty(...folders: string[]): void {
  for (const folder of folders) if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
}
