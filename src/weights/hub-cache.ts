import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";

// The cache that huggingface_hub shares with every tool that speaks to the hub:
//   models--ORG--NAME/blobs/ETAG         the bytes, once
//   models--ORG--NAME/snapshots/COMMIT/  links to blobs under the files' own names
//   models--ORG--NAME/refs/REVISION      the commit a branch or tag stood for
// https://huggingface.co/docs/huggingface_hub/guides/manage-cache

/** The environment variables that huggingface_hub honours and we too. */
export type HubEnvironment = Partial<
  Record<
    "HF_HOME" | "HF_HUB_CACHE" | "XDG_CACHE_HOME" | "HF_ENDPOINT" | "HF_HUB_OFFLINE" | "HF_TOKEN",
    string
  >
>;

/** Where models are cached. */
export function cacheFolder(env: HubEnvironment): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE;
  const base = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  return join(base, "hub");
}

/** One model's place in the cache. */
export class CachedModel {
  readonly folder: string;

  constructor(cache: string, repository: string) {
    this.folder = join(cache, `models--${repository.replaceAll("/", "--")}`);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The commit that a branch, tag or commit stood for when it was last seen; undefined if it never was. */
  commitOf(revision: string): string | undefined {
    const reference = join(this.folder, "refs", revision);
    if (existsSync(reference)) return readFileSync(reference, "utf8").trim();
    return existsSync(this.snapshot(revision)) ? revision : undefined;
  }

  setCommit(revision: string, commit: string): void {
    if (revision === commit) return;
    const reference = join(this.folder, "refs", revision);
    mkdirSync(dirname(reference), { recursive: true });
    writeFileSync(`${reference}.tmp`, commit);
    renameSync(`${reference}.tmp`, reference);
  }

  /** Where a blob's bytes go, whole or in part. */
  blob(etag: string): string {
    const path = join(this.folder, "blobs", etag);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /** Makes a whole blob appear as a file of a snapshot. */
  link(commit: string, file: string, etag: string): void {
    const path = join(this.snapshot(commit), file);
    const blob = this.blob(etag);
    mkdirSync(dirname(path), { recursive: true });
    rmSync(path, { force: true });
    try {
      symlinkSync(relative(dirname(path), blob), path);
    } catch {
      // Windows without the right to make links: the file itself stands in the snapshot, as huggingface_hub does it.
      renameSync(blob, path);
    }
  }
}
